"""Audit the lists of a data set: ``python -m dataloader.audit``, and a short check before every run."""
