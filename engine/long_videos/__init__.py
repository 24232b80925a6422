"""Training and scoring of models that predict every frame of long videos (``--model sequence``)."""
