"""Runs against one another: two of them, or a method and its variants."""
