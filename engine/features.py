"""``--cache-features``: a frozen image encoder runs once over every frame, and epochs read what it saw.

A cache is a folder of one array a stream, float16, read by memory map. Its name is a hash of all that the features
depend on (encoder, clips, frames, boxes, sizes, variants): another setting makes another folder, never a stale answer.
"""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dataloader.annotation import Clip
from dataloader.boxes import clip_key
from dataloader.build import Loader, use_one_thread
from dataloader.clips import Views
from dataloader.features import EveryFrame, cached_variants
from dataloader.transforms import Augmentation
from engine.device import to_pixels
from engine.options import Config
from utils.errors import UserError
from utils.runlog import RunLog, progress_bar

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
    device: torch.device,
    log: RunLog,
) -> FeatureCache:
    """Read the cache of these clips, or make it."""
    clips = sorted({clip.id: clip for clip in clips}.values(), key=lambda clip: clip.id)
    augmentations = cached_variants(variants)
    name = cache_name(encoder, clips, views, augmentations, config.data.normalize)
    folder = Path(config.data.cache_dir) / name
    if not (folder / "index.json").exists():
        _write_cache(folder, encoder, clips, views, augmentations, config, device, log)
    streams = [s for s in ("face", "context") if views.streams in ("both", s)]
    rows = np.cumsum([0] + [len(clip.frames) for clip in clips])
    starts = {clip.id: int(row) for clip, row in zip(clips, rows, strict=False)}
    return FeatureCache({s: np.load(folder / f"{s}.npy", mmap_mode="r") for s in streams}, starts)


def cache_name(
    encoder: nn.Module, clips: list[Clip], views: Views, variants: list[Augmentation], normalize: str
) -> str:
    """The hash of everything that a feature depends on."""
    digest = hashlib.sha256()
    for key, value in sorted(encoder.state_dict().items()):
        digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    for clip in clips:
        key = clip_key(clip.id, views.root)
        boxes = [views.face_boxes.get(key), views.body_boxes.get(key)]
        stamp = [os.stat(clip.frame_path(i)).st_mtime_ns for i in range(len(clip.frames))]
        digest.update(json.dumps([str(clip.folder.resolve()), clip.frames, stamp, boxes]).encode())
    settings = [LAYOUT, views.size, views.streams, views.missing_face, views.on_bad_frame, normalize]
    digest.update(json.dumps([settings, [vars(v) for v in variants]]).encode())
    return digest.hexdigest()[:20]


def _write_cache(
    folder: Path,
    encoder: nn.Module,
    clips: list[Clip],
    views: Views,
    variants: list[Augmentation],
    config: Config,
    device: torch.device,
    log: RunLog,
) -> None:
    """Into a folder beside it, renamed when whole: an interrupted run leaves no half cache."""
    started, rows, width = time.time(), sum(len(clip.frames) for clip in clips), encoder.proj.shape[1]
    streams = [s for s in ("face", "context") if views.streams in ("both", s)]
    megabytes = rows * len(variants) * len(streams) * width * 2 / 1e6
    log.say(
        f"features: {rows} frames x {len(variants)} variants x {len(streams)} streams, {megabytes:.0f} MB in {folder}"
    )
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    try:
        unfinished.mkdir(parents=True)
        arrays = {
            s: np.lib.format.open_memmap(unfinished / f"{s}.npy", "w+", np.float16, (len(variants), rows, width))
            for s in streams
        }
        replaced = _fill(arrays, encoder, EveryFrame(clips, views, variants), config, device)
        for array in arrays.values():
            array.flush()
        about = {"frames": rows, "variants": [vars(v) for v in variants], "replaced_frames": replaced}
        (unfinished / "index.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"--cache-dir {folder.parent}: {reason}; name another folder") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    if replaced:
        log.warn(f"{replaced} unreadable frames were replaced by their clip's nearest frame")
    log.say(f"features made in {time.time() - started:.0f} s; later runs with this encoder, data and boxes read them")


@torch.inference_mode()
def _fill(
    arrays: dict[str, np.ndarray], encoder: nn.Module, dataset: EveryFrame, config: Config, device: torch.device
) -> int:
    loader = Loader(
        dataset, batch_size=None, num_workers=config.run.workers, worker_init_fn=use_one_thread, prefetch_factor=None
    )
    row, replaced = 0, 0
    for item in progress_bar(loader, len(loader), "features"):
        for stream, array in arrays.items():
            pixels = item[stream]  # (V, N, 3, H, W)
            V, N = pixels.shape[:2]
            encoded = encoder(to_pixels(pixels.flatten(0, 1).to(device), config.data.normalize))
            array[:, row : row + N] = encoded.view(V, N, -1).half().cpu().numpy()
        row += N
        replaced += item["replaced_frames"]
    return replaced
