"""Applications of trained models: predict, serve, export, attention."""
