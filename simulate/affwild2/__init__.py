"""A set in Aff-Wild2's layout: long videos of one face each, labelled frame by frame for three tasks."""

from simulate.affwild2.make import annotate_videos, draw_video, tell_about_videos
from simulate.affwild2.plan import plan_videos
from simulate.affwild2.settings import VideoSettings

__all__ = ["VideoSettings", "annotate_videos", "draw_video", "plan_videos", "tell_about_videos"]
