"""Evaluation: one pass without gradients, texts encoded once; ``--mode eval`` from a checkpoint."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from dataloader.classes import Classes
from engine.checkpoints import doubtful_flags, evaluation_config, open_checkpoint, rebuild
from engine.data import evaluation_loader, make_views, read_splits, require_lists
from engine.device import to_device
from engine.inspect import describe_published
from engine.options import Config
from engine.results import write_results
from engine.session import Session, open_session
from engine.tasks import ClipCaerTask
from utils.errors import UserError, about
from utils.runlog import progress_bar


@torch.inference_mode()
def predict(
    task: ClipCaerTask, loader: DataLoader, config: Config, session: Session, name: str
) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    """``(ids, labels, logits, replaced frames)`` of every clip, in list order."""
    task.model.eval()
    task.fix_texts()
    rows, replaced = [], 0
    try:
        for batch in progress_bar(loader, len(loader), name):
            moved = to_device(batch, session.device, config.data.normalize)
            with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
                logits = forward_in_parts(task, moved)
            rows += zip(batch["id"], batch["label"].tolist(), logits.cpu().numpy(), strict=True)
            replaced += batch["replaced_frames"]
    finally:
        task.release_texts()
    group = session.group
    ids, labels, logits = zip(*group.together_list(rows, int(group.total(len(rows)))), strict=True)
    return list(ids), np.array(labels), np.stack(logits), int(group.total(replaced))


def forward_in_parts(task: ClipCaerTask, batch: dict[str, Any]) -> Tensor:
    """Logits (B, C); a batch that does not fit into the GPU's memory passes in halves, and so on."""
    try:
        return task.predictions(task.forward(batch))
    except torch.OutOfMemoryError:
        B = len(batch["label"])
        if B == 1:
            raise
    tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
    halves = ({name: value[part] for name, value in tensors.items()} for part in (slice(B // 2), slice(B // 2, B)))
    return torch.cat([forward_in_parts(task, half) for half in halves])


def evaluate(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Score a checkpoint on ``--test-annotation``; its own options hold where the user gives none."""
    path = Path(config.run.eval_checkpoint)
    opened = open_checkpoint(path, given)
    content = opened.content
    if opened.unnamed:
        raise UserError(f"{path}: {opened.unnamed}")
    named = {"exper_name": f"{opened.config.run.exper_name}-eval"} | given
    with about(path):
        config = evaluation_config(content, named)
    require_lists(config)
    classes = Classes(tuple(content["classes"]), content["label_base"], {}, str(path))
    with about(path):
        model = rebuild(content, config)
    with open_session(config) as session:
        task = ClipCaerTask(model.to(session.device), classes.names)
        if opened.report is not None:
            session.log.say(describe_published(opened, given))
        for warning in doubtful_flags(asdict(opened.config), given, config, "left_out" in content):
            session.log.warn(warning)
        return score_test_list(task, config, classes, session, content["selected_on"])


def score_test_list(
    task: ClipCaerTask, config: Config, classes: Classes, session: Session, selected_on: str
) -> dict[str, Any]:
    """Read the test list, score it, write the results."""
    clips = read_splits(config, classes, session.log).test
    views = make_views(config, clips, session.log)
    loader = evaluation_loader(config, clips, views, session)
    return score_and_write(task, loader, config, session, selected_on, "test")


def score_and_write(
    task: ClipCaerTask, loader: DataLoader, config: Config, session: Session, selected_on: str, split: str
) -> dict[str, Any]:
    ids, label, logits, replaced = predict(task, loader, config, session, split)
    if replaced:
        session.log.warn(f"{split}: {replaced} unreadable frames were replaced by their clip's nearest frame")
    metrics = task.score(logits, label)
    if not session.group.is_main:
        return metrics
    return write_results(
        session.log,
        names=task.names,
        ids=ids,
        label=label,
        logits=logits,
        metrics=metrics,
        split=split,
        selected_on=selected_on,
        title=config.run.exper_name,
    )
