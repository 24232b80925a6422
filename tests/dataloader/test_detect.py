"""Cascades on a photograph, and boxes that are the same."""

import cv2
import numpy as np
import pytest

from dataloader.detect import (
    CascadeDetector,
    Detection,
    detect_turned,
    open_detector,
    overlap,
    overlap_of_smaller,
    shrink,
    without_duplicates,
)
from utils.errors import UserError

FACE = (181, 75, 270, 178)  # of scikit-image's astronaut, measured by eye: cheek to cheek, fringe to chin


@pytest.fixture(scope="module")
def astronaut():
    return pytest.importorskip("skimage.data").astronaut()


def moved(photo: np.ndarray, x: int, y: int) -> np.ndarray:
    canvas = np.full((720, 1280, 3), 128, np.uint8)
    canvas[y : y + 512, x : x + 512] = photo
    return canvas


@pytest.mark.parametrize("x, y", [(0, 0), (300, 100), (768, 208)])
def test_the_face_of_a_photograph_wherever_it_is(astronaut, x, y):
    found = open_detector("cascades")(moved(astronaut, x, y))
    assert overlap(found.faces[0].box, (FACE[0] + x, FACE[1] + y, FACE[2] + x, FACE[3] + y)) > 0.5
    assert 0 < found.faces[0].score < 1


def test_mirrored(astronaut):
    found = open_detector("cascades")(np.ascontiguousarray(astronaut[:, ::-1]))
    assert overlap(found.faces[0].box, (512 - 270, 75, 512 - 181, 178)) > 0.5


def test_nothing_is_found_where_nothing_is():
    assert CascadeDetector(persons=9)(np.full((240, 320, 3), 90, np.uint8)) == ([], [])


def test_tiny_frames():
    assert open_detector("cascades")(np.zeros((1, 3, 3), np.uint8)) == ([], [])


def test_areas_by_hand():
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert overlap_of_smaller((0, 0, 10, 10), (0, 0, 5, 5)) == 1
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert overlap_of_smaller((0, 0, 0, 0), (0, 0, 5, 5)) == 0


def test_the_same_face_twice_counts_once():
    kept = without_duplicates(
        [Detection(0, 0, 10, 10, 0.2), Detection(1, 1, 11, 11, 0.8), Detection(40, 0, 50, 10, 0.1)]
    )
    assert [one.score for one in kept] == [0.8, 0.1]


def test_bad_files(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        open_detector(str(tmp_path / "none.onnx"))
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    with pytest.raises(UserError, match="YuNet"):
        open_detector(str(tmp_path / "bad.onnx"))


@pytest.mark.parametrize("angle", [15.0, -15.0, 30.0])
def test_what_is_found_in_a_turned_picture_lies_where_it_is(angle):
    """A stand-in for a cascade finds the white disc wherever it is."""
    grey = np.zeros((120, 160), np.uint8)
    cv2.circle(grey, (110, 40), 10, 255, -1)
    seen = []

    def disc(picture, _):
        rows, columns = np.nonzero(picture > 127)
        seen.append((columns.mean(), rows.mean()))
        return [Detection(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9)]

    (one,) = detect_turned(disc, grey, 0.1, angle)
    assert ((one.left + one.right) / 2, (one.top + one.bottom) / 2) == pytest.approx((110, 40), abs=1.5)
    assert np.hypot(seen[0][0] - 110, seen[0][1] - 40) > 8  # it was elsewhere in the turned picture
    assert one.right - one.left == pytest.approx(21, abs=2) and one.score == 0.9


@pytest.mark.parametrize("angle", [20.0, -20.0])
def test_a_tilted_face_of_a_photograph(astronaut, angle):
    """Turned around its own middle, so that it lies where it was."""
    middle = ((FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2)
    tilted = cv2.warpAffine(astronaut, cv2.getRotationMatrix2D(middle, angle, 1.0), (512, 512))
    assert overlap(open_detector("cascades")(tilted).faces[0].box, FACE) > 0.4


@pytest.mark.parametrize(
    ("size", "expected", "growth"),
    [
        ((320, 240), (320, 240), 1.0),
        ((1920, 1080), (853, 480), 2.25),
        ((1080, 1920), (480, 853), 2.25),
        ((30000, 100), (2880, 10), 30000 / 2880),  # by its short side it would stay as it is
        ((2880, 480), (2880, 480), 1.0),
        ((30000, 1), (2880, 1), 30000 / 2880),
    ],
)
def test_a_frame_is_shrunk_by_either_side(size, expected, growth):
    small, scale = shrink(np.zeros((size[1], size[0], 3), np.uint8), 480)
    assert small.shape[1::-1] == expected and scale == pytest.approx(growth)


def test_faces_are_sought_as_long_as_somebody_is_missing(monkeypatch):
    """One face is upright, one tilted, one in profile: each search finds its own and the better ones again."""
    upright, tilted, profile = (Detection(x, 10, x + 40, 50, score) for x, score in ((10, 0.9), (100, 0.8), (200, 0.7)))
    for persons, expected in ((1, [upright]), (2, [upright, tilted]), (3, [upright, tilted, profile])):
        detector = CascadeDetector(persons)
        monkeypatch.setattr(detector, "_upright", lambda _: [upright])
        monkeypatch.setattr(detector, "_tilted", lambda _: [tilted, upright._replace(score=0.5)])
        monkeypatch.setattr(detector, "_profiles", lambda _: [profile, tilted._replace(score=0.1)])
        assert detector(np.zeros((240, 320, 3), np.uint8)).faces == expected
