"""Two persons side by side in one picture: does each keep its number, and are both classified correctly?"""

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
    """Return pairs of neighbours in the list of persons, with as many segments as both have.

    The right person's segments come in reverse order, so that the two mostly show different emotions.
    """
    persons, pairs = segments_by_person(root, list_name), []
    for left, right in zip(persons[::2], persons[1::2], strict=False):
        count = min(len(left), len(right))
        pairs.append((in_time(left[:count]), in_time(right[:count][::-1])))
    return pairs[:most]


def side_by_side(pair: Pair, root: Path) -> Iterator[tuple[float, np.ndarray]]:
    for left, right in zip(*(play(segments, root, SCALE) for segments in pair), strict=True):
        yield left.seconds, np.hstack([left.frame, right.frame])


def watch(predictor: Predictor, path: Path) -> tuple[list[Row], dict[int, Counter]]:
    """Return the rows, and how often each person number was visible on either half."""
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
    """Return the face detectors to measure; YuNet where it is installed."""
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
    numbers, kept, visible, correct, total = [], 0, 0, 0, 0
    for pair, path in films:
        rows, sides = watch(predictor, path)
        numbers.append(len({row.person for row in rows} - {None}))
        kept += sum(max(counts.values()) for counts in sides.values())
        visible += sum(sum(counts.values()) for counts in sides.values())
        for side, segments in zip(("left", "right"), pair, strict=True):
            rows_of_side = [
                row for row in rows if row.person in sides and sides[row.person].most_common(1)[0][0] == side
            ]
            answers = [majority_class(rows_of_side, s.start, s.stop) for s in segments]
            correct += sum(name == predictor.info.names[s.label] for name, s in zip(answers, segments, strict=True))
            total += len(segments)
    return {
        "videos": len(films),
        "numbers_in_each": numbers,
        "sightings_on_the_number's_own_side_percent": round(100 * kept / max(visible, 1), 1),
        "segments": total,
        "right": correct,
        "percent": round(100 * correct / max(total, 1), 1),
    }
