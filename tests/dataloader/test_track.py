"""Faces joined over time: gaps, crossings, false detections, the maximum number of persons."""

import numpy as np
import pytest

from benchmarks.video_pairs import count_cuts, draw_shots
from dataloader.detect import Detection, Detections
from dataloader.track import CutDetector, Tracker

AWAY = [[]] * 20  # longer than a person may be invisible


def face(x: float, y: float = 50, side: float = 40) -> Detection:
    return Detection(x, y, x + side, y + side, 0.9)


def follow(tracker, frames, step=0.1):
    """Return the persons after each of ``frames``, which are lists of faces."""
    return [tracker.update(n * step, Detections(list(faces), [])) for n, faces in enumerate(frames)]


def middle(person) -> float:
    return (person.face[0] + person.face[2]) / 2


def ids(persons) -> dict[int, int]:
    """Return {left edge to the nearest ten: id} of the faces that were detected."""
    return {round(p.face[0], -1): p.id for p in persons if p.is_visible}


def test_a_person_exists_after_two_detections():
    steps = follow(Tracker(1), [[face(10)]] * 3)
    assert [[p.id for p in persons] for persons in steps] == [[], [1], [1]]
    assert steps[2][0].is_visible and steps[2][0].face == pytest.approx((10, 50, 50, 90))
    assert ids(Tracker(2, hits=1).update(0.0, Detections([face(10), face(200)], []))) == {10: 1, 200: 2}


def test_a_single_false_detection_is_not_a_person():
    frames = [[face(10)]] * 3 + [[face(10), face(200)]] + [[face(10)]] * 5
    assert {p.id for persons in follow(Tracker(5), frames) for p in persons} == {1}


def test_a_short_gap_keeps_the_person_and_a_long_gap_ends_the_track():
    steps = follow(Tracker(1), [[face(10)]] * 5 + [[]] * 12 + [[face(10)]])
    assert [p.is_visible for persons in steps[1:] for p in persons] == [True] * 4 + [False] * 12 + [True]
    assert {p.id for persons in steps for p in persons} == {1}
    steps = follow(Tracker(1), [[face(10)]] * 5 + AWAY + [[face(10)]] * 2)
    assert steps[22] == steps[25] == [] and [p.id for p in steps[-1]] == [1]


def test_a_person_who_returns_to_the_same_place_is_the_same_and_elsewhere_a_new_one():
    steps = follow(Tracker(9), [[face(10), face(300)]] * 3 + AWAY + [[face(40), face(150), face(310)]] * 3)
    assert ids(steps[2]) == {10: 1, 300: 2}
    assert ids(steps[-1]) == {40: 1, 150: 3, 310: 2}
    smaller = follow(Tracker(9), [[face(100, side=60)]] * 3 + AWAY + [[face(110, side=20)]] * 2)
    assert [p.id for p in smaller[-1]] == [2]


@pytest.mark.parametrize(("in_all", "last"), [(True, 1), (False, 3)])
def test_the_only_person_of_a_video_is_recognised_anywhere(in_all, last):
    frames = [[face(10)]] * 3 + AWAY + [[face(400, side=90)]] * 3 + AWAY + [[face(200)]] * 3
    assert [p.id for p in follow(Tracker(1, in_all=in_all), frames)[-1]] == [last]


def test_after_the_maximum_number_no_new_person_is_added():
    frames = [[face(10), face(300)]] * 3 + AWAY + [[face(500)]] * 3 + [[face(500), face(20)]] * 3
    steps = follow(Tracker(2, in_all=True), frames)
    assert ids(steps[25]) == {500: 2} and ids(steps[-1]) == {20: 1, 500: 2}


def test_a_false_detection_keeps_the_number_of_a_lost_person_only_while_it_is_detected():
    frames = [[face(10)]] * 5 + AWAY + [[face(300)]] * 5 + [[face(10)]] * 20
    steps = follow(Tracker(1, in_all=True), frames)
    assert ids(steps[29]) == {300: 1} and ids(steps[-1]) == {10: 1}


def test_the_position_of_a_moving_face_is_extrapolated():
    steps = follow(Tracker(1), [[face(10 + 8 * n)] for n in range(15)] + [[]] * 3)
    assert not steps[-1][0].is_visible
    assert middle(steps[-1][0]) == pytest.approx(30 + 8 * 17, abs=8)


@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_two_persons_who_cross_keep_their_numbers(hidden, seed):
    rng, frames = np.random.default_rng(seed), []
    for n in range(50):
        right, left = 10 + 7 * n, 360 - 7 * n
        faces = [face(right + rng.normal(0, 1)), face(left + rng.normal(0, 1))]
        if hidden and abs(right - left) < 25:
            faces = faces[:1]  # one behind the other
        frames.append([faces[i] for i in rng.permutation(len(faces))])
    steps = follow(Tracker(2), frames)
    begin, end = ({p.id: middle(p) for p in persons} for persons in (steps[1], steps[-1]))
    assert {*begin} == {*end} == {1, 2}
    for person in begin:
        assert (begin[person] < 200) == (end[person] > 200), (begin, end)


def test_tracked_boxes_vary_less_than_detections():
    rng = np.random.default_rng(0)
    steps = follow(Tracker(1), [[face(100 + rng.normal(0, 4))] for _ in range(400)], step=0.04)
    assert np.std([middle(persons[0]) for persons in steps[20:]]) < 0.75 * 4


def test_at_most_max_persons_the_largest_first_and_nobody_is_replaced():
    small, large, later = face(10, side=20), face(100, side=60), face(200, side=90)
    steps = follow(Tracker(1), [[small, large]] * 3 + [[small, large, later]] * 5)
    assert all([middle(p) for p in persons] == [130] for persons in steps[1:])


def test_a_face_of_a_very_different_size_is_another_person():
    steps = follow(Tracker(2), [[face(100, side=20)]] * 3 + [[face(80, 30, side=60)]] * 2)
    assert [p.id for p in steps[-1]] == [1, 2] and [p.is_visible for p in steps[-1]] == [False, True]


def test_a_confident_face_has_priority_over_a_larger_doubtful_one():
    sure, doubtful = Detection(10, 50, 110, 150, 0.95), Detection(200, 50, 330, 180, 0.7)
    steps = follow(Tracker(1), [[doubtful, sure]] * 3)
    assert [middle(p) for p in steps[-1]] == [60]


def test_a_cut_ends_all_tracks_and_positions_of_another_scene_are_ignored():
    tracker = Tracker(2, hits=1, in_all=True)
    assert ids(tracker.update(0.0, Detections([face(10)], []))) == {10: 1}
    tracker.end_scene()
    assert tracker.update(0.2, Detections([], [])) == []
    assert ids(tracker.update(0.4, Detections([face(10)], []))) == {10: 2}  # the same place, in another scene
    tracker.end_scene()
    assert ids(tracker.update(0.6, Detections([face(10)], []))) in ({10: 1}, {10: 2})  # there are no more than two


def test_cuts_between_persons_and_empty_rooms_are_detected_and_movement_is_not():
    shots = draw_shots(2, frames=6)
    assert count_cuts(shots, 3.0, 4.0) == {"cuts": 5, "detected": 5, "false": 0}
    is_cut = CutDetector()
    frames = [np.roll(shots[0].frames[0], 8 * number, axis=1) for number in range(8)]
    assert not any(is_cut(frame) for frame in frames) and is_cut(255 - frames[-1])
