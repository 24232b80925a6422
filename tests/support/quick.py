"""What makes a run quicker in every test: small figures, files that are not flushed, random weights drawn once."""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from models import clip_backbone
from models.clip_backbone import RANDOM_SHAPE
from models.clip_towers import Clip, ClipShape
from tests.support.pictures import small_pictures

_random_clips: dict[int, Clip] = {}


def random_clip(shape: ClipShape) -> Clip:
    """Return ``Clip(shape)``. The one of ``--clip-path random`` is a copy, since 3 million numbers are drawn for it."""
    if shape is not RANDOM_SHAPE:
        return Clip(shape)
    seed = torch.initial_seed()
    if seed not in _random_clips:
        _random_clips[seed] = Clip(shape)
    return copy.deepcopy(_random_clips[seed])


@contextmanager
def quick_runs() -> Iterator[None]:
    """tests/models/test_clip_backbone.py draws the weights again; what happens if a flush fails is in
    tests/engine/resume/test_failures.py, which counts the calls."""
    with small_pictures(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # still fails for a file that is not open
        patch.setattr(clip_backbone, "Clip", random_clip)
        if not torch.cuda.is_available():  # torch stores a formatted stack for each device that it cannot seed
            for device in (torch.cuda, torch.mtia, torch.xpu):
                patch.setattr(device, "manual_seed_all", lambda _: None)
        yield
