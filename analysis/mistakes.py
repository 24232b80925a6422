"""Write the mistakes of a scored run to ``mistakes/`` in its folder: a list, and a strip of frames for each clip."""

import csv
from typing import Any

import cv2
import numpy as np

from dataloader.annotation import Clip, set_note
from dataloader.clips import Views, indexes_of, streams_of
from dataloader.frames import BadFrame
from dataloader.sources import open_source
from dataloader.transforms import PLAIN
from utils.errors import UserError, one_line
from utils.files import atomic_write, write_json
from utils.runlog import RunLog
from utils.text import plural

MOST, PER_CLASS, LIMIT = 6, 2, 36  # most confident and least likely; per true class; in total
FRAMES, FRAME_SIZE, GAP, QUALITY = 4, 112, 2, 85  # of a strip, in pixels


def write_mistakes(clips: list[Clip], views: Views, log: RunLog, *, root: str | None, with_frames: bool) -> None:
    """Write the mistakes of the run's ``predictions.csv``. A picture that cannot be made is a warning, not an error.

    ``root`` is the folder of the data set, which may hold a note about itself.
    """
    with open(log.folder / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    reasons = choose(rows)
    source = open_source(views) if reasons and with_frames else None
    mistakes, strips, failures = [], {}, []
    for number, (i, why) in enumerate(reasons.items(), 1):
        row, name = rows[i], f"mistake-{number:02d}.jpg"
        if source is not None:
            try:
                strips[name] = encode(draw_strip(clips[i], views, source))
            except (BadFrame, UserError, OSError, ValueError, KeyError, IndexError) as error:
                failures.append(one_line(str(error))[:200])
        mistakes.append(
            {
                "clip": row["clip"],
                "person": row.get("person") or None,
                "label": row["label"],
                "predicted": row["predicted"],
                "confidence": float(row[f"prob_{row['predicted']}"]),
                "p_true": float(row[f"prob_{row['label']}"]),
                "why": why,
                "file": name if name in strips else None,
            }
        )
    if failures:
        log.warn(f"mistakes/: {plural(len(failures), 'picture')} could not be made ({failures[0]})")
    folder = log.folder / "mistakes"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("mistake-*.jpg"):
        old.unlink()
    for name, data in strips.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(data)
    # Written last, so that it never names a missing file.
    write_json(folder / "mistakes.json", {"note": set_note(root), "mistakes": mistakes})


def choose(rows: list[dict[str, str]]) -> dict[int, list[str]]:
    """Return {row: reasons}, most confident first.

    These are the most confident mistakes, those with the lowest probability of the true class, and the most confident
    ones of each class.
    """
    wrong = [i for i, row in enumerate(rows) if row["label"] != row["predicted"]]
    surest = sorted(wrong, key=lambda i: -float(rows[i][f"prob_{rows[i]['predicted']}"]))
    worst = sorted(wrong, key=lambda i: float(rows[i][f"prob_{rows[i]['label']}"]))
    by_class: dict[str, list[int]] = {}
    for i in surest:
        by_class.setdefault(rows[i]["label"], []).append(i)
    firsts = [[i for i in surest if i in by_class[rows[i]["label"]][rank : rank + 1]] for rank in range(PER_CLASS)]
    reasons: dict[int, list[str]] = {}
    for why, members in (("surest", surest[:MOST]), ("worst", worst[:MOST]), *(("class", part) for part in firsts)):
        for i in members:
            if i in reasons or len(reasons) < LIMIT:
                reasons.setdefault(i, []).append(why)
    return {i: reasons[i] for i in surest if i in reasons}


def draw_strip(clip: Clip, views: Views, source: Any) -> np.ndarray:
    """Return (H, W, 3): up to four of the frames that the model saw, first to last, face above context.

    ``source`` gives the square crops.
    """
    indexes = np.asarray(indexes_of(clip, views, np.random.default_rng(0), training=False))
    indexes = indexes[np.unique(np.linspace(0, len(indexes) - 1, min(FRAMES, len(indexes))).round().astype(int))]
    pixels = source.squares(clip, indexes, {stream: [PLAIN] for stream in streams_of(views)}).pixels
    size, rows = (FRAME_SIZE, FRAME_SIZE), []
    for stream in pixels.values():
        frames = stream[0].permute(0, 2, 3, 1).numpy()
        rows.append(with_gaps([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames], axis=1))
    return with_gaps(rows, axis=0)


def with_gaps(pictures: list[np.ndarray], axis: int) -> np.ndarray:
    """Return pictures side by side or above each other, with a white line in between."""
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    line = np.full(shape, 255, dtype=np.uint8)
    return np.concatenate([piece for picture in pictures for piece in (line, picture)][1:], axis=axis)


def encode(picture: np.ndarray) -> bytes:
    is_done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not is_done:
        raise ValueError("OpenCV could not write a JPEG")
    return data.tobytes()
