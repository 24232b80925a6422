"""Raw videos into what training reads: ``python -m dataloader.prepare``."""
