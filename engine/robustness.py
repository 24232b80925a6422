"""``--mode eval --corrupt``: measure how far the scores of a checkpoint fall on corrupted clips.

Every kind of corruption is applied at three strengths to the cropped and resized frames that the model sees.
Nothing is trained again. The same clip is always corrupted in the same way, so two checkpoints can be compared.
"""

import zlib
from functools import partial
from typing import Any

import cv2
import numpy as np

from analysis.intervals import add_intervals, groups_of
from analysis.metrics import brackets
from dataloader.annotation import Clip
from dataloader.loader import Batch
from engine.clip_predict import predict_changed
from engine.methods.base import ClipTask
from engine.options import Config
from engine.session import Session
from utils.errors import UserError

LEVELS = {  # kind → what each of the three strengths means
    "noise": (8.0, 16.0, 32.0),  # standard deviation, of 255
    "blur": (0.01, 0.02, 0.04),  # standard deviation, as a share of the width
    "dark": (0.5, 0.25, 0.125),  # factor of all pixels
    "occlusion": (0.25, 0.5, 0.75),  # side of a black square, as a share of the width
    "frames": (0.5, 0.75, 0.9375),  # share of lost frames; each is replaced by the frame before it
    "no-face": (0.25, 0.5, 1.0),  # share of the frames whose face is black
    "no-context": (0.25, 0.5, 1.0),  # share of the frames whose context is black
}
STREAM_OF = {"no-face": "face", "no-context": "context"}


def variants_of(config: Config) -> list[tuple[str, int]]:
    """Return (kind, strength) of the requested corruptions that change something the model sees."""
    streams, words, T = config.model.streams, config.results.corrupt, config.data.num_segments * config.data.duration
    kinds = tuple(LEVELS) if "all" in words else tuple(dict.fromkeys(words))
    unused = [kind for kind in kinds if streams not in ("both", STREAM_OF.get(kind, streams))]
    if unused and "all" not in words:
        raise UserError(f"--corrupt {unused[0]}: this model sees only the {streams} stream; leave {unused[0]} out")
    if T == 1 and "frames" in words:
        raise UserError("--corrupt frames: this model sees a single frame of each clip; leave frames out")
    variants = [(kind, strength) for kind in kinds if kind not in unused for strength in (1, 2, 3)]
    return [(kind, strength) for kind, strength in variants if changes_frames(kind, strength, T)]


def changes_frames(kind: str, strength: int, T: int) -> bool:
    """Return whether a corruption changes any of T frames: a share of a few frames may be less than one frame."""
    if kind == "frames" and T == 1:  # no other frame could replace it
        return False
    return kind not in ("frames", *STREAM_OF) or lost_frames_of(LEVELS[kind][strength - 1], T) > 0


def lost_frames_of(level: float, T: int) -> int:
    return round(level * T)


def measure(
    task: ClipTask, loader: Any, clips: list[Clip], metrics: dict[str, Any], config: Config, session: Session
) -> dict[str, list[dict[str, Any]]]:
    """Return {kind: UAR and WAR, with intervals, without corruption and at each strength that changes frames}.

    Every clip is decoded once and then corrupted in all ways.
    """
    variants = variants_of(config)
    changes = {key: partial(corrupt_batch, kind=key[0], strength=key[1]) for key in variants}
    _, label, logits, _ = predict_changed(task, loader, changes, config, session, "corrupted clips")
    groups = groups_of([clip.id for clip in clips], [clip.person for clip in clips], config.results.ci)
    results = {kind: [_row(0, None, metrics)] for kind, _ in variants}
    for kind, strength in variants:
        scores = task.score(logits[kind, strength], label)
        if groups is not None:
            scores = add_intervals(scores, label, logits[kind, strength].argmax(axis=1), groups)
        results[kind].append(_row(strength, LEVELS[kind][strength - 1], scores))
    return results


def _row(strength: int, level: float | None, scores: dict[str, Any]) -> dict[str, Any]:
    interval = (scores.get("intervals") or {}).get("uar")
    return {"strength": strength, "level": level, "uar": scores["uar"], "war": scores["war"], "interval": interval}


def write(
    task: ClipTask, loader: Any, clips: list[Clip], metrics: dict[str, Any], config: Config, session: Session
) -> dict[str, Any]:
    """Measure, print the table, draw ``robustness.png``, and return the entry for metrics.json."""
    results = measure(task, loader, clips, metrics, config, session)
    if not session.group.is_main:
        return {}
    from analysis.plots import draw_robustness, save

    save(draw_robustness(results, config.run.exper_name), session.log.folder / "robustness.png")
    session.log.say(f"\n{table(results)}")
    session.log.keep_metrics(metrics | {"robustness": results})
    return {"robustness": results}


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """Return a text table with UAR and its interval at each strength, a row for each kind."""
    rows = []
    for kind, values in results.items():
        cells = [f"{'-':>6} {'':<14}"] * 4  # at this strength no frame changes
        for row in values:
            interval = "" if row["interval"] is None else brackets(row["interval"])
            cells[row["strength"]] = f"{row['uar']:6.2f} {interval:<14}"
        rows.append(f"{kind:<12}" + "  ".join(cells).rstrip())
    head = f"{'UAR':<12}" + "  ".join(f"{name:<21}" for name in ("as it is", "mild", "medium", "strong"))
    return "\n".join([head.rstrip(), *rows])


def corrupt_batch(batch: Batch, kind: str, strength: int) -> Batch:
    """Return a batch with its clips corrupted."""
    streams = [name for name in ("face", "context") if name in batch and STREAM_OF.get(kind, name) == name]
    changed = {stream: batch[stream].clone() for stream in streams}
    for number, id in enumerate(batch["id"]):
        for stream, clips in changed.items():
            pixels = clips[number].numpy()  # a view: (T, 3, S, S) uint8
            # Both streams lose the same frames; other corruptions are independent in each stream.
            purpose = "both" if kind == "frames" else stream
            rng = np.random.default_rng(zlib.crc32(f"{kind} {purpose} {id}".encode()))
            pixels[:] = corrupt(pixels, kind, LEVELS[kind][strength - 1], rng)
    return batch | changed


def corrupt(pixels: np.ndarray, kind: str, level: float, rng: np.random.Generator) -> np.ndarray:
    """Return the frames (T, 3, S, S) uint8 of one stream of a clip, corrupted."""
    T, S = pixels.shape[0], pixels.shape[-1]
    if kind == "noise":
        noise = rng.normal(0, level, pixels.shape)
        return (pixels + noise).round().clip(0, 255).astype(np.uint8)
    if kind == "blur":
        planes = pixels.reshape(-1, S, S)
        blurred = [cv2.GaussianBlur(plane, (0, 0), level * S, borderType=cv2.BORDER_REFLECT_101) for plane in planes]
        return np.stack(blurred).reshape(pixels.shape)
    if kind == "dark":
        return (pixels * level).round().astype(np.uint8)
    if kind == "occlusion":
        side = round(level * S)
        y, x = rng.integers(0, S - side + 1, 2)
        pixels = pixels.copy()
        pixels[..., y : y + side, x : x + side] = 0
        return pixels
    lost_frames = rng.permutation(T)[: lost_frames_of(level, T)]
    if kind == "frames":
        frames = np.setdiff1d(np.arange(T), lost_frames)
        frames = frames if len(frames) else np.zeros(1, dtype=int)
        return pixels[frames[np.searchsorted(frames, np.arange(T), side="right").clip(1) - 1]]
    pixels = pixels.copy()
    pixels[lost_frames] = 0
    return pixels
