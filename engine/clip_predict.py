"""Predict clips without gradients, score them, and write the results.

Texts are encoded once. Under torchrun every process predicts its share of the clips.
"""

from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.calibration import RAW, Calibration
from analysis.mistakes import write_mistakes
from analysis.results import Predictions, write_results
from dataloader.annotation import Clip
from dataloader.clips import Views
from dataloader.loader import Batch
from engine.device import join_batches, statistics_of, tensors_of, to_device
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
    faulty = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(faulty):
        raise UserError(
            f"{len(faulty)} of {len(ids)} predictions are not finite, first that of {ids[faulty[0]]}; try --amp off"
        )
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


@torch.inference_mode()
def predict(
    task: ClipTask, loader: Any, config: Config, session: Session, name: str
) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    """Return ids, labels, logits and the number of replaced frames of all clips, in list order.

    ``loader`` gives lists of batches, each for one pass through the model.
    """
    task.model.eval()
    task.fix_texts()
    answered: list[Batch] = []
    logits: list[Tensor] = []  # stay on the device until the end: reading each would make the GPU wait
    try:
        for group in progress_bar(loader, len(loader), name):
            logits += passes(task, group, config, session)
            answered += [{key: batch[key] for key in ("id", "label", "replaced_frames")} for batch in group]
    finally:
        task.release_texts()
    ids = [id for batch in answered for id in batch["id"]]
    labels = [label for batch in answered for label in batch["label"].tolist()]
    rows = list(zip(ids, labels, torch.cat(logits).cpu().numpy() if logits else (), strict=True))
    group, replaced = session.group, sum(batch["replaced_frames"] for batch in answered)
    count, replaced = (int(value) for value in group.sum([len(rows), replaced]))
    ids, labels, answers = zip(*group.gather_list(rows, count), strict=True)
    return list(ids), np.array(labels), np.stack(answers), replaced


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
