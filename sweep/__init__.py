"""Several runs as one: seeds, folds, classes left out, ablations."""
