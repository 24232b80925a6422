"""The method for every frame of long videos."""
