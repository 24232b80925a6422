"""The body around a face, by hand numbers."""

import pytest

from dataloader.detect import body_box

FACE = (100, 100, 150, 160)  # 50 × 60


def test_the_proportion_of_the_face():
    # 1.2 widths of 50 beside the middle at 125, a fifth of 60 above, 1.3 of 60 below
    assert body_box(FACE, [], 640, 480) == pytest.approx((65, 88, 185, 238))


def test_inside_the_frame():
    assert body_box(FACE, [], 180, 200) == pytest.approx((65, 88, 180, 200))


def test_an_upper_body_that_fits_counts():
    assert body_box(FACE, [(40, 80, 220, 300, 0.9)], 640, 480) == (40, 80, 220, 300)
    assert body_box(FACE, [(40, 120, 220, 200, 0.9)], 640, 480) == pytest.approx((40, 100, 220, 238))


@pytest.mark.parametrize(
    "body",
    [
        (300, 80, 480, 300, 0.9),  # somebody else's
        (110, 90, 160, 200, 0.9),  # no wider than the face
        (0, 90, 600, 400, 0.9),  # as wide as twelve
        (40, 0, 220, 170, 0.9),  # the face at its foot
    ],
)
def test_one_that_does_not_fit_is_left(body):
    assert body_box(FACE, [body], 640, 480) == pytest.approx((65, 88, 185, 238))
    assert body_box(FACE, [body, (40, 80, 220, 300, 0.1)], 640, 480) == (40, 80, 220, 300)


def test_without_a_face_the_surest_body_or_nothing():
    assert body_box(None, [(40, 80, 220, 300, 0.9), (1, 2, 3, 4, 0.1)], 200, 200) == (40, 80, 200, 200)
    assert body_box(None, [], 200, 200) is None
