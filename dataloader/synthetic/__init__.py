"""Drawn people: clips in RAER's and other published layouts for tests and studies, captioned stills to pre-train on."""

from .affwild2 import VideoSettings
from .captions import describe_face, describe_scene
from .layouts import LayoutSettings
from .plan import Settings
from .stills import Still, draw_still
from .writer import write_set

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
