"""Drawn people: clips in RAER's and other published layouts for tests, and captioned stills for pre-training."""

from utils.command import hide_interrupt

hide_interrupt()

from simulate.affwild2 import VideoSettings  # noqa: E402
from simulate.captions import describe_face, describe_scene  # noqa: E402
from simulate.layouts import LayoutSettings  # noqa: E402
from simulate.raer import Settings  # noqa: E402
from simulate.sets import write_set  # noqa: E402
from simulate.stills import Still, draw_still  # noqa: E402

__all__ = [
    "LayoutSettings",
    "Settings",
    "Still",
    "VideoSettings",
    "describe_face",
    "describe_scene",
    "draw_still",
    "write_set",
]
