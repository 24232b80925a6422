"""Work that the runs of a sweep share in one process: checks of frame files, and encoded test frames.

Nothing is shared outside ``with sharing()``, and sharing changes no result: the features of test frames come from the
same frozen encoder, in the same batches, of the same pixels.
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
from engine.methods import method_named
from engine.options import Config
from engine.session import Session
from utils.checkpoint import hash_tensors
from utils.runlog import progress_bar

MAX_ENTRIES = 4  # of each kind, for example of encoded test lists
_memory: OrderedDict[tuple[str, Hashable], Any] | None = None  # None: nothing is shared


@contextmanager
def sharing() -> Iterator[None]:
    """Let ``remembered`` keep results until the block ends; a block inside another one shares with it."""
    global _memory
    previous, _memory = _memory, OrderedDict() if _memory is None else _memory
    try:
        yield
    finally:
        _memory = previous


def remembered(kind: str, key: Hashable, make: Callable[[], Any]) -> Any:
    """Return what ``make`` returned for this key before, or call it; only the newest results of a kind are kept."""
    if _memory is None:
        return make()
    if (kind, key) not in _memory:
        _memory[kind, key] = make()
        entries = [entry for entry in _memory if entry[0] == kind]
        for entry in entries[:-MAX_ENTRIES]:
            del _memory[entry]
    return _memory[kind, key]


def final_loader(
    loader: Any, model: nn.Module, clips: list[Clip], views: Views, config: Config, session: Session
) -> Any:
    """Return the loader of the final test, or its batches with features in place of pixels where those can be shared.

    They can be in a sweep, on one CPU process, while the image encoder is frozen.
    """
    is_frozen = config.optim.lr_image_encoder == 0 and method_named(config.model.model).answers_clips
    if _memory is None or not is_frozen or session.device.type != "cpu" or session.group.world > 1:
        return loader
    key = evaluation_key(model, clips, views, config, session)
    return remembered("test features", key, lambda: encoded_batches(loader, model, config, session))


def evaluation_key(model: nn.Module, clips: list[Clip], views: Views, config: Config, session: Session) -> str:
    """Return a text of all that the features of the batches depend on."""
    weights = hash_tensors(model.image_encoder.state_dict())
    streams = [cache_name(weights, clips, views, stream, [], config.data.normalize) for stream in STREAMS]
    sampling = {f.name: str(getattr(views, f.name)) for f in fields(views) if not f.name.endswith("_boxes")}
    batches = [config.optim.batch_size, config.optim.eval_batch_size, str(session.amp), [clip.id for clip in clips]]
    return json.dumps([type(model).__name__, streams, sampling, batches, [clip.label for clip in clips]])


@torch.inference_mode()
def encoded_batches(loader: Any, model: nn.Module, config: Config, session: Session) -> list[list[dict[str, Any]]]:
    """Return every group of batches as one batch of features, encoded in the same forward pass as an evaluation's."""
    groups = []
    model.eval()
    for group in progress_bar(loader, len(loader), "test frames"):
        pixels = to_device(join_batches(group, session.device), session.device, config.data.normalize)
        with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
            face, context = model.encode_frames(pixels.get("face"), pixels.get("context"))
        batch = {
            "id": [id for batch in group for id in batch["id"]],
            "label": torch.cat([batch["label"] for batch in group]),
            "replaced_frames": sum(batch["replaced_frames"] for batch in group),
        }
        features = {f"{stream}_features": value for stream, value in zip(STREAMS, (face, context), strict=True)}
        groups.append([batch | {name: value for name, value in features.items() if value is not None}])
    return groups
