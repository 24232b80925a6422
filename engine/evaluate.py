"""Evaluation: one pass without gradients, texts encoded once; and ``--mode eval`` from a checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from dataloader.classes import Classes
from engine.data import evaluation_loader, make_views, read_splits
from engine.device import choose_amp, choose_device, seed_everything, to_device
from engine.options import Config
from engine.results import write_results
from engine.tasks import ClipCaerTask
from models.build import rebuild_clip_caer
from models.clip_towers import ClipShape
from utils.checkpoint import load_checkpoint
from utils.errors import UserError
from utils.runlog import RunLog, open_run, progress_bar

CHECKPOINT_KEYS = ("format", "config", "classes", "label_base", "clip_shape", "model")
BUILT_IN = (  # options that a checkpoint's tensors were made with: evaluation cannot change them
    ("data", "num_segments"),
    ("data", "duration"),
    ("data", "image_size"),
    ("model", "text_type"),
    ("model", "temporal_layers"),
    ("model", "contexts_number"),
    ("model", "class_token_position"),
    ("model", "class_specific_contexts"),
    ("model", "adapter"),
    ("model", "streams"),
)


@torch.inference_mode()
def predict(
    task: ClipCaerTask, loader: DataLoader, device: torch.device, normalize: str, amp: torch.dtype | None, label: str
) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    """``(ids, labels, logits, replaced frames)`` of every clip, in list order."""
    task.model.eval()
    task.fix_texts()
    ids, labels, logits, replaced = [], [], [], 0
    try:
        for batch in progress_bar(loader, len(loader), label):
            moved = to_device(batch, device, normalize)
            with torch.autocast(device.type, dtype=amp, enabled=amp is not None):
                out = task.forward(moved)
            ids += batch["id"]
            labels.append(batch["label"].numpy())
            logits.append(task.predictions(out).cpu().numpy())
            replaced += batch["replaced_frames"]
    finally:
        task.release_texts()
    return ids, np.concatenate(labels), np.concatenate(logits), replaced


def evaluate_checkpoint(given: dict[str, Any], make_config: Callable[..., Config]) -> int:
    """Score a checkpoint of ours on ``--test-annotation``; its own options hold where the user gives none."""
    checkpoint = load_checkpoint(Path(given["eval_checkpoint"]), CHECKPOINT_KEYS)
    config = evaluation_config(checkpoint, given, make_config)
    device, device_warning = choose_device(config.run.device, config.run.gpu)
    seed_everything(config.run.seed, config.run.deterministic)
    log = open_run(config.run.output_dir, config.run.exper_name, _as_json(config))
    try:
        amp, amp_warning = choose_amp(config.optim.amp, device)
        for warning in filter(None, (device_warning, amp_warning)):
            log.warn(warning)
        classes = Classes(tuple(checkpoint["classes"]), checkpoint["label_base"], {}, str(given["eval_checkpoint"]))
        model = rebuild(checkpoint, config).to(device)
        clips = read_splits(config, classes, log).test
        views = make_views(config, clips, log)
        loader = evaluation_loader(config, clips, views, device.type == "cuda")
        task = ClipCaerTask(model, classes.names)
        score_and_write(task, loader, device, config, amp, log, checkpoint.get("selected_on", "unknown"), "test")
    finally:
        log.close()
    return 0


def score_and_write(
    task: ClipCaerTask,
    loader: DataLoader,
    device: torch.device,
    config: Config,
    amp: torch.dtype | None,
    log: RunLog,
    selected_on: str,
    split: str,
) -> dict[str, Any]:
    ids, label, logits, replaced = predict(task, loader, device, config.data.normalize, amp, split)
    if replaced:
        log.warn(f"{split}: {replaced} unreadable frames were replaced by their clip's nearest frame")
    return write_results(
        log,
        names=task.names,
        ids=ids,
        label=label,
        logits=logits,
        metrics=task.score(logits, label),
        split=split,
        selected_on=selected_on,
        title=config.run.exper_name,
    )


def rebuild(checkpoint: dict[str, Any], config: Config) -> torch.nn.Module:
    shape = ClipShape(**checkpoint["clip_shape"])
    max_frames = config.data.num_segments * config.data.duration
    return rebuild_clip_caer(shape, checkpoint["model"], config.model, max_frames=max_frames)


def evaluation_config(checkpoint: dict[str, Any], given: dict[str, Any], make_config: Callable[..., Config]) -> Config:
    stored = checkpoint["config"]
    for group, name in BUILT_IN:
        if name in given and given[name] != stored[group][name]:
            flag = "--" + name.replace("_", "-")
            raise UserError(f"{flag} {given[name]}: this checkpoint was trained with {stored[group][name]}")
    if "class_texts" in given and given["class_texts"] != stored["data"]["class_texts"]:
        raise UserError(
            "--class-texts: a checkpoint holds its own prompts; new texts need training or --mode zero-shot"
        )
    kept = {group: values for group, values in stored.items() if group != "run"}
    named = {"exper_name": f"{stored['run']['exper_name']}-eval"} | given
    return make_config(named, kept)


def _as_json(config: Config) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(config)
