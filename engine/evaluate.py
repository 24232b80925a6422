"""Evaluation: one pass without gradients, texts encoded once; ``--mode eval`` from a checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from dataloader.classes import Classes
from engine.data import evaluation_loader, make_views, read_splits, require_lists
from engine.device import to_device
from engine.options import Config
from engine.results import write_results
from engine.session import Session, open_session
from engine.settings import make_config
from engine.tasks import ClipCaerTask
from models.build import rebuild_clip_caer
from models.clip_towers import ClipShape
from utils.checkpoint import load_checkpoint, to_full
from utils.config import flag_of
from utils.errors import UserError
from utils.runlog import progress_bar

CHECKPOINT_KEYS = ("format", "config", "classes", "label_base", "clip_shape", "model", "epoch", "selected_on")
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
CHANGES_MEANING = {  # options that evaluation may change, but not unsaid
    "data": ("normalize", "crop_body", "missing_face"),
    "model": ("slerp_weight", "iec_text", "temperature", "adapter_ratio"),
}


@torch.inference_mode()
def predict(
    task: ClipCaerTask, loader: DataLoader, config: Config, session: Session, name: str
) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    """``(ids, labels, logits, replaced frames)`` of every clip, in list order."""
    task.model.eval()
    task.fix_texts()
    ids, labels, logits, replaced = [], [], [], 0
    try:
        for batch in progress_bar(loader, len(loader), name):
            moved = to_device(batch, session.device, config.data.normalize)
            with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
                out = task.forward(moved)
            ids += batch["id"]
            labels.append(batch["label"].numpy())
            logits.append(task.predictions(out).cpu().numpy())
            replaced += batch["replaced_frames"]
    finally:
        task.release_texts()
    return ids, np.concatenate(labels), np.concatenate(logits), replaced


def evaluate(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Score a checkpoint of ours on ``--test-annotation``; its own options hold where the user gives none."""
    path = Path(config.run.eval_checkpoint)
    checkpoint = load_checkpoint(path, CHECKPOINT_KEYS)
    config = evaluation_config(checkpoint, given)
    require_lists(config)
    classes = Classes(tuple(checkpoint["classes"]), checkpoint["label_base"], {}, str(path))
    model = rebuild(checkpoint, config)
    with open_session(config) as session:
        task = ClipCaerTask(model.to(session.device), classes.names)
        for warning in doubtful_flags(checkpoint["config"], given, config):
            session.log.warn(warning)
        return score_test_list(task, config, classes, session, checkpoint["selected_on"])


def score_test_list(
    task: ClipCaerTask, config: Config, classes: Classes, session: Session, selected_on: str
) -> dict[str, Any]:
    """Read the test list, score it, write the results."""
    clips = read_splits(config, classes, session.log).test
    views = make_views(config, clips, session.log)
    loader = evaluation_loader(config, clips, views, session.pin_memory)
    return score_and_write(task, loader, config, session, selected_on, "test")


def score_and_write(
    task: ClipCaerTask, loader: DataLoader, config: Config, session: Session, selected_on: str, split: str
) -> dict[str, Any]:
    ids, label, logits, replaced = predict(task, loader, config, session, split)
    if replaced:
        session.log.warn(f"{split}: {replaced} unreadable frames were replaced by their clip's nearest frame")
    return write_results(
        session.log,
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
    return rebuild_clip_caer(shape, to_full(checkpoint["model"]), config.model, max_frames=max_frames)


def doubtful_flags(stored: dict[str, Any], given: dict[str, Any], config: Config) -> list[str]:
    """What the user named that a checkpoint does not read, or was not trained with."""
    said = []
    for group, names in CHANGES_MEANING.items():
        for name in set(names) & set(given):
            if given[name] != stored[group][name]:
                trained = f"trained with {stored[group][name]}"
                said.append(f"{flag_of(name)} {given[name]}: {trained}, so this scores another model")
    if given.get("clip_path", stored["model"]["clip_path"]) != stored["model"]["clip_path"]:
        said.append("--clip-path is not read: the checkpoint holds its own weights")
    if given.get("dataset", stored["data"]["dataset"]) != stored["data"]["dataset"]:
        said.append(f"--dataset is not read: the checkpoint knows its classes ({stored['data']['dataset']})")
    if "bounding_box_body" in given and not config.data.crop_body:
        said.append("--bounding-box-body is not used: trained on whole frames (--crop-body would change what it sees)")
    return said


def evaluation_config(checkpoint: dict[str, Any], given: dict[str, Any]) -> Config:
    stored = checkpoint["config"]
    for group, name in BUILT_IN:
        if name in given and given[name] != stored[group][name]:
            raise UserError(f"{flag_of(name)} {given[name]}: this checkpoint was trained with {stored[group][name]}")
    if "class_texts" in given and given["class_texts"] != stored["data"]["class_texts"]:
        raise UserError(
            "--class-texts: a checkpoint holds its own prompts; new texts need training or --mode zero-shot"
        )
    kept = {group: values for group, values in stored.items() if group != "run"}
    named = {"exper_name": f"{stored['run']['exper_name']}-eval"} | given
    return make_config(named, kept)
