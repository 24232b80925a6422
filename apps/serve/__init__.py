"""A local page that takes a video and shows its timeline."""
