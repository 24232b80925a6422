"""Rows of a timeline: labels, smoothing, counts, files and figures."""

from collections import Counter

import numpy as np
import pytest

from apps.predict.pictures import COLUMNS, draw_lanes, read_lanes, runs
from apps.predict.run import describe
from apps.predict.runners import ModelInfo
from apps.predict.timeline import (
    CONTEXT_ONLY,
    FACE,
    NO_FACE,
    NO_ONE,
    UNCERTAIN,
    Row,
    Smoother,
    Summary,
    Timeline,
    TimelineWriter,
)
from benchmarks.video_segments import majority_class
from tests.support.watched import read_timeline

INFO = ModelInfo(family="clip-caer", model="m.pt", names=("a", "b"))


def row(second, chance, person=1, kind=FACE):
    return Row(second, second + 4.0, person, kind, None if chance is None else (chance, 1 - chance), 16, 16)


def smooth(groups, width, threshold=0.0):
    smoother = Smoother(width, INFO, threshold)
    return [rows for group in groups for rows in smoother.push(group)] + list(smoother.finish())


def single_rows(chances, width=1):
    return [r for (r,) in smooth([[row(n, c)] for n, c in enumerate(chances)], width)]


def test_a_mean_of_three_windows():
    rows = single_rows([0.9, 0.3, 0.6, 0.0], 3)
    assert [r.values[0] for r in rows] == pytest.approx([0.6, 0.6, 0.3, 0.3])
    assert [r.predicted for r in rows] == ["a", "a", "b", "b"] and [r.start for r in rows] == [0, 1, 2, 3]


def test_no_mean_includes_a_gap_or_another_person():
    groups = [[row(0, 0.9)], [row(1, None, kind=NO_FACE)], [row(2, 0.1), row(2, 0.7, person=2)], [row(3, 0.3)]]
    values = [[r.values and r.values[0] for r in rows] for rows in smooth(groups, 5)]
    assert values == [[0.9], [None], pytest.approx([0.2, 0.7]), pytest.approx([0.2])]


def test_a_smoother_waits_for_half_its_width_only():
    smoother = Smoother(5, INFO, 0.0)
    ready = [len(list(smoother.push([row(n, 0.5)]))) for n in range(100)]
    assert ready == [0, 0] + [1] * 98 and len(smoother.groups) <= 5


def test_below_the_threshold_is_uncertain():
    ((sure,), (unsure,)) = smooth([[row(0, 0.8)], [row(1, 0.55)]], 1, threshold=0.6)
    assert (sure.predicted, sure.confidence) == ("a", 0.8)
    assert (unsure.predicted, unsure.confidence) == (UNCERTAIN, 0.55)
    assert unsure.values == pytest.approx((0.55, 0.45))


def test_the_majority_of_windows_whose_middles_are_inside():
    rows = single_rows([0.9, 0.9, 0.1, 0.1, 0.1])
    assert majority_class(rows, 0.0, 4.5) == "a"  # middles 2, 3, 4: a, a, b
    assert majority_class(rows, 4.0, 9.0) == "b" and majority_class(rows, 20.0, 30.0) is None


def test_overlapping_windows_are_joined_and_empty_windows_have_priority():
    summary = Summary()
    for second, kind in enumerate([FACE, CONTEXT_ONLY, NO_ONE, NO_ONE, CONTEXT_ONLY, FACE]):
        summary.add([row(second, 0.5 if kind != NO_ONE else None, None if kind == NO_ONE else 1, kind)])
    # windows of 4 s from 0, 1, 2 ...: nobody from 2 to 7; context alone from 1 to 5 and from 4 to 8
    assert summary.stretches == {NO_ONE: [[2.0, 7.0]], CONTEXT_ONLY: [[1.0, 2.0], [7.0, 8.0]]}
    assert any("no one from 2.0 to 7.0 s" in line for line in summary.lines())


def test_the_number_of_faces_counts_only_persons():
    summary = Summary()
    assert summary.lines() == []
    summary.add([Row(0.0, 4.0, 1, FACE, faces=3, samples=16), Row(0.0, 4.0, 2, CONTEXT_ONLY, faces=1, samples=16)])
    summary.add([Row(4.0, 8.0, None, NO_ONE, samples=16)])
    assert summary.face_share == 4 / 32
    assert "in windows with a person, a face in 12% of the sampled frames" in summary.lines()
    assert (summary.as_json()["faces"], summary.as_json()["samples"]) == (4, 32)


def test_lines_count_classes_even_without_a_name(tmp_path):
    timeline = Timeline(INFO, damaged="breaks off")
    timeline.summary.predicted = {1: Counter(a=8, b=4, c=3, d=2, e=1, f=1, g=1), 2: Counter(a=3, b=0), 3: Counter()}
    lines = describe(timeline, "a\nb.mp4", tmp_path / "a\nb")
    assert lines[:4] == [
        "warning: a\\nb.mp4: breaks off",
        "person 1: a in 8, b in 4, c in 3, d in 2, e in 1, the rest in 2 of 20 windows",
        "person 2: a in 3 of 3 windows",
        "person 3: no answer",
    ]
    assert lines[-1] == f"written to {tmp_path}/a\\nb"


def write(folder, rows):
    writer = TimelineWriter(folder, INFO, {"source": "x"})
    writer.write(rows)
    writer.close({"speed": 2.0})
    return read_timeline(folder)


def test_json_and_csv_have_the_same_content(tmp_path):
    rows = [*single_rows([0.8]), Row(1.0, 5.0, None, NO_ONE, samples=16)]
    document, table = write(tmp_path, rows)
    assert document["source"] == "x" and document["speed"] == 2.0
    first, second = document["rows"]
    assert first["prob_a"] == 0.8 and first["predicted"] == "a" and first["face_found"] is True
    assert second["person"] is None and second["prob_a"] is None and second["seen"] == NO_ONE
    plain = {None: "", True: "true", False: "false"}
    for line, cells in zip(table, document["rows"], strict=True):
        assert line == {k: plain[v] if v is None or isinstance(v, bool) else str(v) for k, v in cells.items()}


def test_files_are_valid_without_rows_and_with_numbers_that_are_not_finite(tmp_path):
    document, table = write(tmp_path, [])
    assert table == [] and document["rows"] == []
    document, _ = write(tmp_path, [Row(0.0, 1.0, 1, FACE, (float("nan"), 0.5), 1, 1)])
    assert document["rows"][0]["prob_a"] is None and document["rows"][0]["prob_b"] == 0.5


def test_predictions_are_shown_at_the_middles_of_their_windows(tmp_path):
    write(tmp_path, single_rows([1.0 if n < 3 else 0.0 for n in range(7)]))
    lanes, end = read_lanes(tmp_path / "timeline.csv", INFO)
    assert end == 10.0
    means = lanes["1"].means[:, 0]
    # window 2 has its middle at 4 s and holds until 4.5 s; the first and the last reach to the ends
    assert not np.isnan(means).any()
    assert means[: int(0.45 * COLUMNS) - 1] == pytest.approx(1.0)
    assert means[int(0.45 * COLUMNS) + 2 :] == pytest.approx(0.0)
    draw_lanes(lanes, end, INFO)


def test_runs():
    assert runs(np.array([1, 1, 0, 2, 2])) == [(0, 2), (2, 3), (3, 5)]
