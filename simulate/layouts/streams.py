"""Random streams of a set: each purpose has its own, so that a caption more changes no frame."""

import zlib

import numpy as np

from simulate.layouts.settings import LayoutSettings

PLAN, PERSON, BEHAVIOUR, SCENE, NOISE, LEVELS, CAPTION, RATING = range(8)


def stream(settings: LayoutSettings, purpose: int, number: int = 0) -> np.random.Generator:
    """Chance for one purpose of one person or clip; two layouts of one seed share nobody."""
    return np.random.default_rng((settings.seed, zlib.crc32(settings.layout.encode()), purpose, number))
