"""What is in the lists of a set and what is wrong with it: ``python -m dataloader.audit``, and before a run."""
