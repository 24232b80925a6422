"""Drawn people: clips in RAER's and other published layouts for tests and studies, captioned stills to pre-train on."""

from .captions import describe_face, describe_scene
from .layouts import LayoutSettings
from .plan import Settings
from .stills import Still, draw_still
from .writer import write_set

__all__ = ["LayoutSettings", "Settings", "Still", "describe_face", "describe_scene", "draw_still", "write_set"]
