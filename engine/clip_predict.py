"""Predict clips without gradients, score them, and write the results.

Texts are encoded once. Under torchrun every process predicts its share of the clips.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.calibration import RAW, Calibration, softmax
from analysis.intervals import add_intervals, groups_of
from analysis.metrics import SCORES, brackets
from analysis.mistakes import write_mistakes
from analysis.results import Predictions, write_predictions, write_results
from dataloader.annotation import Clip
from dataloader.clips import Views
from dataloader.loader import Batch
from dataloader.transforms import enlarge_parts
from engine.data import evaluation_loader
from engine.device import join_batches, map_on_cores, statistics_of, tensors_of, to_device
from engine.methods.base import ClipTask
from engine.options import Config
from engine.session import Session
from utils.errors import UserError
from utils.runlog import progress_bar

FEW_TO_CALIBRATE = 30  # clips; a temperature fitted on fewer gets a warning


def score_and_write(
    task: ClipTask,
    loader: Any,
    clips: list[Clip],
    views: Views,
    config: Config,
    session: Session,
    split: str,
    selected_on: str,
    calibrated: Calibration = RAW,
) -> dict[str, Any]:
    """Predict, score and write results; ``loader`` gives this process its share of the clips of the split."""
    ids, label, logits, replaced = predict(task, loader, config, session, split)
    if replaced:
        session.log.warn(f"{split}: {replaced} unreadable frames were replaced by their clip's nearest frame")
    if 0 < calibrated.clips < FEW_TO_CALIBRATE:
        session.log.warn(
            f"the temperature was fitted on only {calibrated.clips} clips: with fewer than {FEW_TO_CALIBRATE} it may "
            f"make probabilities worse (--no-calibrate leaves it out)"
        )
    metrics = task.score(logits, label)
    if not session.group.is_main:
        return metrics
    metrics = write_results(
        session.log,
        Predictions(task.names, ids, [clip.person for clip in clips], label, logits),
        metrics,
        split=split,
        selected_on=selected_on,
        title=config.run.exper_name,
        ci=config.results.ci,
        abstain=config.results.abstain,
        calibrated=calibrated,
    )
    with_frames = config.results.mistake_frames
    write_mistakes(clips, views, session.log, root=config.data.root_dir, with_frames=with_frames)
    return metrics


def predict(
    task: ClipTask, loader: Any, config: Config, session: Session, name: str
) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    """Return ids, labels, logits and the number of replaced frames of all clips, in list order.

    ``loader`` gives lists of batches, each for one pass through the model.
    """
    ids, label, logits, replaced = predict_changed(task, loader, {name: lambda batch: batch}, config, session, name)
    return ids, label, logits[name], replaced


@torch.inference_mode()
def predict_changed(
    task: ClipTask,
    loader: Any,
    changes: dict[Any, Callable[[Batch], Batch]],
    config: Config,
    session: Session,
    name: str,
) -> tuple[list[str], np.ndarray, dict[Any, np.ndarray], int]:
    """Return the same as ``predict``, with logits for each of several changes of the batches, by its name.

    Every clip is decoded once and then changed in all ways.
    """
    task.model.eval()
    task.fix_texts()
    answered: list[Batch] = []
    logits: dict[Any, list[Tensor]] = {change: [] for change in changes}

    @torch.inference_mode()  # it holds for one thread only
    def answer(group: list[Batch]) -> tuple[list[Batch], dict[Any, list[Tensor]]]:
        variants = {change: [changed(batch) for batch in group] for change, changed in changes.items()}
        outputs = {change: passes(task, batches, config, session) for change, batches in variants.items()}
        return [{key: batch[key] for key in ("id", "label", "replaced_frames")} for batch in group], outputs

    # Logits stay on the device until the end: reading each would make the GPU wait.
    try:
        for batches, outputs in map_on_cores(answer, progress_bar(loader, len(loader), name), session.device):
            answered += batches
            for change, parts in outputs.items():
                logits[change] += parts
    finally:
        task.release_texts()
    ids = [id for batch in answered for id in batch["id"]]
    labels = [label for batch in answered for label in batch["label"].tolist()]
    answers = [torch.cat(parts).cpu().numpy() if parts else () for parts in logits.values()]
    rows = list(zip(ids, labels, *answers, strict=True))
    group, replaced = session.group, sum(batch["replaced_frames"] for batch in answered)
    count, replaced = (int(value) for value in group.sum([len(rows), replaced]))
    ids, labels, *answers = zip(*group.gather_list(rows, count), strict=True)
    by_change = {change: np.stack(answer) for change, answer in zip(changes, answers, strict=True)}
    for values in by_change.values():
        faulty = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(faulty):
            first = ids[faulty[0]]
            raise UserError(
                f"{name}: {len(faulty)} of {len(ids)} predictions are not finite, first that of {first}; try --amp off"
            )
    return list(ids), np.array(labels), by_change, replaced


MEAN = "mean of all"
SCALES = (0.9, 0.8)  # of the width and the height, in the middle of a square
OFFSETS = (0.25, 0.75)  # shares of a segment; the single view takes the frame at one half


def score_views(
    task: ClipTask,
    clips: list[Clip],
    views: Views,
    metrics: dict[str, Any],
    config: Config,
    session: Session,
    calibrated: Calibration = RAW,
    watch: Callable[[Any], Any] = lambda loader: loader,
) -> dict[str, Any]:
    """Score the mean probabilities over the views of ``--test-views``; return their entry for metrics.json.

    ``metrics`` are the scores of the single view, which the printed table repeats. Rows as those of predictions.csv,
    with the logarithms of the mean probabilities as logits, are written to predictions_views.csv.
    """
    kinds, of_pixels = config.results.test_views, {"single view": lambda batch: batch}
    if "flip" in kinds:
        of_pixels["mirrored"] = mirrored
    if "scales" in kinds:
        of_pixels |= {f"middle {scale:.0%}": partial(enlarged, scale=scale) for scale in SCALES}
    ids, label, logits, _ = predict_changed(
        task, watch(evaluation_loader(config, clips, views, session)), of_pixels, config, session, "test views"
    )
    for offset in OFFSETS if "offsets" in kinds else ():
        loader, name = evaluation_loader(config, clips, replace(views, offset=offset), session), f"frames {offset:.0%}"
        logits[name] = predict(task, watch(loader), config, session, name)[2]
    if not session.group.is_main:
        return {}
    probabilities = [softmax(values.astype(np.float64), calibrated.temperature) for values in logits.values()]
    mean = np.log(np.mean(probabilities, axis=0).clip(min=np.finfo(np.float64).tiny))
    persons = [clip.person for clip in clips]
    groups = groups_of(ids, persons, config.results.ci)
    scores = {name: task.score(values, label) for name, values in [*logits.items(), (MEAN, mean)]}
    if groups is not None:
        scores[MEAN] = add_intervals(scores[MEAN], label, mean.argmax(axis=1), groups)
    rows = [_view_row(name, values) for name, values in scores.items()]
    rows[0] = _view_row("single view", metrics)  # the same numbers with their interval
    predictions = Predictions(task.names, ids, persons, label, mean)
    write_predictions(session.log.folder / "predictions_views.csv", predictions, np.exp(mean), None)
    session.log.say(f"\n{views_table(rows)}")
    session.log.keep_metrics(metrics | {"test_views": rows})
    return {"test_views": rows}


def _view_row(name: str, scores: dict[str, Any]) -> dict[str, Any]:
    interval = (scores.get("intervals") or {}).get("uar")
    return {"view": name, "interval": interval} | {score: scores[score] for score in SCORES}


def views_table(rows: list[dict[str, Any]]) -> str:
    """Return a text table with the scores of each view and of the mean of their probabilities."""
    head = f"{'test views':<16}" + "".join(f"{name:>10}" for name in SCORES.values())
    lines = [f"{row['view']:<16}" + "".join(f"{row[score]:>10.2f}" for score in SCORES) for row in rows]
    intervals = [f"   UAR {brackets(row['interval'])}" if row["interval"] else "" for row in rows]
    return "\n".join([head, *map(str.__add__, lines, intervals)])


def mirrored(batch: Batch) -> Batch:
    """Return a batch whose pixels are mirrored."""
    return batch | {stream: batch[stream].flip(-1) for stream in pixel_streams(batch)}


def enlarged(batch: Batch, scale: float) -> Batch:
    """Return a batch of the middle of every square, ``scale`` of its width and height, at full size."""
    B, edge = len(batch["label"]), (1 - scale) / 2
    parts, flip = torch.tensor([[edge, edge, 1 - edge, 1 - edge]] * B), torch.zeros(B, dtype=torch.bool)
    return batch | {stream: enlarge_parts(batch[stream], parts, flip) for stream in pixel_streams(batch)}


def pixel_streams(batch: Batch) -> list[str]:
    return [stream for stream in ("face", "context") if stream in batch]


def passes(task: ClipTask, batches: list[Batch], config: Config, session: Session) -> list[Tensor]:
    """Return logits (B, C) of all clips in ``batches``, in as few passes as the GPU's memory allows.

    When memory runs out, half as many clips are tried. The size that fits is used for all later passes of the task.
    """
    queue, logits = deque(batches), []
    while queue:
        together = take(queue, task.clips_that_fit)
        try:
            logits.append(one_pass(task, together, config, session))
            continue
        except torch.OutOfMemoryError:
            count = sum(map(clips_in, together))
            if count == 1:
                raise
        # after the except block: while the error exists, it keeps the tensors of the failed pass in memory
        task.clips_that_fit = count // 2
        queue.extendleft(reversed(together))
    return logits


def one_pass(task: ClipTask, batches: list[Batch], config: Config, session: Session) -> Tensor:
    """Return logits (B, C) of all clips in ``batches`` from one pass."""
    batch_on_device = join_batches(batches, session.device)
    pixels = to_device(batch_on_device, session.device, config.data.normalize, statistics_of(task.model))
    with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
        return task.predictions(task.forward(pixels))


def take(queue: deque[Batch], most_clips: int | None) -> list[Batch]:
    """Remove and return the next batches, ``most_clips`` clips in total; a larger batch is split."""
    batches, room = [], most_clips or sum(map(clips_in, queue))
    while queue and room > 0:
        batch = queue.popleft()
        if clips_in(batch) > room:
            queue.appendleft({key: value[room:] for key, value in tensors_of(batch).items()})
            batch = {key: value[:room] for key, value in tensors_of(batch).items()}
        batches.append(batch)
        room -= clips_in(batch)
    return batches


def clips_in(batch: Batch) -> int:
    return len(batch["label"])
