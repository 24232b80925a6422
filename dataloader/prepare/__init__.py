"""Turn raw videos into a data set for training: ``python -m dataloader.prepare``."""
