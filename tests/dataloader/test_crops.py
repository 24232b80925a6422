"""Crops are bit-equal to PIL and OpenCV called by hand."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from dataloader.crops import (
    MARGIN,
    context_square,
    crop_context,
    crop_face,
    face_area,
    face_square,
    letterbox,
    letterbox_size,
    margin_like,
)
from dataloader.transforms import PLAIN, to_square
from tests.support.tools import ROOT

LETTERBOX = {  # width, height → new width, new height, black columns left and right, black rows above and below
    (640, 480): (224, 168, 0, 0, 28, 28),
    (1280, 720): (224, 125, 0, 0, 49, 50),
    (1920, 1080): (224, 126, 0, 0, 49, 49),
    (300, 500): (134, 224, 45, 45, 0, 0),
    (101, 333): (67, 224, 78, 79, 0, 0),
    (50, 37): (224, 165, 0, 0, 29, 30),
    (3, 700): (1, 224, 111, 112, 0, 0),
    (224, 224): (224, 224, 0, 0, 0, 0),
    (1, 1): (224, 224, 0, 0, 0, 0),
}


def picture(width: int, height: int) -> np.ndarray:
    """A picture without black, so that black pixels can only come from outside."""
    return np.random.default_rng(0).integers(1, 256, (height, width, 3), dtype=np.uint8)


FRAME = picture(160, 120)


@pytest.mark.parametrize(
    ("box", "area"),
    [
        ((60, 30, 100, 80), (40, 10, 120, 100)),
        ((60.9, 30.9, 100.9, 80.9), (40, 10, 120, 100)),
        ((5, 3, 100, 80), (0, 0, 120, 100)),
        ((60, 30, 155, 118), (40, 10, 160, 120)),
        ((-50, -40, 300, 300), (0, 0, 160, 120)),
        ((-0.9, -0.9, 30, 30), (0, 0, 50, 50)),
        ((80, 60, 80.5, 60.5), (60, 40, 100, 80)),
        ((170, 60, 175, 70), (150, 40, 160, 90)),
        *((box, (0, 0, 160, 120)) for box in (None, (500, 60, 600, 90), (-200, 10, -100, 20), (20, 900, 60, 990))),
    ],
)
def test_the_face_is_the_box_cut_to_int_20_pixels_wider_inside_the_frame_else_the_whole_frame(box, area):
    left, top, right, bottom = area
    assert np.array_equal(crop_face(FRAME, box), FRAME[top:bottom, left:right])


@pytest.mark.parametrize(
    "box", [(30, 10, 130, 110), (30.4, 10.6, 129.5, 109.5), (-20, -10, 90, 80), (100, 60, 200, 150), (-5, -5, 170, 130)]
)
def test_the_context_is_pils_crop_of_the_float_box_black_outside_the_frame(box):
    assert np.array_equal(crop_context(FRAME, box), Image.fromarray(FRAME).crop(box))


@pytest.mark.parametrize(
    "box", [None, (200, 10, 300, 50), (-90, 10, -10, 50), (50, 50, 50.2, 50.2), (50, 50, 50, 90), (10, 130, 60, 190)]
)
def test_a_context_box_outside_the_frame_or_without_area_gives_the_whole_frame(box):
    assert np.array_equal(crop_context(FRAME, box), FRAME)


@pytest.mark.parametrize("box", [(-1e9, -1e9, 1e9, 1e9), (-1e300, 0, 1e300, 50)])
def test_an_enormous_box_does_not_allocate_an_enormous_picture(box):
    assert crop_context(picture(16, 12), box).shape[1] <= 100 and crop_face(picture(16, 12), box).shape[1] == 16


@pytest.mark.parametrize("size", LETTERBOX)
def test_letterbox_is_opencvs_resize_with_a_black_border(size):
    width, height, left, right, top, bottom = LETTERBOX[size]
    assert letterbox_size(*size, 224) == (width, height, left, top)
    image = picture(*size)
    resized = cv2.resize(image[:, :, ::-1].copy(), (width, height), interpolation=cv2.INTER_LINEAR)
    expected = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    assert np.array_equal(letterbox(image, 224), expected[:, :, ::-1])


def test_a_picture_twice_as_large_shows_the_same_part_of_the_head():
    box = (100.0, 80.0, 164.0, 150.0)  # the width of faces in training
    double = tuple(2 * edge for edge in box)
    assert margin_like(64.0, box) == MARGIN and margin_like(64.0, double) == 2 * MARGIN
    assert margin_like(None, double) == MARGIN and margin_like(64.0, (0.0, 0.0, 16.0, 20.0)) == 5
    small = face_area(320, 240, box, margin_like(64.0, box))
    assert small == face_area(320, 240, box) == (80, 60, 184, 170)
    assert face_area(640, 480, double, margin_like(64.0, double)) == tuple(2 * edge for edge in small)


@pytest.mark.parametrize("box", [None, (30, 20, 70, 60), (-5.5, 60.2, 30.7, 95), (34, 29, 86, 81)])
@pytest.mark.parametrize("size", [32, 92])
def test_squares_without_torch_are_the_squares_of_evaluation(box, size):
    assert np.array_equal(face_square(FRAME, box, size), to_square(crop_face(FRAME, box), PLAIN, size))
    context = letterbox(crop_context(FRAME, box), size)
    assert np.array_equal(context_square(FRAME, box, size), to_square(context, PLAIN, size))


def test_neither_crops_nor_windows_need_torch():
    modules = "dataloader.crops, apps.predict.runners, apps.predict.windows, apps.predict.predictor, apps.predict.run"
    code = f"import sys\nimport {modules}\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
