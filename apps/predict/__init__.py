"""Videos, cameras and pictures to timelines and overlays."""
