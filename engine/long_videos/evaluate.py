"""Evaluate a sequence model on labelled long videos, or predict videos without labels.

Both write files into the run folder: ``metrics.json`` of a labelled set · ``predictions/<video>.csv`` ·
``submission/<task>.csv`` in the challenge's format · ``timeline.png``
"""

import csv
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.affect import PooledVideos, VideoPredictions, add_intervals, score_lines
from dataloader.affwild import Video
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS, TASKS
from dataloader.sequences import FeatureSource, read_feature_videos
from engine.checkpoints import Opened, evaluation_config, open_checkpoint, rebuild
from engine.checks import check_method
from engine.long_videos.data import describe_video_sets, read_video_sets, require_width, video_set_facts
from engine.long_videos.predict import predict_videos
from engine.methods.sequence import SequenceTask
from engine.options import Config
from engine.session import Session, open_session
from models.sequence import SIZES
from utils.errors import UserError, about, one_line
from utils.files import atomic_write
from utils.text import plural

if TYPE_CHECKING:  # matplotlib takes a second to import
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = {"va": TASKS["va"].names, "expr": ("expression",), "au": ACTION_UNITS}
CHUNK = 1000  # frames written at a time; as text they need much more memory than as numbers
PICTURED_VIDEOS = 3
PICTURED_FRAMES = 2000  # of a video; the picture has fewer columns
HEIGHTS = {"va": 2.0, "expr": 1.6, "au": 2.4}  # inches


def evaluate_sequence(opened: Opened, config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Score a checkpoint on the set, fold and features of its training, or on those that the user passes."""
    check_method(config.model.model, flags)
    with about(opened.path):
        model = rebuild(opened.content, config)
    thresholds = stored_thresholds(opened)
    sets = read_video_sets(config)
    require_width(sets.features, model, opened.path, config)
    with open_session(config) as session:
        session.log.say(describe_video_sets(sets))
        session.log.facts["data"] = video_set_facts(sets)
        trained_on = opened.config.data.fold
        if config.data.fold != trained_on:
            session.log.warn(f"--fold {config.data.fold}: trained on fold {trained_on}, maybe on these videos")
        task = SequenceTask(model.to(session.device), config)
        return score_and_write(task, sets.validation, sets.features, config, session, thresholds)


def predict_unlabelled(config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Predict every ``<video>.npy`` of the first ``--features`` folder (``--mode predict``), for a challenge."""
    path = Path(config.run.eval_checkpoint)
    opened = open_checkpoint(path, flags)
    name = opened.method.name
    if not opened.method.reads_features:
        raise UserError(f"{path}: a {name} model; without --input VIDEO --mode predict takes sequence models")
    check_method(name, flags)
    if "features" not in flags:
        raise UserError("--mode predict needs --features DIR, a folder with <video>.npy for every video")
    with about(path):
        config = evaluation_config(opened.content, {"exper_name": "predict"} | flags, mode="predict")
        model = rebuild(opened.content, config)
    folders = [Path(folder) for folder in config.sequence.features]
    videos = read_feature_videos(folders[0])
    source = FeatureSource(videos, folders)
    require_width(source, model, opened.path, config)
    with open_session(config) as session:
        task, log = SequenceTask(model.to(session.device), config), session.log
        log.say(
            f"{plural(len(videos), 'video')}, {plural(sum(map(len, videos)), 'frame')}, {source.width} features a frame"
        )
        thresholds = thresholds_of(task, config, stored_thresholds(opened))
        write_predictions(task, videos, source, config, session, "predict", thresholds)
        log.say(f"run folder: {log.folder}")
    return {"videos": len(videos)}


# -- files ----------------------------------------------------------------------------------------------------------


def score_and_write(
    task: SequenceTask,
    videos: list[Video],
    features: FeatureSource,
    config: Config,
    session: Session,
    tuned: list[float] | None,
) -> dict[str, Any]:
    """Predict every frame of the validation videos, write all files and return the metrics.

    ``tuned``: thresholds of the action units from the training videos, for ``--thresholds tuned``.
    """
    thresholds, pooled, log = thresholds_of(task, config, tuned), PooledVideos(task.tasks), session.log
    write_predictions(task, videos, features, config, session, "validation", thresholds, pooled)
    metrics, groups, warnings = pooled.score(thresholds), pooled.groups(), []
    if config.results.ci != "off":
        metrics, warnings = add_intervals(metrics, pooled, thresholds, groups), groups.doubts()
    metrics |= {"fold": int(config.data.fold), "videos": len(videos), "frames": sum(map(len, videos))}
    log.keep_metrics(metrics)
    log.say(f"\n{config.run.exper_name}: {len(videos)} validation videos of fold {config.data.fold}")
    log.say(score_lines(metrics))
    for warning in warnings:
        log.warn(warning)
    log.say(f"run folder: {log.folder}")
    return metrics


def write_predictions(
    task: SequenceTask,
    videos: list[Video],
    features: FeatureSource,
    config: Config,
    session: Session,
    name: str,
    thresholds: list[float] | float,
    pooled: PooledVideos | None = None,
) -> None:
    """Predict every frame of the videos, write their files and draw the first videos.

    ``name`` labels the progress bar; ``pooled`` collects the predictions for scores.
    """
    pictured, folder, num_written = [], session.log.folder, 0
    for subfolder in ("predictions", "submission"):
        (folder / subfolder).mkdir(exist_ok=True)
    with ExitStack() as files:
        submissions = {
            key: open_table(folder / f"submission/{key}.csv", ("image_location", *COLUMNS[key]), files)
            for key in task.tasks
        }
        try:
            for predictions in predict_videos(task, videos, features, config, session, name):
                write_video(predictions, folder / "predictions", submissions, np.asarray(thresholds))
                num_written += 1
                if pooled is not None:
                    pooled.add(predictions)
                if len(pictured) < PICTURED_VIDEOS:
                    pictured.append(predictions)
        except UserError as error:  # the submissions would lack videos and are removed
            if not num_written:
                raise
            number = plural(num_written, "video")
            raise UserError(f"{error}; predictions/ holds the {number} before it, submission/ is empty") from None
    from analysis.plots import save

    save(draw_timelines(pictured, task.tasks), folder / "timeline.png")


def thresholds_of(task: SequenceTask, config: Config, tuned: list[float] | None) -> list[float] | float:
    """Return the probabilities from which action units are active: one for each unit, or 0.5 for all."""
    if config.sequence.thresholds != "tuned" or "au" not in task.tasks:
        return 0.5
    if tuned is None:
        raise UserError("--thresholds tuned: this checkpoint holds none, since its training is not complete; pass 0.5")
    return tuned


def stored_thresholds(opened: Opened) -> list[float] | None:
    """Return the tuned thresholds in a checkpoint; None if its training is not complete."""
    thresholds = opened.content.get("thresholds")
    if thresholds is None:
        return None
    is_list = isinstance(thresholds, list) and len(thresholds) == SIZES["au"]
    if not is_list or not all(isinstance(value, float) for value in thresholds):
        raise UserError(f"{opened.path}: damaged: its thresholds are not {SIZES['au']} numbers")
    return thresholds


def open_table(path: Path, header: Sequence[str], files: ExitStack) -> Any:
    """Return a writer of rows below ``header``; the file gets its name when ``files`` closes it."""
    temporary = files.enter_context(atomic_write(path))
    file = files.enter_context(open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace"))
    table = csv.writer(file, lineterminator="\n")
    table.writerow(header)
    return table


def write_video(
    predictions: VideoPredictions, folder: Path, submissions: dict[str, Any], thresholds: np.ndarray
) -> None:
    """Write ``<video>.csv`` and the video's rows of the submissions, {task: writer}.

    Submissions state which action units are active; the table of the video holds their probabilities.
    """
    video, columns = predictions.video, [column for task in submissions for column in COLUMNS[task]]
    with ExitStack() as files:
        table = open_table(folder / f"{video.id}.csv", ["frame", *columns], files)
        for start in range(0, len(video), CHUNK):
            frames, cells = range(start + 1, min(start + CHUNK, len(video)) + 1), []
            for task, submission in submissions.items():
                values = getattr(predictions, task)[start : start + CHUNK]
                if task == "expr":
                    rows = values[:, None].tolist()
                else:
                    rows = [[f"{value:.6f}" for value in row] for row in values]
                cells.append(rows)
                if task == "au":
                    rows = (values >= thresholds).astype(int).tolist()
                lines = zip(frames, rows, strict=True)
                submission.writerows([f"{video.id}/{number:05d}.jpg", *row] for number, row in lines)
            for number, *parts in zip(frames, *cells, strict=True):
                table.writerow([number, *(cell for part in parts for cell in part)])


# -- timeline -------------------------------------------------------------------------------------------------------


def draw_timelines(videos: list[VideoPredictions], tasks: tuple[str, ...]) -> "Figure":
    """Draw labels and predictions over time: a column for each video, a row for each task."""
    import matplotlib.pyplot as plt

    heights = [HEIGHTS[task] for task in tasks]
    figure, grid = plt.subplots(
        len(tasks),
        len(videos),
        figsize=(5.5 * len(videos), sum(heights) + 0.6),
        dpi=110,
        layout="constrained",
        squeeze=False,
        gridspec_kw={"height_ratios": heights},
    )
    draw = {"va": draw_va, "expr": draw_expressions, "au": draw_action_units}
    for column, predictions in zip(grid.T, videos, strict=True):
        video = predictions.video
        stop = min(len(video), PICTURED_FRAMES)
        column[0].set_title(f"{one_line(video.id)}, frames 1 to {stop} of {len(video)}", fontsize=9)
        for axes, task in zip(column, tasks, strict=True):
            draw[task](axes, video.labels[task][:stop], getattr(predictions, task)[:stop])
            axes.set_xlim(0, stop)
    return figure


def draw_va(axes: "Axes", label: np.ndarray, predicted: np.ndarray) -> None:
    for k, (name, colour) in enumerate((("valence", "tab:blue"), ("arousal", "tab:red"))):
        if not np.isnan(label).all():
            axes.plot(label[:, k], color=colour, lw=0.9, alpha=0.5, label=f"{name}, label")
        axes.plot(predicted[:, k], color=colour, lw=1.3, label=name)
    axes.set_ylim(-1.05, 1.05)
    axes.legend(fontsize=6, ncols=2, loc="lower right")


def draw_expressions(axes: "Axes", label: np.ndarray, predicted: np.ndarray) -> None:
    labelled = np.flatnonzero(label >= 0)
    if len(labelled):
        axes.plot(labelled, label[labelled] - 0.15, "|", color="0.55", ms=5, label="label")
    axes.plot(predicted + 0.15, "|", color="tab:blue", ms=5, label="predicted")
    axes.set_yticks(range(len(EXPRESSIONS)), EXPRESSIONS, fontsize=6)
    axes.set_ylim(len(EXPRESSIONS) - 0.5, -0.5)
    axes.legend(fontsize=6, loc="lower right")


def draw_action_units(axes: "Axes", label: np.ndarray, predicted: np.ndarray) -> None:
    """Draw probabilities as shades, with a line below a shade where the label is active."""
    axes.imshow(predicted.T, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    for unit in range(label.shape[1]):
        active = np.flatnonzero(label[:, unit] > 0)
        axes.plot(active, np.full(len(active), unit + 0.4), ".", color="tab:red", ms=1)
    axes.set_yticks(range(len(ACTION_UNITS)), ACTION_UNITS, fontsize=6)
