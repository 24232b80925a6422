"""Answers on videos that no list names."""
