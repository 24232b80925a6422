"""What runs one after the other in one process need not do again: files looked at, test frames encoded.

Nothing is shared unless ``with sharing()`` asks for it, and nothing that a result depends on: features of the test
frames are those that the same frozen encoder gave for the same batches of the same pixels.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import nn

from dataloader.annotation import Clip
from dataloader.clips import Views
from engine.device import join_batches, to_device
from engine.feature_cache import STREAMS, cache_name
from engine.options import Config
from engine.session import Session
from utils.checkpoint import hash_tensors
from utils.runlog import progress_bar

MOST = 4  # of each kind of thing: lists, encoders and streams of one ablation
_kept: OrderedDict[Hashable, Any] | None = None  # None: nothing is shared


@contextmanager
def sharing() -> Iterator[None]:
    """Until the end, ``remembered`` remembers; inside another, that one goes on."""
    global _kept
    before, _kept = _kept, OrderedDict() if _kept is None else _kept
    try:
        yield
    finally:
        _kept = before


def remembered(kind: str, key: Hashable, make: Callable[[], Any]) -> Any:
    """What ``make`` gave for this key before, or gives now."""
    if _kept is None:
        return make()
    if (kind, key) not in _kept:
        _kept[kind, key] = make()
        older = [one for one in _kept if one[0] == kind]
        for one in older[:-MOST]:
            del _kept[one]
    return _kept[kind, key]


def final_loader(
    loader: Any, model: nn.Module, clips: list[Clip], views: Views, config: Config, session: Session
) -> Any:
    """``loader``, or, where the encoder is frozen and another run has seen these clips, what it made of each batch."""
    frozen = config.optim.lr_image_encoder == 0 and session.device.type == "cpu" and session.group.world == 1
    if _kept is None or not frozen or config.model.model == "frame-expr":
        return loader
    key = evaluation_key(model, clips, views, config, session)
    return remembered("test features", key, lambda: encoded_batches(loader, model, config, session))


def evaluation_key(model: nn.Module, clips: list[Clip], views: Views, config: Config, session: Session) -> str:
    """All that the features of the batches depend on."""
    weights = hash_tensors(model.image_encoder.state_dict())
    streams = [cache_name(weights, clips, views, stream, [], config.data.normalize) for stream in STREAMS]
    choices = {f.name: str(getattr(views, f.name)) for f in fields(views) if not f.name.endswith("_boxes")}
    batches = [config.optim.batch_size, config.optim.eval_batch_size, str(session.amp), [clip.id for clip in clips]]
    return json.dumps([type(model).__name__, streams, choices, batches, [clip.label for clip in clips]])


@torch.inference_mode()
def encoded_batches(loader: Any, model: nn.Module, config: Config, session: Session) -> list[list[dict[str, Any]]]:
    """Every pass with features in place of its pixels, from the very pass that the model itself would make."""
    groups = []
    model.eval()
    for group in progress_bar(loader, len(loader), "test frames"):
        moved = to_device(join_batches(group, session.device), session.device, config.data.normalize)
        with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
            face, context = model.encode_frames(moved.get("face"), moved.get("context"))
        features = {f"{stream}_features": value for stream, value in zip(STREAMS, (face, context), strict=True)}
        whole = {
            "id": [id for batch in group for id in batch["id"]],
            "label": torch.cat([batch["label"] for batch in group]),
            "replaced_frames": sum(batch["replaced_frames"] for batch in group),
        }
        groups.append([whole | {name: value for name, value in features.items() if value is not None}])
    return groups
