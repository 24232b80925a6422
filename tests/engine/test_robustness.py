"""``--corrupt``: what each corruption does to pixels, and the table of scores."""

import cv2
import numpy as np
import pytest

from engine.robustness import LEVELS, corrupt
from tests.support.tools import error_of, run_main

T, S = 16, 64


@pytest.fixture
def clip():
    """Frames that all differ, smooth enough that a blur keeps their mean."""
    coarse = np.random.default_rng(0).integers(60, 200, (T * 3, 8, 8), dtype=np.uint8)
    planes = [cv2.resize(plane, (S, S), interpolation=cv2.INTER_CUBIC) for plane in coarse]
    return np.stack(planes).reshape(T, 3, S, S)


def corrupted(clip, kind, strength):
    return corrupt(clip, kind, LEVELS[kind][strength - 1], np.random.default_rng(1))


@pytest.mark.parametrize("strength", [1, 2, 3])
def test_each_kind_changes_pixels_by_its_formula(clip, strength):
    change = corrupted(clip, "noise", strength).astype(float) - clip
    assert abs(change.std() - LEVELS["noise"][strength - 1]) < 0.5 and abs(change.mean()) < 0.3
    assert np.array_equal(corrupted(clip, "dark", strength), (clip * 0.5**strength).round())
    blurred = corrupted(clip, "blur", strength)
    expected = cv2.GaussianBlur(clip[3, 1], (0, 0), S * LEVELS["blur"][strength - 1])
    assert np.abs(blurred[3, 1].astype(int) - expected).max() <= 1 and blurred.std() < clip.std()
    hidden = corrupted(clip, "occlusion", strength) == 0
    rows, columns = np.flatnonzero(hidden[0, 0].any(axis=1)), np.flatnonzero(hidden[0, 0].any(axis=0))
    assert len(rows) == len(columns) == S * strength // 4 and (hidden == hidden[0, 0]).all()
    assert np.ptp(rows) == np.ptp(columns) == S * strength // 4 - 1


@pytest.mark.parametrize(("strength", "left"), [(1, 8), (2, 4), (3, 1)])
def test_lost_frames_repeat_the_frame_before_them(clip, strength, left):
    sources = [
        int(np.flatnonzero((clip == frame).all(axis=(1, 2, 3)))[0]) for frame in corrupted(clip, "frames", strength)
    ]
    assert len(set(sources)) == left and sources == sorted(sources)
    first = sources[0]
    assert all(source == first or source <= frame for frame, source in enumerate(sources))


@pytest.mark.parametrize("kind", ["no-face", "no-context"])
@pytest.mark.parametrize(("strength", "black"), [(1, 4), (2, 8), (3, 16)])
def test_all_pixels_of_lost_frames_of_a_stream_are_black(clip, kind, strength, black):
    frames = corrupted(clip, kind, strength)
    is_black = (frames == 0).all(axis=(1, 2, 3))
    assert is_black.sum() == black and np.array_equal(frames[~is_black], clip[~is_black])


def test_an_evaluation_scores_every_kind_at_three_strengths(trained, tmp_path):
    words = [
        "--mode",
        "eval",
        "--eval-checkpoint",
        str(trained.folder / "best.pt"),
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    plain = run_main(words, tmp_path / "plain").ok()
    run = run_main([*words, "--corrupt", "dark", "no-context"], tmp_path / "run").ok()
    again = run_main([*words, "--corrupt", "no-context", "--batch-size", "3"], tmp_path / "again").ok()
    metrics = run.metrics
    measured = metrics.pop("robustness")
    assert metrics == plain.metrics and (run.folder / "robustness.png").exists()
    assert list(measured) == ["dark", "no-context"]
    for rows in measured.values():
        assert [row["strength"] for row in rows] == [0, 1, 2, 3] and rows[0]["uar"] == plain.metrics["uar"]
    assert again.metrics["robustness"]["no-context"] == measured["no-context"]
    assert "no-context" in run.out and "strong" in run.out


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ("--corrupt fog", "--corrupt"),
        ("--corrupt", "--corrupt"),
    ],
)
def test_unknown_kinds_of_corruption_are_refused(trained, flags, part, capsys):
    words = ["--mode", "eval", "--eval-checkpoint", str(trained.folder / "best.pt"), *flags.split()]
    assert part in error_of(words, capsys)
