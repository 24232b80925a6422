"""``--mode attention``: show where the image encoder looks for a class, clip by clip, as pictures and numbers.

docs/attention.md explains what the maps show and what they do not.
"""

from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from analysis.plots import save
from apps.attention.pictures import Explanation, draw_clip, padding_share, square_sources, write_clip_video
from dataloader.annotation import Clip
from dataloader.classes import Classes
from dataloader.clips import ClipDataset, Views, indexes_of
from dataloader.loader import collate
from engine.checkpoints import Opened, doubtful_flags, evaluation_config, naming_stored_files, open_checkpoint, rebuild
from engine.data import make_views
from engine.device import statistics_of, to_device
from engine.evaluate import require_read, stored_classes
from engine.lists import read_splits, require_lists
from engine.methods.base import ClipTask
from engine.options import Config
from engine.session import open_session
from models.relevance import STREAMS, explain_class
from utils.errors import UserError, about, closest
from utils.runlog import safe_name

METHOD = "gradient-weighted attention, followed back through all blocks of the image tower"


def attention(config: Config, flags: dict[str, Any]) -> list[dict[str, Any]]:
    """Explain ``--clips`` of ``--test-annotation``, each as numbers, a PNG and a video; return the numbers."""
    opened, config, classes, model = open_explained(config, flags)
    explain, entries = config.attention.explain, []
    label = find_class(explain, classes)
    with open_session(config) as session:
        if session.group.world > 1:
            raise UserError("--mode attention runs in one process; start it without torchrun")
        log, folder = session.log, session.log.folder / "attention"
        with naming_stored_files(opened.path, config, flags):
            clips = choose_clips(config, read_splits(config, classes, log).test, classes)
            views = make_views(config, clips, log)
        for warning in doubtful_flags(opened, flags, config):
            log.warn(warning)
        task = opened.method.task(model.to(session.device), classes.names)
        task.fix_texts()
        temperature = opened.content.get("calibration", {}).get("temperature", 1.0)
        folder.mkdir(exist_ok=True)
        for clip, name in zip(clips, file_names(clips), strict=True):
            batch = collate([ClipDataset([clip], views)[0, 0, 0]])
            batch = to_device(batch, session.device, config.data.normalize, statistics_of(model))
            clip_label = clip.label if explain == "label" else label
            explanation = explain_clip(task, clip, batch, views, clip_label, temperature)
            save(draw_clip(explanation, views), folder / f"{name}.png")
            files = {"picture": f"attention/{name}.png"}
            if len(clip.frames) > 1:
                write_clip_video(explanation, views, folder / f"{name}.mp4")
                files["video"] = f"attention/{name}.mp4"
            entries.append(explanation.as_json() | files)
            log.say(explanation.line)
            content = {"method": METHOD, "explain": explain, "classes": list(task.names), "clips": entries}
            log.write_json("attention.json", content)
        log.say(f"run folder: {log.folder}")
    return entries


def open_explained(config: Config, flags: dict[str, Any]) -> tuple[Opened, Config, Classes, nn.Module]:
    """Return the checkpoint, its config with the user's options, its classes, and its model without gradients.

    Raise a UserError for models without classes or pictures, and for options that the model does not use.
    """
    path = Path(config.run.eval_checkpoint)
    opened = open_checkpoint(path, flags)
    if opened.method.reads_features:
        raise UserError(
            f"{path}: a sequence model reads stored features, not pictures; explain the checkpoint that made them"
        )
    if opened.config.model.task == "regression":
        raise UserError(f"{path}: predicts numbers, not classes; --mode attention explains classes")
    if opened.unnamed:
        raise UserError(f"{path}: {opened.unnamed}")
    if "targets" in flags:
        raise UserError(f"--targets {flags['targets']}: {path} predicts classes; name --test-annotation FILE")
    require_read(opened.method, flags, path)
    options = {"exper_name": f"{opened.config.run.exper_name}-attention"} | flags | {"pack": "none"}
    with about(path):
        if (pack := flags.get("pack", "none")) != "none":
            raise UserError(f"--pack {pack}: --mode attention needs the frames; leave it out")
        config = evaluation_config(opened.content, options, mode="attention")
    require_lists(config)
    classes = stored_classes(opened.content, config, flags, path)
    with about(path):
        model = rebuild(opened.content, config)
    return opened, config, classes, model.eval().requires_grad_(False)


def find_class(explain: str, classes: Classes) -> int | None:
    """Return the label that ``--explain`` names; None for the clip's label or the predicted class."""
    if explain in ("predicted", "label"):
        return None
    names = [name.lower() for name in classes.names]
    if explain.lower() not in names:
        advice = closest(explain, [*classes.names, "predicted", "label"])
        advice = advice or f"; predicted, label, or one of {', '.join(classes.names)}"
        raise UserError(f"--explain {explain}: no such class{advice}")
    return names.index(explain.lower())


def choose_clips(config: Config, clips: list[Clip], classes: Classes) -> list[Clip]:
    """Return the clips of ``--clips`` in this order, or the first clip of each class."""
    if not config.attention.clips:
        first_clips = (next((clip for clip in clips if clip.label == label), None) for label in range(len(classes)))
        return [clip for clip in first_clips if clip is not None]
    by_name = {clip.id.rstrip("/"): clip for clip in clips} | {clip.key: clip for clip in clips}
    names = dict.fromkeys(word.rstrip("/") for word in config.attention.clips)
    for name in names:
        if name not in by_name:
            ending = next((f"; did you mean {clip.id}?" for clip in clips if clip.id.endswith(name)), "")
            advice = ending or closest(name, [clip.id for clip in clips]) or f"; its first clip is {clips[0].id}"
            raise UserError(f"--clips {name}: not in {config.data.test_annotation or 'the list'}{advice}")
    return [by_name[name] for name in names]


def explain_clip(
    task: ClipTask, clip: Clip, batch: dict[str, Any], views: Views, label: int | None, temperature: float
) -> Explanation:
    """Return the maps of one clip, whose pixels are in ``batch``; ``label``: None explains the predicted class."""
    indexes = indexes_of(clip, views, np.random.default_rng(0), training=False)
    relevance = explain_class(task.model, batch.get("face"), batch.get("context"), label, task.fixed_texts)
    if not relevance.logits.isfinite().all():
        raise UserError(f"{clip.id}: the model's prediction is not finite; try another checkpoint")
    frames = sorted(set(indexes.tolist()))
    maps = {}
    for stream in STREAMS:
        if stream in relevance.maps:  # the last frame of a short clip is repeated; its maps are added
            values = relevance.maps[stream].cpu().numpy()
            maps[stream] = np.stack([values[indexes == index].sum(axis=0) for index in frames])
    sources = square_sources(clip, views, frames)
    padding = padding_share(maps["context"], sources["context"], views.size) if "context" in maps else None
    probabilities = torch.softmax(relevance.logits.float() / temperature, dim=0).cpu().numpy()
    return Explanation(clip, task.names, relevance.label, probabilities, frames, maps, padding)


def file_names(clips: list[Clip]) -> list[str]:
    """Return a distinct file name for each clip, made from its path."""
    names: list[str] = []
    for clip in clips:
        base = safe_name(clip.id.replace("/", "_"))
        candidates = chain((base,), (f"{base}-{number}" for number in count(2)))
        names.append(next(name for name in candidates if name not in names))
    return names
