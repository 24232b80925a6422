"""Numbers and pictures of predictions; knows no model and no training."""
