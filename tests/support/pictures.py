"""Small blank figures that replace the figures of results, which take as long as the rest of a short run.

Every test has the small ones (tests/conftest.py), except those with ``real_pictures``. What
is drawn is looked at in tests/analysis/test_plots.py and, of whole runs, in the tests of each command.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis import plots
from apps.predict import pictures
from engine.long_videos import evaluate
from sweep import table

DRAWN = [
    (plots, "draw_confusion"),
    (plots, "draw_curves"),
    (plots, "draw_reliability"),
    (plots, "draw_agreement"),
    (plots, "draw_robustness"),
    (evaluate, "draw_timelines"),
    (pictures, "draw_lanes"),
    (table, "draw_differences"),
]
REAL = [getattr(module, name) for module, name in DRAWN]


def draw_blank(*_: object) -> Figure:
    return plots.plt.figure(figsize=(0.5, 0.5), dpi=20)


@contextmanager
def small_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module, name in DRAWN:
            patch.setattr(module, name, draw_blank)
        yield


@contextmanager
def real_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), real in zip(DRAWN, REAL, strict=True):
            patch.setattr(module, name, real)
        yield


def pixels_of(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("L"))
