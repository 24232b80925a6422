"""Several runs with one command: seeds, folds, classes left out, ablations."""
