"""The labels of a video, read from its course and from what the face shows; and what annotators and detectors lose."""

from collections.abc import Callable

import numpy as np

from dataloader.frame_labels import TASKS
from simulate.affwild2.course import wander, weigh_regions
from simulate.moment import Moment

INVALID_SHARE = {"va": 0.03, "expr": 0.08, "au": 0.04}
FACELESS_SHARE = 0.05
LAG = 8  # frames that an annotator's hand is late by
RUNS = (4, 40)  # frames that are lost together
ACTION_UNITS: dict[str, Callable[[Moment], bool]] = {
    "AU1": lambda m: m.brow_raise - 0.3 * m.brow_furrow > 0.35,  # inner brows: a frown holds them down
    "AU2": lambda m: m.brow_raise - 0.6 * m.brow_furrow > 0.4 or abs(m.brow_tilt) > 0.5,  # outer brows, or one of them
    "AU4": lambda m: m.brow_furrow > 0.35,
    "AU6": lambda m: m.smile > 0.45 and m.eyelid < 0.72,  # cheeks up: a smile that reaches the eyes
    "AU7": lambda m: m.eyelid < 0.56,
    "AU10": lambda m: m.smile < -0.25 and m.brow_raise < -0.15,  # the sneer of disgust
    "AU12": lambda m: m.smile > 0.25,
    "AU15": lambda m: m.smile < -0.35,
    "AU23": lambda m: m.mouth_press > 0.35 and m.mouth_open < 0.12,
    "AU24": lambda m: m.mouth_press > 0.55 and m.mouth_open < 0.12,
    "AU25": lambda m: m.mouth_open > 0.12,
    "AU26": lambda m: m.mouth_open > 0.35,
}


def read_video_labels(
    course: np.ndarray, moments: tuple[Moment, ...], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """(frames, 2), (frames, 1) and (frames, 12) by task; valence and arousal as an annotator follows them, late."""
    late = course[np.maximum(np.arange(len(course)) - LAG, 0), :2]
    followed = np.clip(late + wander((len(course), 2), 0.04, rng), -1, 1)
    units = np.array([[is_shown(moment) for is_shown in ACTION_UNITS.values()] for moment in moments], dtype=int)
    return {"va": followed.round(3), "expr": weigh_regions(course).argmax(1)[:, None], "au": units}


def lose_labels(labels: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Runs of frames marked as not valid, for each task others."""
    kept = {}
    for task, rows in labels.items():
        lost = draw_runs(len(rows), INVALID_SHARE[task], rng)
        kept[task] = np.where(lost[:, None], TASKS[task].invalid, rows)
    return kept


def draw_runs(frames: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """(frames,) bool: True in runs, about ``share`` of the frames in all."""
    lost = np.zeros(frames, dtype=bool)
    wanted, longest = rng.normal(share, share / 4) * frames, min(RUNS[1], max(RUNS[0] + 1, frames // 12))
    while lost.sum() < wanted:
        start = rng.integers(frames)
        lost[start : start + rng.integers(RUNS[0], longest)] = True
    return lost if not lost.all() else ~lost  # a very short video keeps its frames


def write_rows(task: str, rows: np.ndarray) -> list[str]:
    """The lines of a label file, its header first."""
    return [",".join(TASKS[task].names), *(",".join(f"{value:g}" for value in row) for row in rows)]
