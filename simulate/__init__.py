"""Drawn people: clips in RAER's and other published layouts for tests and studies, captioned stills to pre-train on."""

from simulate.affwild2 import VideoSettings
from simulate.captions import describe_face, describe_scene
from simulate.layouts import LayoutSettings
from simulate.plan import Settings
from simulate.stills import Still, draw_still
from simulate.writer import write_set

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
