"""``--mode cache``: an image encoder runs once over all frames of long videos → ``<cache-dir>/<video>.npy``.

The folder's ``index.json`` says which encoder saw what. A video that is in it already is not read again, so that an
interrupted run goes on where it was; another encoder, size or normalisation is refused the folder.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dataloader.affwild import Video, describe_videos, find_frames_dir, read_every_video
from dataloader.build import Loader, start_worker
from dataloader.frame_files import VideoFrames
from dataloader.sequences import stand_ins
from dataloader.unlabelled import read_other_videos
from engine.checkpoints import model_config, open_checkpoint, rebuild
from engine.device import to_pixels
from engine.options import Config
from engine.session import Session, open_session
from models.clip_backbone import load_clip
from utils.checkpoint import hash_tensors, write_whole
from utils.errors import UserError, about, reason_of
from utils.runlog import progress_bar
from utils.words import plural

LAYOUT = 1  # of the folder; a change of meaning refuses every older one
CHUNK = 128  # frames in one pass


@dataclass(frozen=True)
class FrameEncoder:
    """An image tower, and how it was taught to see."""

    tower: nn.Module
    size: int
    normalize: str
    name: str

    @property
    def key(self) -> str:
        told = json.dumps([LAYOUT, hash_tensors(self.tower.state_dict()), self.size, self.normalize])
        return hashlib.sha256(told.encode()).hexdigest()[:20]


def cache(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """All videos below ``--root-dir``; returns the index."""
    if config.data.root_dir is None:
        raise UserError("--mode cache needs --root-dir DIR, a set in Aff-Wild2's layout")
    encoder = open_encoder(config, given)
    folder, videos = Path(config.data.cache_dir), read_every_video(Path(config.data.root_dir))
    others = read_other_videos(find_frames_dir(Path(config.data.root_dir)), {video.id for video in videos})
    index = open_index(folder, encoder)
    with open_session(config) as session:
        session.log.say("\n".join([f"{encoder.name}, frames of {encoder.size} pixels", *describe_videos(videos)]))
        if others:
            session.log.say(
                f"and {plural(len(others), 'video')} without labels ({others[0].id} for one): for --mode predict"
            )
        videos += others
        encoder.tower.to(session.device).eval()
        waiting = [video for video in videos if not is_done(video, folder, index)]
        session.log.say(f"{plural(len(videos) - len(waiting), 'video')} in {folder} already, {len(waiting)} to go")
        for number, video in enumerate(waiting, 1):
            rows = encode_video(video, encoder, config, session, f"{video.id} ({number}/{len(waiting)})")
            write_video(folder, video, rows, index)
        session.log.say(f"{folder}: features of {encoder.tower.proj.shape[1]} numbers for --features {folder}")
    return index


def open_encoder(config: Config, given: dict[str, Any]) -> FrameEncoder:
    """The image tower of ``--eval-checkpoint``, else of ``--clip-path``."""
    if config.run.eval_checkpoint is None:
        clip = load_clip(config.model.clip_path, config.run.seed)
        return FrameEncoder(clip.visual, clip.shape.image_size, config.data.normalize, config.model.clip_path)
    path = Path(config.run.eval_checkpoint)
    opened = open_checkpoint(path, given)
    with about(path):
        own = model_config(opened.content, {"normalize": given["normalize"]} if "normalize" in given else {})
        tower = getattr(rebuild(opened.content, own), "image_encoder", None)
    if tower is None:
        raise UserError(f"{path}: a {opened.content['family']} model reads features; it has no image encoder")
    return FrameEncoder(tower, opened.shape.image_size, own.data.normalize, str(path))


def open_index(folder: Path, encoder: FrameEncoder) -> dict[str, Any]:
    """What the folder holds; an empty index where it is new."""
    empty = {"key": encoder.key, "encoder": encoder.name, "videos": {}}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        key, _ = found["key"], dict(found["videos"])
    except FileNotFoundError:
        return empty
    except OSError as error:
        raise UserError(f"--cache-dir {folder}: {reason_of(error)}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{folder}/index.json: damaged; remove it, and its videos are read again") from None
    if key != encoder.key:
        raise UserError(f"--cache-dir {folder}: holds what another encoder saw ({found.get('encoder')}); name another")
    return found


def is_done(video: Video, folder: Path, index: dict[str, Any]) -> bool:
    return index["videos"].get(video.id) == stamp_of(video) and (folder / f"{video.id}.npy").exists()


def stamp_of(video: Video) -> str:
    """Of its files: names, sizes, times."""
    digest = hashlib.sha256()
    for name in video.files:
        state = (video.folder / name).stat() if name else None
        digest.update(json.dumps([name, state and state.st_size, state and state.st_mtime_ns]).encode())
    return digest.hexdigest()[:20]


@torch.inference_mode()
def encode_video(video: Video, encoder: FrameEncoder, config: Config, session: Session, name: str) -> np.ndarray:
    """(L, D) float16; a frame that is not there has the features of the one before it, else of the next, else 0."""
    frames = VideoFrames(video, encoder.size, config.data.on_bad_frame == "skip")
    rows = np.zeros((len(video), encoder.tower.proj.shape[1]), dtype=np.float16)
    sound = np.zeros(len(video), dtype=bool)
    loader, first = frame_loader(frames, config.run.workers, session), 0
    for squares, is_sound in progress_bar(loader, len(loader), name):
        with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
            seen = encoder.tower(to_pixels(squares.to(session.device), encoder.normalize))
        places = frames.present[first : first + len(squares)]
        rows[places], sound[places] = seen.float().cpu().numpy(), is_sound.numpy()
        first += len(squares)
    lost = len(frames) - int(sound.sum())
    if lost:
        session.log.warn(f"{video.id}: {lost} unreadable frames have the features of a neighbour")
    return carry(rows, sound)


def frame_loader(frames: VideoFrames, workers: int, session: Session) -> Loader:
    workers = min(workers, len(frames) // CHUNK)
    return Loader(
        frames, batch_size=CHUNK, num_workers=workers, pin_memory=session.pin_memory, worker_init_fn=start_worker
    )


def carry(rows: np.ndarray, sound: np.ndarray) -> np.ndarray:
    """Each row that is not sound replaced by the one before it that is, else by the next."""
    present = np.flatnonzero(sound)
    if not len(present):
        return np.zeros_like(rows)
    return rows[stand_ins(present, np.arange(len(rows)))]


def write_video(folder: Path, video: Video, rows: np.ndarray, index: dict[str, Any]) -> None:
    """The features, then their place in the index."""
    if not np.isfinite(rows).all():
        raise UserError(f"{video.id}: its features do not fit into half precision, or the encoder is broken")
    write_whole(folder / f"{video.id}.npy", lambda path: save_rows(path, rows))
    index["videos"][video.id] = stamp_of(video)
    text = json.dumps(index, indent=1) + "\n"
    write_whole(folder / "index.json", lambda path: path.write_text(text, encoding="utf-8"))


def save_rows(path: Path, rows: np.ndarray) -> None:
    with open(path, "wb") as file:
        np.save(file, rows)
