"""``--mode attention``: where the image encoder looks for a class, clip by clip, as pictures and numbers.

What the maps say and what they cannot say: docs/attention.md.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from analysis.plots import save
from apps.attention.explained import Explained
from apps.attention.overlay import padding_share, places_of
from apps.attention.pictures import draw_clip, write_clip_video
from dataloader.annotation import Clip
from dataloader.classes import Classes
from dataloader.clips import ClipDataset, Views, indexes_of
from dataloader.loader import collate
from engine.checkpoints import Opened, doubtful_flags, evaluation_config, open_checkpoint, rebuild
from engine.data import make_views
from engine.device import to_device
from engine.evaluate import require_read, stored_classes
from engine.lists import read_splits, require_lists
from engine.methods.base import ClipTask
from engine.options import Config
from engine.session import Session, open_session
from models.relevance import STREAMS, explain_class
from utils.errors import UserError, about, closest
from utils.runlog import safe_name

METHOD = "gradient-weighted attention, followed back through all blocks of the image tower"


def attention(config: Config, given: dict[str, Any]) -> list[dict[str, Any]]:
    """Explain ``--clips`` of ``--test-annotation``; returns what attention.json holds of each."""
    opened, config, classes, model = open_explained(config, given)
    label = class_wanted(config.attention.explain, classes)
    with open_session(config) as session:
        if session.group.world > 1:
            raise UserError("--mode attention is one process's work: start it without torchrun")
        clips = chosen_clips(config, read_splits(config, classes, session.log).test, classes)
        views = make_views(config, clips, session.log)
        for warning in doubtful_flags(asdict(opened.config), given, config, "left_out" in opened.content):
            session.log.warn(warning)
        task = opened.method.task(model.to(session.device), classes.names)
        temperature = opened.content.get("calibration", {}).get("temperature", 1.0)
        return explain_all(task, clips, views, config, session, label, temperature)


def open_explained(config: Config, given: dict[str, Any]) -> tuple[Opened, Config, Classes, nn.Module]:
    """The checkpoint, its options below the user's, its classes, and its model, of which nothing learns."""
    path = Path(config.run.eval_checkpoint)
    opened = open_checkpoint(path, given)
    refuse_without_pictures(opened, given)
    with about(path):
        config = evaluation_config(opened.content, attention_options(opened, given), mode="attention")
    require_lists(config)
    classes = stored_classes(opened.content, config, given, path)
    with about(path):
        model = rebuild(opened.content, config)
    return opened, config, classes, model.eval().requires_grad_(False)


def refuse_without_pictures(opened: Opened, given: dict[str, Any]) -> None:
    """Models that no class can be asked of, or that see no picture."""
    path = opened.path
    if opened.method.reads_features:
        raise UserError(
            f"{path}: a sequence model sees stored features and no pictures; explain the checkpoint that made them"
        )
    if opened.config.model.task == "regression":
        raise UserError(f"{path}: predicts numbers, not classes; --mode attention explains classes")
    if opened.unnamed:
        raise UserError(f"{path}: {opened.unnamed}")
    if "targets" in given:
        raise UserError(f"--targets {given['targets']}: {path} predicts classes; name --test-annotation FILE")
    require_read(opened.method, given, path)


def attention_options(opened: Opened, given: dict[str, Any]) -> dict[str, Any]:
    """What the user gave; pictures are cut from the frames, whatever was trained from."""
    if given.get("pack", "none") != "none":
        raise UserError(f"--pack {given['pack']}: --mode attention draws over the frames themselves; leave it out")
    return {"exper_name": f"{opened.config.run.exper_name}-attention"} | given | {"pack": "none"}


def class_wanted(explain: str, classes: Classes) -> int | None:
    """The label behind ``--explain``; None where it is the clip's own or the predicted one."""
    if explain in ("predicted", "label"):
        return None
    names = [name.lower() for name in classes.names]
    if explain.lower() not in names:
        known = closest(explain, [*classes.names, "predicted", "label"])
        known = known or f"; predicted, label, or one of {', '.join(classes.names)}"
        raise UserError(f"--explain {explain}: no such class{known}")
    return names.index(explain.lower())


def chosen_clips(config: Config, clips: list[Clip], classes: Classes) -> list[Clip]:
    """Those of ``--clips`` in its order, else the first of each class."""
    if not config.attention.clips:
        return [first for label in range(len(classes)) if (first := _first_of(label, clips)) is not None]
    known = {clip.id.rstrip("/"): clip for clip in clips} | {clip.key: clip for clip in clips}
    wanted = dict.fromkeys(word.rstrip("/") for word in config.attention.clips)
    for word in wanted:
        if word not in known:
            ending = next((f"; did you mean {clip.id}?" for clip in clips if clip.id.endswith(word)), "")
            near = ending or closest(word, [clip.id for clip in clips]) or f"; its first is {clips[0].id}"
            raise UserError(f"--clips {word}: not in {config.data.test_annotation or 'the list'}{near}")
    return [known[word] for word in wanted]


def _first_of(label: int, clips: list[Clip]) -> Clip | None:
    return next((clip for clip in clips if clip.label == label), None)


def explain_all(
    task: ClipTask, clips: list[Clip], views: Views, config: Config, session: Session, label: int | None, T: float
) -> list[dict[str, Any]]:
    """One clip at a time: numbers, a PNG, a video."""
    folder, rows = session.log.folder / "attention", []
    folder.mkdir(exist_ok=True)
    task.fix_texts()
    for clip, name in zip(clips, file_names(clips), strict=True):
        wanted = clip.label if config.attention.explain == "label" else label
        found = explain_clip(task, clip, views, config, session, wanted, T)
        save(draw_clip(found, views), folder / f"{name}.png")
        files = {"picture": f"attention/{name}.png"}
        if len(clip.frames) > 1:
            write_clip_video(found, views, folder / f"{name}.mp4")
            files["video"] = f"attention/{name}.mp4"
        rows.append(found.as_dict() | files)
        session.log.say(found.in_a_line())
        content = {"method": METHOD, "explain": config.attention.explain, "classes": list(task.names), "clips": rows}
        session.log.write_json("attention.json", content)
    session.log.say(f"run folder: {session.log.folder}")
    return rows


def explain_clip(
    task: ClipTask, clip: Clip, views: Views, config: Config, session: Session, label: int | None, T: float
) -> Explained:
    """The maps of one clip with what is needed to draw them."""
    indexes = indexes_of(clip, views, np.random.default_rng(0), training=False)
    batch = to_device(collate([ClipDataset([clip], views)[0, 0, 0]]), session.device, config.data.normalize)
    found = explain_class(task.model, batch.get("face"), batch.get("context"), label, task.fixed_texts)
    maps = {name: values.cpu().numpy() for name, values in found.maps.items()}
    seen = sorted(set(indexes.tolist()))  # a short clip's last frame is repeated: its maps are added up
    maps = {name: np.stack([values[indexes == index].sum(axis=0) for index in seen]) for name, values in maps.items()}
    places = places_of(clip, views, seen)
    padding = padding_share(maps["context"], places["context"], views.size) if "context" in maps else None
    return Explained(
        clip=clip,
        names=task.names,
        label=found.label,
        probabilities=torch.softmax(found.logits.float() / T, dim=0).cpu().numpy(),
        indexes=seen,
        maps={name: maps[name] for name in STREAMS if name in maps},
        padding=padding,
    )


def file_names(clips: list[Clip]) -> list[str]:
    """From the clips' paths, each once."""
    names: list[str] = []
    for clip in clips:
        name, number = safe_name(clip.id.replace("/", "_")), 1
        base = name
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names
