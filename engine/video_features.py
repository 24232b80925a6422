"""``--mode cache``: write the features of every frame of long videos as float16 to ``<cache-dir>/<video>.npy``.

Their ``index.json`` states the encoder, hashes of the frame files, and a checksum for each video. A video in the index
is read again only if its frames or its features have changed, so an interrupted run continues where it was. A folder
refuses another encoder, size or normalisation.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from torch import nn

from dataloader.affwild import Video, describe_videos, find_frames_dir, read_every_video, read_other_videos
from dataloader.frames import hash_files
from dataloader.loader import Loader
from dataloader.sequences import VideoFrames, stand_ins
from engine.checkpoints import open_checkpoint
from engine.feature_cache import LAYOUT, encode_pictures, hash_tower
from engine.options import Config
from engine.session import Session, open_session
from models.clip_backbone import load_clip
from utils.checksum import checksum
from utils.command import writing_to
from utils.distributed import is_launched
from utils.errors import UserError, reason_of, shorten
from utils.files import acquire_lock, atomic_write, write_json
from utils.json_files import read_json
from utils.runlog import progress_bar
from utils.text import plural

CHUNK = 128  # frames in one item of the loader
MOST_HASHED = 200  # frames of a video that are hashed; it has thousands
LOCK = "index.lock"


class VideoIndex(TypedDict):
    """``index.json`` of a cache; those of older versions lack the optional keys."""

    key: str
    encoder: NotRequired[str]
    videos: dict[str, str]  # a hash of names, sizes and times of each video's frames
    contents: NotRequired[dict[str, str]]  # a hash of samples of those frames
    checksums: NotRequired[dict[str, str]]  # of each video's .npy


@dataclass(frozen=True)
class FrameEncoder:
    """An image tower, with the size and normalisation of its input."""

    tower: nn.Module
    size: int
    normalize: str
    name: str

    @property
    def key(self) -> str:
        """A hash of everything that its features depend on besides the frames."""
        settings = json.dumps([LAYOUT, hash_tower(self.tower), self.size, self.normalize])
        return hashlib.sha256(settings.encode()).hexdigest()[:20]


def cache(config: Config, flags: dict[str, Any]) -> VideoIndex:
    """Cache all videos below ``--root-dir`` and return the index. ``flags``: options that the user passed."""
    if config.data.root_dir is None:
        raise UserError("--mode cache needs --root-dir DIR, a set in Aff-Wild2's layout")
    if is_launched():
        raise UserError("--mode cache runs in one process; start it without torchrun")
    encoder = open_encoder(config, flags)
    root, folder = Path(config.data.root_dir), Path(config.data.cache_dir)
    videos = read_every_video(root)
    unlabelled = read_other_videos(find_frames_dir(root), {video.id for video in videos})
    with writing_to("--cache-dir", str(folder)):
        lock = acquire_lock(folder / LOCK, f"--cache-dir {folder}: another process is writing there")
    with lock:
        index = open_index(folder, encoder)
        for path in [*folder.glob("*.npy.part"), folder / "index.json.part"]:  # of a killed process
            path.unlink(missing_ok=True)
        with open_session(config) as session:
            session.log.say("\n".join([f"{encoder.name}, frames of {encoder.size} pixels", *describe_videos(videos)]))
            if unlabelled:
                names = f"{plural(len(unlabelled), 'video')} without labels (such as {unlabelled[0].id})"
                session.log.say(f"and {names}: for --mode predict")
            _cache_videos([*videos, *unlabelled], encoder, folder, index, config, session)
    (folder / LOCK).unlink(missing_ok=True)
    return index


def _cache_videos(
    videos: list[Video], encoder: FrameEncoder, folder: Path, index: VideoIndex, config: Config, session: Session
) -> None:
    encoder.tower.to(session.device).eval()
    waiting = [video for video in videos if not _is_cached(video, folder, index)]
    session.log.say(f"{plural(len(videos) - len(waiting), 'video')} in {folder} already, {len(waiting)} to go")
    for number, video in enumerate(waiting, 1):
        state = _stamp(video), _hash_frames(video)  # before frames are read, so that later changes show
        features = encode_video(video, encoder, config, session, f"{video.id} ({number}/{len(waiting)})")
        _write_video(folder, video, features, state, index)
    session.log.say(f"{folder}: features of {encoder.tower.proj.shape[1]} numbers for --features {folder}")


def open_encoder(config: Config, flags: dict[str, Any]) -> FrameEncoder:
    """Return the image tower of ``--eval-checkpoint``, else of ``--clip-path``."""
    if config.run.eval_checkpoint is None:
        options = config.model
        clip = load_clip(options.clip_path, config.run.seed, options.clip_activation, options.clip_head_width)
        return FrameEncoder(clip.visual, clip.shape.image_size, config.data.normalize, config.model.clip_path)
    path = Path(config.run.eval_checkpoint)
    checkpoint = open_checkpoint(path, flags)
    of_tower = {name: value for name, value in flags.items() if name == "normalize" or name.startswith("clip_")}
    model_config, model = checkpoint.load(of_tower)
    tower = getattr(model, "image_encoder", None)
    if tower is None:
        raise UserError(f"{path}: a {checkpoint.content['family']} model reads features; it has no image encoder")
    return FrameEncoder(tower, checkpoint.shape.image_size, model_config.data.normalize, str(path))


def open_index(folder: Path, encoder: FrameEncoder) -> VideoIndex:
    """Return the index of a cache folder; an empty one if the folder is new."""
    path = folder / "index.json"
    if not path.exists():
        return {"key": encoder.key, "encoder": encoder.name, "videos": {}, "contents": {}, "checksums": {}}
    try:
        index = read_json(path, VideoIndex)
    except UserError as error:
        raise UserError(f"{error}; remove the damaged file; its videos are then read again") from None
    if index["key"] != encoder.key:
        name = shorten(str(index.get("encoder")))
        raise UserError(f"--cache-dir {folder}: holds features of another encoder ({name}); name another folder")
    return {"contents": {}, "checksums": {}} | index


def _is_cached(video: Video, folder: Path, index: VideoIndex) -> bool:
    """Return whether the features of a video exist, are undamaged, and its frames have not changed since."""
    path, content = folder / f"{video.id}.npy", index["contents"].get(video.id)
    if index["videos"].get(video.id) != _stamp(video) or not path.is_file():
        return False
    if content is not None and content != _hash_frames(video):
        return False
    expected = index["checksums"].get(video.id)
    return expected is None or expected == checksum(path)


def _hash_frames(video: Video) -> str:
    return hash_files([video.folder / name for name in video.files if name], most=MOST_HASHED)


def _stamp(video: Video) -> str:
    """Return a hash of names, sizes and times of a video's files."""
    digest = hashlib.sha256()
    for name in video.files:
        state = (video.folder / name).stat() if name else None
        digest.update(json.dumps([name, state and state.st_size, state and state.st_mtime_ns]).encode())
    return digest.hexdigest()[:20]


def encode_video(video: Video, encoder: FrameEncoder, config: Config, session: Session, title: str) -> np.ndarray:
    """Return features (L, D) float16. An unreadable frame gets those of the frame before it, else of the next.

    All features are zero if no frame can be read.
    """
    frames = VideoFrames(video, encoder.size, config.data.on_bad_frame == "skip")
    features = np.zeros((len(video), encoder.tower.proj.shape[1]), dtype=np.float16)
    is_present = np.zeros(len(video), dtype=bool)
    workers = min(config.run.workers, len(frames) // CHUNK)
    loader = Loader(frames, batch_size=CHUNK, num_workers=workers, pin_memory=session.pin_memory)
    chunks = np.split(frames.present, range(CHUNK, len(frames), CHUNK))
    for (squares, is_readable), rows in zip(progress_bar(loader, len(loader), title), chunks, strict=False):
        features[rows] = encode_pictures(encoder.tower, squares, encoder.normalize, session)
        is_present[rows] = is_readable.numpy()
    unreadable = len(frames) - int(is_present.sum())
    if unreadable:
        session.log.warn(f"{video.id}: {unreadable} unreadable frames get the features of a neighbouring frame")
    if not is_present.any():
        return np.zeros_like(features)
    return features[stand_ins(np.flatnonzero(is_present), np.arange(len(features)))]


def _write_video(folder: Path, video: Video, features: np.ndarray, state: tuple[str, str], index: VideoIndex) -> None:
    """Write the features of a video, then its entry in the index with the ``state`` of its frames."""
    if not np.isfinite(features).all():
        raise UserError(f"{video.id}: its features do not fit into half precision, or the encoder is broken")
    path = folder / f"{video.id}.npy"
    try:
        with atomic_write(path) as temporary, open(temporary, "wb") as file:
            np.save(file, features)
        index["videos"][video.id], index["contents"][video.id] = state
        index["checksums"][video.id] = checksum(path)
        write_json(folder / "index.json", index)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({reason_of(error)}); the file there is unchanged") from None
