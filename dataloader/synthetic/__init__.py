"""Drawn students at desks: clips in RAER's layout for tests and studies, and captioned stills to pre-train on."""

from .captions import describe_face, describe_scene
from .plan import Settings
from .stills import Still, draw_still
from .writer import write_set

__all__ = ["Settings", "Still", "describe_face", "describe_scene", "draw_still", "write_set"]
