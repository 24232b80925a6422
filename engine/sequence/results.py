"""What scored videos leave behind: metrics.json, a table a video, the challenge's submission files, a picture."""

import csv
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from dataloader.affwild import Video
from dataloader.frame_labels import ACTION_UNITS, TASKS
from dataloader.sequences import FeatureSource
from engine.methods.sequence import SequenceTask
from engine.options import Config
from engine.sequence.intervals import add_intervals
from engine.sequence.predict import Predicted, predict_videos
from engine.sequence.score import Pooled, table
from engine.session import Session
from utils.errors import UserError

COLUMNS = {"va": TASKS["va"].names, "expr": ("expression",), "au": ACTION_UNITS}
SHOWN = 3  # videos in the picture
STRETCH = 1000  # frames written at a time


def score_and_write(
    task: SequenceTask,
    videos: list[Video],
    source: FeatureSource,
    config: Config,
    session: Session,
    thresholds: list[float] | None,
) -> dict[str, Any]:
    """Predict every frame of ``videos``; ``thresholds``: the tuned ones, used where ``--thresholds`` asks for them."""
    cut = chosen_cut(task, config, thresholds)
    pooled, shown, log = Pooled(task.tasks), [], session.log
    with Writer(log.folder, task.tasks, np.asarray(cut)) as writer:
        for found in predict_videos(task, videos, source, config, session, "validation"):
            writer.write(pooled.add(found))
            shown += [found] if len(shown) < SHOWN else []
    metrics = pooled.score(cut)
    groups = pooled.groups()
    if config.results.ci != "off":
        metrics = add_intervals(metrics, pooled, cut, groups)
    metrics |= {"fold": int(config.data.fold), "videos": len(videos), "frames": sum(map(len, videos))}
    log.write_metrics(metrics)
    draw(shown, task, log.folder / "timeline.png")
    log.say(f"\n{config.run.exper_name}: {len(videos)} validation videos of fold {config.data.fold}")
    log.say(table(metrics))
    for doubt in groups.doubts() if config.results.ci != "off" else []:
        log.warn(doubt)
    log.say(f"run folder: {log.folder}")
    return metrics


def chosen_cut(task: SequenceTask, config: Config, tuned: list[float] | None) -> list[float] | float:
    """From which probability each action unit is active."""
    cut = tuned if config.sequence.thresholds == "tuned" and "au" in task.tasks else 0.5
    if cut is None:
        raise UserError("--thresholds tuned: this checkpoint holds none, since its training never ended; pass 0.5")
    return cut


def draw(shown: list[Predicted], task: SequenceTask, path: Path) -> None:
    from analysis.plots import save
    from engine.sequence.timeline import draw_timelines

    save(draw_timelines(shown, task.tasks), path)


class Writer:
    """A table a video, and one submission file a task, written video by video."""

    def __init__(self, folder: Path, tasks: tuple[str, ...], thresholds: np.ndarray) -> None:
        self.folder, self.tasks, self.thresholds, self.files = folder, tasks, thresholds, ExitStack()

    def __enter__(self) -> "Writer":
        for name in ("predictions", "submission"):
            (self.folder / name).mkdir(exist_ok=True)
        self.submissions = {task: self._start(f"submission/{task}.csv", "image_location", task) for task in self.tasks}
        return self

    def __exit__(self, *_: Any) -> None:
        self.files.close()

    def _start(self, name: str, first: str, *tasks: str) -> Any:
        file = self.files.enter_context(open(self.folder / name, "w", newline="", encoding="utf-8"))
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([first, *(column for task in tasks for column in COLUMNS[task])])
        return writer

    def write(self, found: Predicted) -> None:
        """A stretch of frames at a time: as text they take many times the memory of their numbers."""
        with open(self.folder / f"predictions/{found.video.id}.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["frame", *(column for task in self.tasks for column in COLUMNS[task])])
            for start in range(0, len(found.video), STRETCH):
                self._write_stretch(found, slice(start, start + STRETCH), table)

    def _write_stretch(self, found: Predicted, frames: slice, table: Any) -> None:
        """Answers in the submission; in the table of the video probabilities of action units."""
        rows = {task: self.answers(getattr(found, task)[frames], task) for task in self.tasks}
        for task, writer in self.submissions.items():
            numbered = enumerate(rows[task], frames.start + 1)
            writer.writerows([f"{found.video.id}/{number:05d}.jpg", *row] for number, row in numbered)
        if found.au is not None:
            rows["au"] = written(found.au[frames])
        for number, parts in enumerate(zip(*(rows[task] for task in self.tasks), strict=True), frames.start + 1):
            table.writerow([number, *(cell for part in parts for cell in part)])

    def answers(self, values: np.ndarray, task: str) -> list[list[Any]]:
        if task == "va":
            return written(values)
        if task == "expr":
            return values[:, None].tolist()
        return (values >= self.thresholds).astype(int).tolist()


def written(values: np.ndarray) -> list[list[str]]:
    return [[f"{value:.6f}" for value in row] for row in values]
