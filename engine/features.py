"""``--cache-features``: a frozen image encoder runs once over every frame, and epochs read what it saw.

A cache is a folder of one array a stream, float16, read by memory map. Its name is a hash of all that the features
depend on (encoder, clips, frames, boxes, sizes, variants): another setting makes another folder, never a stale answer.
"""

import hashlib
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dataloader.annotation import Clip
from dataloader.build import Loader, start_worker
from dataloader.clips import Views
from dataloader.features import EveryFrame, cached_variants
from dataloader.packed import open_pack, open_source
from dataloader.transforms import Augmentation
from engine.device import to_pixels
from engine.options import Config
from engine.session import Session
from utils.checkpoint import hash_tensors
from utils.errors import UserError, reason_of
from utils.runlog import progress_bar

STREAMS = ("face", "context")
CHUNK = 256  # pictures in one pass, so that a long clip fits
LAYOUT = 1  # of the folder; a change of meaning makes every older cache another name


class FeatureCache:
    """Features of the streams in use, for clips whose rows start at ``starts[id]``."""

    def __init__(self, features: dict[str, np.ndarray], starts: dict[str, int]) -> None:
        self.features, self.starts = features, starts


def cache_features(
    config: Config,
    encoder: nn.Module,
    clips: list[Clip],
    views: Views,
    variants: int,
    session: Session,
) -> FeatureCache:
    """Read the cache of these clips, or make it, a folder for each stream; with ``--amp`` in that precision, as epochs
    without a cache would compute the same features."""
    clips = sorted({clip.id: clip for clip in clips}.values(), key=lambda clip: clip.id)
    augmentations = cached_variants(variants, config.data.max_angle, config.data.flip)
    root, weights = Path(config.data.cache_dir), hash_tensors(encoder.state_dict())
    folders = {
        stream: root / cache_name(weights, clips, views, stream, augmentations, config.data.normalize, session.amp)
        for stream in STREAMS
        if views.streams in ("both", stream)
    }
    missing = {stream: folder for stream, folder in folders.items() if not (folder / "index.json").exists()}
    if missing:
        only = replace(views, streams="both" if len(missing) == 2 else next(iter(missing)))
        _write_cache(missing, encoder, clips, only, augmentations, config, session)
    rows = np.cumsum([0] + [len(clip.frames) for clip in clips])
    starts = {clip.id: int(row) for clip, row in zip(clips, rows, strict=False)}
    return FeatureCache({s: np.load(folder / "features.npy", mmap_mode="r") for s, folder in folders.items()}, starts)


def cache_name(
    weights: str,
    clips: list[Clip],
    views: Views,
    stream: str,
    variants: list[Augmentation],
    normalize: str,
    amp: torch.dtype | None = None,
) -> str:
    """The hash of everything that a feature of this stream depends on."""
    settings = [LAYOUT, weights, views.size, stream, views.on_bad_frame, normalize, [_stored(v) for v in variants]]
    if stream == "face":
        settings.append(views.missing_face)
    if views.decode != "exact":
        settings.append(views.decode)
    if amp is not None:
        settings.append(str(amp))
    if views.pack:
        settings.append(open_pack(views.pack).identity)
    digest = hashlib.sha256(json.dumps(settings).encode())
    boxes = views.face_boxes if stream == "face" else views.body_boxes
    for clip in clips:
        stamps = [_modified(clip.frame_path(i)) for i in range(len(clip.frames))]
        box = boxes.get(clip.key)
        digest.update(json.dumps([str(clip.folder.resolve()), clip.frames, stamps, box]).encode())
    return f"{stream}-{digest.hexdigest()[:20]}"


def _stored(variant: Augmentation) -> dict[str, float | bool]:
    """All that tells a cached variant from another."""
    return {"angle": variant.angle, "flip": variant.flip}


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # a broken link is an unreadable frame, dealt with where it is read
        return None


def _write_cache(
    folders: dict[str, Path],
    encoder: nn.Module,
    clips: list[Clip],
    views: Views,
    variants: list[Augmentation],
    config: Config,
    session: Session,
) -> None:
    """Into folders beside the named ones, renamed when whole: an interrupted run leaves no half cache."""
    log = session.log
    started, rows, width = time.time(), sum(len(clip.frames) for clip in clips), encoder.proj.shape[1]
    megabytes = rows * len(variants) * len(folders) * width * 2 / 1e6
    log.say(f"features: {rows} frames x {len(variants)} variants x {len(folders)} streams, {megabytes:.0f} MB")
    unfinished = {s: folder.with_name(f"{folder.name}.{os.getpid()}.part") for s, folder in folders.items()}
    try:
        arrays = {}
        for stream, part in unfinished.items():
            part.mkdir(parents=True)
            shape = (len(variants), rows, width)
            arrays[stream] = np.lib.format.open_memmap(part / "features.npy", "w+", np.float16, shape)
        replaced = _fill(arrays, encoder, EveryFrame(clips, views, variants, open_source(views)), config, session)
        about = {"frames": rows, "variants": [_stored(v) for v in variants], "replaced_frames": replaced}
        for stream, part in unfinished.items():
            arrays[stream].flush()
            (part / "index.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
            _publish(part, folders[stream])
    except OSError as error:
        raise UserError(f"--cache-dir {config.data.cache_dir}: {reason_of(error)}; name another folder") from None
    finally:
        for part in unfinished.values():
            shutil.rmtree(part, ignore_errors=True)
    if replaced:
        log.warn(f"{replaced} unreadable frames were replaced by their clip's nearest frame")
    log.say(f"features made in {time.time() - started:.0f} s; later runs with this encoder, data and boxes read them")


def _publish(part: Path, folder: Path) -> None:
    try:
        part.rename(folder)
    except OSError:
        if not (folder / "index.json").exists():  # else another run was quicker: its cache is the same
            raise


@torch.inference_mode()
def _fill(
    arrays: dict[str, np.ndarray], encoder: nn.Module, dataset: EveryFrame, config: Config, session: Session
) -> int:
    loader = Loader(
        dataset,
        batch_size=None,
        num_workers=config.run.workers,
        pin_memory=session.pin_memory,
        worker_init_fn=start_worker,
    )
    row, replaced = 0, 0
    for item in progress_bar(loader, len(loader), "features"):
        for stream, array in arrays.items():
            pixels = item[stream]  # (V, N, 3, H, W)
            V, N = pixels.shape[:2]
            parts = pixels.flatten(0, 1).split(CHUNK)
            with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
                moved = (part.to(session.device, non_blocking=True) for part in parts)
                encoded = [encoder(to_pixels(part, config.data.normalize)) for part in moved]
            encoded = torch.cat(encoded).half()
            array[:, row : row + N] = encoded.view(V, N, -1).cpu().numpy()
        row += N
        replaced += item["replaced_frames"]
    return replaced
