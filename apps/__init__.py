"""Using a trained model: predict, serve, export, attention."""
