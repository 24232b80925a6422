"""Squares without torch are the squares of evaluation, bit for bit."""

import subprocess
import sys

import numpy as np
import pytest

from dataloader.crops import crop_context, crop_face, letterbox
from dataloader.squares import context_square, face_square
from dataloader.transforms import PLAIN, to_square
from tests.support.tools import ROOT

FRAME = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)


@pytest.mark.parametrize("box", [None, (30, 20, 70, 60), (-5.5, 60.2, 30.7, 95), (34, 29, 86, 81)])
@pytest.mark.parametrize("size", [32, 92])
def test_the_squares_of_evaluation(box, size):
    assert np.array_equal(face_square(FRAME, box, size), to_square(crop_face(FRAME, box), PLAIN, size))
    context = letterbox(crop_context(FRAME, box), size)
    assert np.array_equal(context_square(FRAME, box, size), to_square(context, PLAIN, size))


def test_neither_squares_nor_windows_need_torch():
    modules = "dataloader.squares, apps.predict.runners, apps.predict.windows, apps.predict.predictor, apps.predict.run"
    code = f"import sys\nimport {modules}\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
