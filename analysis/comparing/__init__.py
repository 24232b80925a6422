"""Run folders beside one another."""
