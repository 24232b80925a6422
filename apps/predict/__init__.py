"""Predict videos, cameras and pictures; write timelines and overlays."""
