"""Faces by cascades on a photograph, boxes that are the same, and the body around a face."""

import cv2
import numpy as np
import pytest

from dataloader.detect import (
    CascadeDetector,
    Detection,
    Detections,
    body_box,
    detect_turned,
    open_detector,
    overlap,
    overlap_of_smaller,
    shrink,
    without_duplicates,
)
from utils.errors import UserError

FACE = (181, 75, 270, 178)  # of scikit-image's astronaut, measured by eye: cheek to cheek, fringe to chin
DRAWN_FACE = (100, 100, 150, 160)  # 50 × 60
PROPORTION = (65, 88, 185, 238)  # 1.2 widths of 50 beside the middle at 125, a fifth of 60 above, 1.3 of 60 below


@pytest.fixture(scope="module")
def astronaut():
    return pytest.importorskip("skimage.data").astronaut()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("x", "y"), [(0, 0), (300, 100), (768, 208)])
def test_the_face_of_a_photograph_wherever_it_is(astronaut, x, y, mirrored):
    canvas = np.full((720, 1280, 3), 128, np.uint8)
    canvas[y : y + 512, x : x + 512] = astronaut[:, ::-1] if mirrored else astronaut
    left, right = (512 - FACE[2], 512 - FACE[0]) if mirrored else (FACE[0], FACE[2])
    face = open_detector("cascades")(canvas).faces[0]
    assert overlap(face.box, (left + x, FACE[1] + y, right + x, FACE[3] + y)) > 0.5
    assert 0 < face.score < 1


@pytest.mark.parametrize("angle", [20.0, -20.0])
def test_a_tilted_face_of_a_photograph(astronaut, angle):
    """The face is rotated around its middle, so its position does not change."""
    middle = ((FACE[0] + FACE[2]) / 2, (FACE[1] + FACE[3]) / 2)
    tilted = cv2.warpAffine(astronaut, cv2.getRotationMatrix2D(middle, angle, 1.0), (512, 512))
    assert overlap(open_detector("cascades")(tilted).faces[0].box, FACE) > 0.4


@pytest.mark.parametrize("frame", [np.full((240, 320, 3), 90, np.uint8), np.zeros((1, 3, 3), np.uint8)])
def test_nothing_is_detected_in_empty_pictures(frame):
    detections = CascadeDetector(persons=9)(frame)
    assert detections.faces == detections.bodies == []


def test_areas_by_hand():
    assert overlap((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert overlap_of_smaller((0, 0, 10, 10), (0, 0, 5, 5)) == 1
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert overlap_of_smaller((0, 0, 0, 0), (0, 0, 5, 5)) == 0


def test_the_same_face_twice_counts_once():
    boxes = [Detection(0, 0, 10, 10, 0.2), Detection(1, 1, 11, 11, 0.8), Detection(40, 0, 50, 10, 0.1)]
    assert [face.score for face in without_duplicates(boxes)] == [0.8, 0.1]


def test_bad_files(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    for name, part in (("none.onnx", "no such file"), ("bad.onnx", "YuNet")):
        with pytest.raises(UserError, match=part):
            open_detector(str(tmp_path / name))


@pytest.mark.parametrize("angle", [15.0, -15.0, 30.0])
def test_detections_in_a_rotated_picture_are_at_the_right_position(angle):
    """A fake cascade finds the white disc."""
    grey = np.zeros((120, 160), np.uint8)
    cv2.circle(grey, (110, 40), 10, 255, -1)
    centres = []

    def disc(picture):
        rows, columns = np.nonzero(picture > 127)
        centres.append((columns.mean(), rows.mean()))
        return [Detection(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9)]

    (hit,) = detect_turned(disc, grey, angle)
    assert ((hit.left + hit.right) / 2, (hit.top + hit.bottom) / 2) == pytest.approx((110, 40), abs=1.5)
    assert np.hypot(centres[0][0] - 110, centres[0][1] - 40) > 8  # it was elsewhere in the rotated picture
    assert hit.right - hit.left == pytest.approx(21, abs=2) and hit.score == 0.9


@pytest.mark.parametrize(
    ("size", "expected", "growth"),
    [
        ((320, 240), (320, 240), 1.0),
        ((1920, 1080), (853, 480), 2.25),
        ((1080, 1920), (480, 853), 2.25),
        ((30000, 100), (2880, 10), 30000 / 2880),  # by its shorter side it would not be reduced
        ((2880, 480), (2880, 480), 1.0),
        ((30000, 1), (2880, 1), 30000 / 2880),
    ],
)
def test_a_frame_is_reduced_by_its_longer_side(size, expected, growth):
    small, scale = shrink(np.zeros((size[1], size[0], 3), np.uint8), 480)
    assert small.shape[1::-1] == expected and scale == pytest.approx(growth)


def test_bodies_are_searched_once_and_only_if_they_are_read():
    searches = []
    detections = Detections([], lambda: searches.append(1) or [Detection(*DRAWN_FACE, 0.5)])
    assert detections.faces == searches == []
    assert detections.bodies == detections.bodies == [(*DRAWN_FACE, 0.5)] and len(searches) == 1


def test_faces_are_searched_while_a_person_is_missing(monkeypatch):
    """One face is upright, one tilted, one in profile: each search finds its kind and the more upright ones."""
    upright, tilted, profile = (Detection(x, 10, x + 40, 50, s) for x, s in ((10, 0.9), (100, 0.8), (200, 0.7)))
    for persons, expected in ((1, [upright]), (2, [upright, tilted]), (3, [upright, tilted, profile])):
        detector = CascadeDetector(persons)
        monkeypatch.setattr(detector, "_upright", lambda _: [upright])
        monkeypatch.setattr(detector, "_tilted", lambda _: [tilted, upright._replace(score=0.5)])
        monkeypatch.setattr(detector, "_profiles", lambda _: [profile, tilted._replace(score=0.1)])
        assert detector(np.zeros((240, 320, 3), np.uint8)).faces == expected


@pytest.mark.parametrize(
    ("face", "bodies", "size", "expected"),
    [
        (DRAWN_FACE, [], (640, 480), PROPORTION),
        (DRAWN_FACE, [], (180, 200), (65, 88, 180, 200)),  # inside the frame
        (DRAWN_FACE, [(40, 80, 220, 300, 0.9)], (640, 480), (40, 80, 220, 300)),
        (DRAWN_FACE, [(40, 120, 220, 200, 0.9)], (640, 480), (40, 100, 220, 238)),  # at least as high as the face
        (DRAWN_FACE, [(300, 80, 480, 300, 0.9)], (640, 480), PROPORTION),  # the body of another person
        (DRAWN_FACE, [(110, 90, 160, 200, 0.9)], (640, 480), PROPORTION),  # not wider than the face
        (DRAWN_FACE, [(0, 90, 600, 400, 0.9)], (640, 480), PROPORTION),  # as wide as twelve
        (DRAWN_FACE, [(40, 0, 220, 170, 0.9)], (640, 480), PROPORTION),  # the face is at its lower end
        (DRAWN_FACE, [(300, 80, 480, 300, 0.9), (40, 80, 220, 300, 0.1)], (640, 480), (40, 80, 220, 300)),
        (None, [(40, 80, 220, 300, 0.9), (1, 2, 3, 4, 0.1)], (200, 200), (40, 80, 200, 200)),
    ],
)
def test_the_body_is_a_detection_that_fits_the_face_or_its_proportion(face, bodies, size, expected):
    assert body_box(face, bodies, *size) == pytest.approx(expected)


def test_without_a_face_and_a_body_there_is_no_box():
    assert body_box(None, [], 200, 200) is None
