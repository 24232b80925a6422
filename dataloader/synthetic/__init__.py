"""The old place of ``simulate``."""
