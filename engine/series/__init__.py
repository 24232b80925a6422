"""Several runs as one: folds, classes left out, seeds; what runs share."""
