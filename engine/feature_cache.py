"""Features of a frozen image encoder, computed once over every frame and read by memory map, float16.

Two caches share the encoding. ``--cache-features`` keeps the frames of a run's clips, a folder of one array for each
stream; its name is a hash of all that the features depend on, so another setting makes another folder, never a stale
answer. ``--mode cache`` keeps the frames of long videos as ``<cache-dir>/<video>.npy`` with an ``index.json`` that
states which encoder and which files they come from. A video that is in the index is not read again, so that an
interrupted run goes on where it was; the folder refuses another encoder, size or normalisation.
"""

import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from dataloader.annotation import Clip
from dataloader.clips import EveryFrame, Views
from dataloader.loader import Loader
from dataloader.packed import open_pack, open_source
from dataloader.transforms import Augmentation, cached_variants
from engine.checkpoints import model_config, open_checkpoint, rebuild
from engine.device import to_pixels
from engine.options import Config
from engine.session import Session, open_session
from models.clip_backbone import load_clip
from utils.checkpoint import hash_tensors
from utils.errors import UserError, about, reason_of
from utils.files import atomic_write, write_json
from utils.runlog import progress_bar
from utils.text import plural

if TYPE_CHECKING:  # long videos are read by --mode cache alone, so a training does not import their files
    from dataloader.affwild import Video

STREAMS = ("face", "context")
LAYOUT = 1  # of both kinds of folder; a change of meaning makes every older one unreadable
CLIP_CHUNK, VIDEO_CHUNK = 256, 128  # pictures in one pass


@torch.inference_mode()
def _encode(encoder: nn.Module, pictures: Tensor, normalize: str, session: Session) -> np.ndarray:
    """Return the features (N, D) float16 of pictures (N, 3, S, S) uint8, computed in the precision of the session."""
    with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
        chunks = (chunk.to(session.device, non_blocking=True) for chunk in pictures.split(CLIP_CHUNK))
        features = [encoder(to_pixels(chunk, normalize)) for chunk in chunks]
    return torch.cat(features).half().cpu().numpy()


# --cache-features: the clips of a run


@dataclass(frozen=True)
class FeatureCache:
    """Features of the streams in use, for clips whose rows start at ``starts[id]``."""

    features: dict[str, np.ndarray]  # stream → (V, rows, D) float16
    starts: dict[str, int]


def cache_features(
    config: Config, encoder: nn.Module, clips: list[Clip], views: Views, variants: int, session: Session
) -> FeatureCache:
    """Read the cache of these clips, or make it.

    With ``--amp`` it is made in that precision, as epochs without a cache would compute the same features.
    """
    clips = sorted({clip.id: clip for clip in clips}.values(), key=lambda clip: clip.id)
    augmentations = cached_variants(variants, config.data.max_angle, config.data.flip)
    root, weights = Path(config.data.cache_dir), hash_tensors(encoder.state_dict())
    folders = {
        stream: root / cache_name(weights, clips, views, stream, augmentations, config.data.normalize, session.amp)
        for stream in STREAMS
        if views.streams in ("both", stream)
    }
    absent = {stream: folder for stream, folder in folders.items() if not (folder / "index.json").exists()}
    if absent:
        absent_views = replace(views, streams="both" if len(absent) == 2 else next(iter(absent)))
        dataset = EveryFrame(clips, absent_views, augmentations, open_source(absent_views))
        _write_clip_cache(absent, encoder, dataset, augmentations, config, session)
    rows = np.cumsum([0] + [len(clip.frames) for clip in clips])
    starts = {clip.id: int(row) for clip, row in zip(clips, rows, strict=False)}
    features = {stream: np.load(folder / "features.npy", mmap_mode="r") for stream, folder in folders.items()}
    return FeatureCache(features, starts)


def cache_name(
    weights: str,
    clips: list[Clip],
    views: Views,
    stream: str,
    variants: list[Augmentation],
    normalize: str,
    amp: torch.dtype | None = None,
) -> str:
    """Return the name of a cache folder: the stream, and the hash of everything that its features depend on."""
    settings = [LAYOUT, weights, views.size, stream, views.on_bad_frame, normalize, _as_dicts(variants)]
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
        times = [_modified(clip.frame_path(i)) for i in range(len(clip.frames))]
        digest.update(json.dumps([str(clip.folder.resolve()), clip.frames, times, boxes.get(clip.key)]).encode())
    return f"{stream}-{digest.hexdigest()[:20]}"


def _as_dicts(variants: list[Augmentation]) -> list[dict[str, float | bool]]:
    return [{"angle": variant.angle, "flip": variant.flip} for variant in variants]


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # a broken link is an unreadable frame, dealt with where it is read
        return None


def _write_clip_cache(
    folders: dict[str, Path],
    encoder: nn.Module,
    dataset: EveryFrame,
    variants: list[Augmentation],
    config: Config,
    session: Session,
) -> None:
    """Write folders beside ``folders`` and rename them when complete: an interrupted run leaves no half cache."""
    log, started, width = session.log, time.time(), encoder.proj.shape[1]
    rows = sum(len(clip.frames) for clip in dataset.clips)
    megabytes = rows * len(variants) * len(folders) * width * 2 / 1e6
    log.say(f"features: {rows} frames x {len(variants)} variants x {len(folders)} streams, {megabytes:.0f} MB")
    unfinished = {s: folder.with_name(f"{folder.name}.{os.getpid()}.part") for s, folder in folders.items()}
    try:
        arrays = {}
        for stream, part in unfinished.items():
            part.mkdir(parents=True)
            shape = (len(variants), rows, width)
            arrays[stream] = np.lib.format.open_memmap(part / "features.npy", "w+", np.float16, shape)
        replaced = _fill(arrays, encoder, dataset, config, session)
        for stream, part in unfinished.items():
            arrays[stream].flush()
            index = {"frames": rows, "variants": _as_dicts(variants), "replaced_frames": replaced}
            write_json(part / "index.json", index)
            try:
                part.rename(folders[stream])
            except OSError:
                if not (folders[stream] / "index.json").exists():  # else another run was quicker, with the same cache
                    raise
    except OSError as error:
        raise UserError(f"--cache-dir {config.data.cache_dir}: {reason_of(error)}; name another folder") from None
    finally:
        for part in unfinished.values():
            shutil.rmtree(part, ignore_errors=True)
    if replaced:
        log.warn(f"{replaced} unreadable frames were replaced by their clip's nearest frame")
    log.say(f"features made in {time.time() - started:.0f} s; later runs with this encoder, data and boxes read them")


def _fill(
    arrays: dict[str, np.ndarray], encoder: nn.Module, dataset: EveryFrame, config: Config, session: Session
) -> int:
    """Fill the array of each stream, clip after clip; return the number of unreadable frames."""
    loader = Loader(dataset, batch_size=None, num_workers=config.run.workers, pin_memory=session.pin_memory)
    row, replaced = 0, 0
    for item in progress_bar(loader, len(loader), "features"):
        for stream, array in arrays.items():
            V, N = item[stream].shape[:2]  # (V, N, 3, H, W)
            features = _encode(encoder, item[stream].flatten(0, 1), config.data.normalize, session)
            array[:, row : row + N] = features.reshape(V, N, -1)
        row += N
        replaced += item["replaced_frames"]
    return replaced


# --mode cache: long videos


@dataclass(frozen=True)
class FrameEncoder:
    """An image tower with the input that it was trained on."""

    tower: nn.Module
    size: int
    normalize: str
    name: str

    @property
    def key(self) -> str:
        """A hash of everything that its features depend on besides the frames."""
        settings = json.dumps([LAYOUT, hash_tensors(self.tower.state_dict()), self.size, self.normalize])
        return hashlib.sha256(settings.encode()).hexdigest()[:20]


def cache(config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Cache all videos below ``--root-dir`` and return the index. ``flags``: options that the user passed."""
    from dataloader.affwild import describe_videos, find_frames_dir, read_every_video, read_other_videos

    if config.data.root_dir is None:
        raise UserError("--mode cache needs --root-dir DIR, a set in Aff-Wild2's layout")
    encoder = open_encoder(config, flags)
    root, folder = Path(config.data.root_dir), Path(config.data.cache_dir)
    videos = read_every_video(root)
    unlabelled = read_other_videos(find_frames_dir(root), {video.id for video in videos})
    index = open_index(folder, encoder)
    with open_session(config) as session:
        session.log.say("\n".join([f"{encoder.name}, frames of {encoder.size} pixels", *describe_videos(videos)]))
        if unlabelled:
            names = f"{plural(len(unlabelled), 'video')} without labels ({unlabelled[0].id} for one)"
            session.log.say(f"and {names}: for --mode predict")
        videos += unlabelled
        encoder.tower.to(session.device).eval()
        waiting = [video for video in videos if not _is_cached(video, folder, index)]
        session.log.say(f"{plural(len(videos) - len(waiting), 'video')} in {folder} already, {len(waiting)} to go")
        for number, video in enumerate(waiting, 1):
            features = encode_video(video, encoder, config, session, f"{video.id} ({number}/{len(waiting)})")
            _write_video(folder, video, features, index)
        session.log.say(f"{folder}: features of {encoder.tower.proj.shape[1]} numbers for --features {folder}")
    return index


def open_encoder(config: Config, flags: dict[str, Any]) -> FrameEncoder:
    """Return the image tower of ``--eval-checkpoint``, else of ``--clip-path``."""
    if config.run.eval_checkpoint is None:
        clip = load_clip(config.model.clip_path, config.run.seed)
        return FrameEncoder(clip.visual, clip.shape.image_size, config.data.normalize, config.model.clip_path)
    path = Path(config.run.eval_checkpoint)
    checkpoint = open_checkpoint(path, flags)
    with about(path):
        changes = {"normalize": flags["normalize"]} if "normalize" in flags else {}
        checkpoint_config = model_config(checkpoint.content, changes)
        tower = getattr(rebuild(checkpoint.content, checkpoint_config), "image_encoder", None)
    if tower is None:
        raise UserError(f"{path}: a {checkpoint.content['family']} model reads features; it has no image encoder")
    return FrameEncoder(tower, checkpoint.shape.image_size, checkpoint_config.data.normalize, str(path))


def open_index(folder: Path, encoder: FrameEncoder) -> dict[str, Any]:
    """Return what a cache folder holds; an empty index where it is new."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        key, _ = index["key"], dict(index["videos"])
    except FileNotFoundError:
        return {"key": encoder.key, "encoder": encoder.name, "videos": {}}
    except OSError as error:
        raise UserError(f"--cache-dir {folder}: {reason_of(error)}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder}/index.json: damaged; remove it, and its videos are read again") from None
    if key != encoder.key:
        raise UserError(f"--cache-dir {folder}: holds what another encoder saw ({index.get('encoder')}); name another")
    return index


def _is_cached(video: "Video", folder: Path, index: dict[str, Any]) -> bool:
    return index["videos"].get(video.id) == _stamp(video) and (folder / f"{video.id}.npy").exists()


def _stamp(video: "Video") -> str:
    """Return a hash of names, sizes and times of a video's files."""
    digest = hashlib.sha256()
    for name in video.files:
        state = (video.folder / name).stat() if name else None
        digest.update(json.dumps([name, state and state.st_size, state and state.st_mtime_ns]).encode())
    return digest.hexdigest()[:20]


def encode_video(video: "Video", encoder: FrameEncoder, config: Config, session: Session, title: str) -> np.ndarray:
    """Return (L, D) float16; a frame that is missing or unreadable has the features that ``carry`` gives it."""
    from dataloader.sequences import VideoFrames

    frames = VideoFrames(video, encoder.size, config.data.on_bad_frame == "skip")
    features = np.zeros((len(video), encoder.tower.proj.shape[1]), dtype=np.float16)
    is_present = np.zeros(len(video), dtype=bool)
    workers = min(config.run.workers, len(frames) // VIDEO_CHUNK)
    loader = Loader(frames, batch_size=VIDEO_CHUNK, num_workers=workers, pin_memory=session.pin_memory)
    chunks = np.split(frames.present, range(VIDEO_CHUNK, len(frames), VIDEO_CHUNK))
    for (squares, is_readable), rows in zip(progress_bar(loader, len(loader), title), chunks, strict=False):
        features[rows] = _encode(encoder.tower, squares, encoder.normalize, session)
        is_present[rows] = is_readable.numpy()
    unreadable = len(frames) - int(is_present.sum())
    if unreadable:
        session.log.warn(f"{video.id}: {unreadable} unreadable frames have the features of a neighbour")
    return carry(features, is_present)


def carry(features: np.ndarray, is_present: np.ndarray) -> np.ndarray:
    """Return rows (L, D) where each that is not present is replaced by the one before it that is, else by the next.

    Where no row is present all are zero.
    """
    from dataloader.sequences import stand_ins

    present = np.flatnonzero(is_present)
    if not len(present):
        return np.zeros_like(features)
    return features[stand_ins(present, np.arange(len(features)))]


def _write_video(folder: Path, video: "Video", features: np.ndarray, index: dict[str, Any]) -> None:
    """Write the features of a video, and after them its entry in the index."""
    if not np.isfinite(features).all():
        raise UserError(f"{video.id}: its features do not fit into half precision, or the encoder is broken")
    path = folder / f"{video.id}.npy"
    try:
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.save(file, features)
        index["videos"][video.id] = _stamp(video)
        write_json(folder / "index.json", index)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({reason_of(error)}); what was there before is untouched") from None
