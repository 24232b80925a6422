"""A local web page that analyses a video and shows its timeline."""
