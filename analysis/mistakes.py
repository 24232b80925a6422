"""What a scored run got wrong, for people to look at: ``mistakes/`` in its folder, a strip of frames for each clip."""

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dataloader.annotation import Clip
from dataloader.clips import Views, indexes_of, streams_of
from dataloader.frames import BadFrame
from dataloader.packed import open_source
from dataloader.set_note import set_note
from dataloader.transforms import PLAIN
from engine.options import Config
from utils.errors import UserError, one_line
from utils.runlog import RunLog
from utils.words import plural

MOST, EACH, LIMIT = 6, 2, 36  # the surest and the worst; of each true class; pictures in all
FRAMES, SIDE, GAP, QUALITY = 4, 112, 2, 85  # of a strip, in pixels
Chosen = dict[int, list[str]]  # row of predictions.csv → why it is shown


def write_mistakes(clips: list[Clip], views: Views, config: Config, log: RunLog) -> None:
    """Reads ``predictions.csv`` of the run; a picture that cannot be made is a warning, never the end of a run."""
    rows = read_rows(log.folder / "predictions.csv")
    chosen, strips, failed = choose(rows), [], []
    source = open_source(views) if chosen and config.results.mistake_frames else None
    for row in chosen:
        data, reason = (None, None) if source is None else strip_or_reason(clips[row], views, source)
        strips.append(data)
        failed += [reason] if reason else []
    if failed:
        log.warn(f"mistakes/: {plural(len(failed), 'picture')} could not be made ({failed[0]})")
    entries = [entry(rows[row], why) for row, why in chosen.items()]
    write_folder(log.folder / "mistakes", entries, strips, set_note(config.data.root_dir))


def read_rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def choose(rows: list[dict[str, str]]) -> Chosen:
    """Surest first: the ``MOST`` surest mistakes, those with the least likely truth, the surest of each class."""
    wrong = [i for i, row in enumerate(rows) if row["label"] != row["predicted"]]
    surest = sorted(wrong, key=lambda i: -float(rows[i][f"prob_{rows[i]['predicted']}"]))
    worst = sorted(wrong, key=lambda i: float(rows[i][f"prob_{rows[i]['label']}"]))
    place: dict[int, int] = {}  # among the surest of its class
    counts: dict[str, int] = {}
    for i in surest:
        place[i] = counts.get(rows[i]["label"], 0)
        counts[rows[i]["label"]] = place[i] + 1
    firsts = [[i for i in surest if place[i] == number] for number in range(EACH)]
    reasons: Chosen = {}
    for why, found in (("surest", surest[:MOST]), ("worst", worst[:MOST]), *(("class", part) for part in firsts)):
        for i in found:
            if i in reasons or len(reasons) < LIMIT:
                reasons.setdefault(i, []).append(why)
    return {i: reasons[i] for i in surest if i in reasons}


def entry(row: dict[str, str], why: list[str]) -> dict[str, Any]:
    return {
        "clip": row["clip"],
        "person": row.get("person") or None,
        "label": row["label"],
        "predicted": row["predicted"],
        "confidence": float(row[f"prob_{row['predicted']}"]),
        "p_true": float(row[f"prob_{row['label']}"]),
        "why": why,
    }


def strip_or_reason(clip: Clip, views: Views, source: Any) -> tuple[bytes | None, str | None]:
    """A JPEG, or why there is none. ``source``: of squares."""
    try:
        return encode(strip(clip, views, source)), None
    except (BadFrame, UserError, OSError, ValueError, KeyError, IndexError) as error:
        return None, one_line(str(error))[:200]


def strip(clip: Clip, views: Views, source: Any) -> np.ndarray:
    """(H, W, 3): some of the frames that the model saw, first to last, face above context."""
    seen = indexes_of(clip, views, np.random.default_rng(0), training=False)
    taken = np.asarray(seen)[np.unique(np.linspace(0, len(seen) - 1, min(FRAMES, len(seen))).round().astype(int))]
    pixels = source.squares(clip, taken, {stream: [PLAIN] for stream in streams_of(views)}).pixels
    rows = [side_by_side(stream[0].permute(0, 2, 3, 1).numpy(), axis=1) for stream in pixels.values()]
    return side_by_side(rows, axis=0)


def side_by_side(parts: Any, axis: int) -> np.ndarray:
    """Pictures in a row or in a column, a white line between them; squares are made small."""
    small = [cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_AREA) if axis == 1 else p for p in parts]
    shape = list(small[0].shape)
    shape[axis] = GAP
    line = np.full(shape, 255, dtype=np.uint8)
    return np.concatenate([piece for part in small for piece in (line, part)][1:], axis=axis)


def encode(picture: np.ndarray) -> bytes:
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise ValueError("OpenCV could not write a JPEG")
    return data.tobytes()


def write_folder(folder: Path, entries: list[dict[str, Any]], strips: list[bytes | None], note: str | None) -> None:
    """``mistakes.json`` last, so that it names what is there."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("mistake-*.jpg"):
        old.unlink()
    for number, (one, data) in enumerate(zip(entries, strips, strict=True), 1):
        one["file"] = None if data is None else f"mistake-{number:02d}.jpg"
        if data is not None:
            (folder / one["file"]).write_bytes(data)
    content = {"note": note, "mistakes": entries}
    (folder / "mistakes.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
