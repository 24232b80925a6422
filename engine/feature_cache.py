"""Features of a frozen image encoder, computed once for clips that are read again.

``--cache-features`` stores the features of every frame of a run's clips as float16, one folder for each stream. The
name of a folder is a hash of everything that the features depend on, so another setting makes another folder. Its
``index.json`` holds a hash of samples of the frames and a checksum of the features, so that outdated or damaged ones
are never read. The runs of a sweep share the features of their test clips in memory: the encoder, the batches and the
pixels are the same for all of them.
"""

import hashlib
import json
import math
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from dataloader.annotation import Clip
from dataloader.clips import EveryFrame, Views
from dataloader.loader import Loader
from dataloader.sources import open_source
from dataloader.transforms import DEFAULT_LIMITS, Augmentation, AugmentationLimits, cached_variants
from engine.data import augmentation_limits
from engine.device import join_batches, map_on_cores, statistics_of, to_device, to_pixels
from engine.methods import method_named
from engine.options import Config
from engine.run_checkpoints import hash_frames
from engine.session import Session
from engine.shared import cached_result, counting_seconds
from utils.archive import open_array
from utils.checkpoint import hash_tensors
from utils.checksum import checksum
from utils.errors import UserError, reason_of
from utils.files import PART, temporary_folder, write_json
from utils.json_files import read_json
from utils.runlog import progress_bar
from utils.text import plural

STREAMS = ("face", "context")
LAYOUT = 1  # version of stored features; increase it when their meaning changes, so that older folders are not read
CHUNK, CPU_CHUNK = 256, 32  # pictures in one pass; on a CPU fewer, whose numbers stay in the caches of a core


@torch.inference_mode()
def encode_pictures(encoder: nn.Module, pictures: Tensor, normalize: str, session: Session) -> np.ndarray:
    """Return the features (N, D) float16 of pictures (N, 3, S, S) uint8, computed in the precision of the session."""
    with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
        parts = pictures.split(CPU_CHUNK if session.device.type == "cpu" else CHUNK)
        chunks = (part.to(session.device, non_blocking=True) for part in parts)
        features = [encoder(to_pixels(chunk, normalize, statistics_of(encoder))) for chunk in chunks]
    return torch.cat(features).half().cpu().numpy()


def hash_tower(tower: nn.Module) -> str:
    """Return a hash of the tensors of an image tower, and of its settings if they differ from OpenAI's."""
    weights, settings = hash_tensors(tower.state_dict()), getattr(tower, "settings", {})
    return weights if not settings else hashlib.sha256(json.dumps([weights, settings]).encode()).hexdigest()


@dataclass(frozen=True)
class FeatureCache:
    """Features of the streams in use, for clips whose rows start at ``starts[id]``."""

    features: dict[str, np.ndarray]  # stream → (V, rows, D) float16
    starts: dict[str, int]


class CacheIndex(TypedDict):
    """Content of the ``index.json`` beside the features; caches of older versions lack the optional keys."""

    frames: int
    content: NotRequired[str | None]  # ``hash_frames`` of the clips
    checksum: NotRequired[str]  # of features.npy


def cache_features(
    config: Config, encoder: nn.Module, clips: list[Clip], views: Views, variants: int, session: Session
) -> FeatureCache:
    """Read the cache of these clips. Make it if there is none, if it is damaged, or if the frames have changed.

    With ``--amp`` the features are computed in that precision, as they would be in epochs without a cache.
    """
    clips = sorted({clip.id: clip for clip in clips}.values(), key=lambda clip: clip.id)
    limits = augmentation_limits(config.data) if variants > 1 else DEFAULT_LIMITS
    augmentations = cached_variants(variants, limits)
    root, weights = Path(config.data.cache_dir), hash_tower(encoder)
    folders = {
        stream: root
        / cache_name(weights, clips, views, stream, augmentations, config.data.normalize, session.amp, limits)
        for stream in STREAMS
        if views.streams in ("both", stream)
    }
    rows = np.cumsum([0] + [len(clip.frames) for clip in clips])
    shape, content = (len(augmentations), int(rows[-1]), encoder.proj.shape[1]), hash_frames(clips, views)
    features = {}
    for stream, folder in folders.items():
        try:
            features[stream] = read_cache(folder, shape, content)
        except UserError as error:
            session.log.warn(f"{error}; these features are computed again")
            _remove(folder, config)
    absent = {stream: folder for stream, folder in folders.items() if features.get(stream) is None}
    if absent:
        absent_views = replace(views, streams="both" if len(absent) == 2 else next(iter(absent)))
        dataset = EveryFrame(clips, absent_views, variants, limits, open_source(absent_views))
        with counting_seconds():
            _write_clip_cache(absent, encoder, dataset, shape, content, augmentations, config, session)
    starts = {clip.id: int(row) for clip, row in zip(clips, rows, strict=False)}
    features |= {stream: open_array(folder / "features.npy") for stream, folder in absent.items()}
    return FeatureCache({stream: features[stream] for stream in folders}, starts)


def read_cache(folder: Path, shape: tuple[int, int, int], content: str | None) -> np.ndarray | None:
    """Return the features in ``folder`` as a memory map, None if there is no such folder.

    Raise a UserError if they are damaged, have another shape, or are of frames that have changed since.
    """
    if not folder.is_symlink() and not folder.exists():
        return None
    index = read_json(folder / "index.json", CacheIndex)
    if index.get("content", content) != content:
        raise UserError(f"{folder}: the files of its frames have changed since")
    file = folder / "features.npy"
    features = open_array(file)
    if features.shape != shape or features.dtype != np.float16:
        raise UserError(f"{file}: holds {_size_text(features.shape)} numbers, expected {_size_text(shape)}")
    if "checksum" in index and index["checksum"] != checksum(file):
        raise UserError(f"{file}: damaged")
    return features


def _size_text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _remove(folder: Path, config: Config) -> None:
    try:
        shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else folder.unlink()
    except FileNotFoundError:  # another run has removed it
        pass
    except OSError as error:
        raise UserError(f"--cache-dir {config.data.cache_dir}: {reason_of(error)}; name another folder") from None


def cache_name(
    weights: str,
    clips: list[Clip],
    views: Views,
    stream: str,
    variants: list[Augmentation],
    normalize: str,
    amp: torch.dtype | None = None,
    limits: AugmentationLimits = DEFAULT_LIMITS,
) -> str:
    """Return the name of a cache folder: the stream and a hash of everything that its features depend on."""
    settings = [LAYOUT, weights, views.size, stream, views.on_bad_frame, normalize, _as_dicts(variants)]
    if stream == "face":
        settings.append(views.missing_face)
    if views.decode != "exact":
        settings.append(views.decode)
    if amp is not None:
        settings.append(str(amp))
    if views.pack:
        settings.append(open_source(views).identity)
    if sampled := sampled_ranges(limits):
        settings.append(sampled)
    digest = hashlib.sha256(json.dumps(settings).encode())
    boxes = views.face_boxes if stream == "face" else views.body_boxes
    for clip in clips:
        times = [_modified(path) for path in clip.paths]
        facts = [str(clip.folder.resolve()), clip.frames, times, boxes.get(clip.key)]
        facts += [clip.span] if clip.span else []
        facts += [clip.id] if sampled else []  # from which the variants are sampled
        digest.update(json.dumps(facts).encode())
    return f"{stream}-{digest.hexdigest()[:20]}"


def _as_dicts(variants: list[Augmentation]) -> list[dict[str, float | bool]]:
    return [{"angle": variant.angle, "flip": variant.flip} for variant in variants]


def sampled_ranges(limits: AugmentationLimits) -> dict[str, float]:
    """Return the ranges that are on, besides those of angle and flip, which the variants show."""
    return {f.name: getattr(limits, f.name) for f in fields(limits)[2:] if getattr(limits, f.name) != f.default}


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # a broken link; the reader of frames handles it
        return None


def _write_clip_cache(
    folders: dict[str, Path],
    encoder: nn.Module,
    dataset: EveryFrame,
    shape: tuple[int, int, int],
    content: str | None,
    variants: list[Augmentation],
    config: Config,
    session: Session,
) -> None:
    """Write the caches into a temporary folder and rename it when complete, so that no cache is ever incomplete."""
    log, started, root = session.log, time.time(), Path(config.data.cache_dir)
    size = len(folders) * math.prod(shape) * 2  # bytes
    facts = plural(shape[1], "frame"), plural(shape[0], "variant"), plural(len(folders), "stream")
    log.say(f"features: {' x '.join(facts)}, {size / 1e6:.0f} MB")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            unfinished = stack.enter_context(temporary_folder(root, ".features-", PART))
            free = shutil.disk_usage(root).free
            if size > free:
                raise UserError(
                    f"--cache-dir {root}: the features need {size / 1e6:.0f} MB, the disk has {free / 1e6:.0f} MB "
                    f"left; make room or name another folder"
                )
            files = {}
            for stream in folders:
                (unfinished / stream).mkdir()
                file = stack.enter_context(open(unfinished / stream / "features.npy", "wb"))
                files[stream] = FeatureFile(file, shape)
            replaced = _fill(files, encoder, dataset, config, session)
            for stream, folder in folders.items():
                files[stream].file.close()
                index = {"frames": shape[1], "variants": _as_dicts(variants), "replaced_frames": replaced}
                index |= {"content": content, "checksum": checksum(unfinished / stream / "features.npy")}
                write_json(unfinished / stream / "index.json", index)
                try:
                    (unfinished / stream).rename(folder)
                except OSError:
                    if not (folder / "index.json").exists():  # else another run has made the same cache
                        raise
    except OSError as error:
        raise UserError(f"--cache-dir {config.data.cache_dir}: {reason_of(error)}; name another folder") from None
    if replaced:
        log.warn(f"{replaced} unreadable frames were replaced by their clip's nearest frame")
    log.say(f"features made in {time.time() - started:.0f} s; later runs with this encoder, data and boxes use them")


class FeatureFile:
    """A ``.npy`` file of features (V, rows, D) float16 that is written some rows at a time.

    It is not a memory map, because writing to a map on a full disk kills the process. ``write`` raises an error.
    """

    def __init__(self, file: BinaryIO, shape: tuple[int, int, int]) -> None:
        header = {"descr": "<f2", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        self.file, self.shape, self.start = file, shape, file.tell()

    def write(self, row: int, features: np.ndarray) -> None:
        """Write (V, N, D) to the rows from ``row`` on."""
        for variant, rows in enumerate(features.astype("<f2", copy=False)):
            self.file.seek(self.start + (variant * self.shape[1] + row) * self.shape[2] * 2)
            self.file.write(rows.tobytes())


def _fill(
    files: dict[str, FeatureFile], encoder: nn.Module, dataset: EveryFrame, config: Config, session: Session
) -> int:
    """Fill the file of each stream, clip after clip; return the number of unreadable frames."""
    loader = Loader(dataset, batch_size=None, num_workers=config.run.workers, pin_memory=session.pin_memory)

    def encode(item: dict[str, Any]) -> tuple[dict[str, np.ndarray], int]:
        features = {}
        for stream in files:
            V, N = item[stream].shape[:2]  # (V, N, 3, H, W)
            rows = encode_pictures(encoder, item[stream].flatten(0, 1), config.data.normalize, session)
            features[stream] = rows.reshape(V, N, -1)
        return features, item["replaced_frames"]

    row, replaced, items = 0, 0, progress_bar(loader, len(loader), "features")
    for features, replaced_frames in map_on_cores(encode, items, session.device):
        for stream, file in files.items():
            file.write(row, features[stream])
        row += next(iter(features.values())).shape[1]
        replaced += replaced_frames
    return replaced


# test clips of a sweep


def final_loader(
    loader: Any, model: nn.Module, clips: list[Clip], views: Views, config: Config, session: Session
) -> Any:
    """Return the loader of the final test, or its batches with features in place of pixels if runs can share those.

    Runs of a sweep share them if the image encoder is frozen and one process computes on the CPU.
    """
    is_frozen = not config.optim.learns("image") and method_named(config.model.model).reads_lists(config)
    if not is_frozen or session.device.type != "cpu" or session.group.world > 1:
        return loader
    key = evaluation_key(model, clips, views, config, session)
    return cached_result("test features", key, lambda: encoded_batches(loader, model, config, session))


def evaluation_key(model: nn.Module, clips: list[Clip], views: Views, config: Config, session: Session) -> str:
    """Return a text with everything that the features of the batches depend on."""
    weights = hash_tower(model.image_encoder)
    streams = [cache_name(weights, clips, views, stream, [], config.data.normalize) for stream in STREAMS]
    sampling = {f.name: str(getattr(views, f.name)) for f in fields(views) if not f.name.endswith("_boxes")}
    batches = [config.optim.batch_size, config.optim.eval_batch_size, str(session.amp), [clip.id for clip in clips]]
    return json.dumps([type(model).__name__, streams, sampling, batches, [clip.label for clip in clips]])


@torch.inference_mode()
def encoded_batches(loader: Any, model: nn.Module, config: Config, session: Session) -> list[list[dict[str, Any]]]:
    """Return every group of batches as one batch of features, encoded by the forward pass of an evaluation."""
    groups = []
    model.eval()
    for group in progress_bar(loader, len(loader), "test frames"):
        pixels = join_batches(group, session.device)
        pixels = to_device(pixels, session.device, config.data.normalize, statistics_of(model))
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
