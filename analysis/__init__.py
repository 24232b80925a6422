"""Numbers and pictures of predictions. Nothing here uses models or training."""
