"""Explanations of where a model looks."""
