"""Two persons side by side in one picture: does each keep its number, and are both classified correctly?

A second measure alternates persons and empty rooms, with hard cuts: how long do predictions continue in an empty room?
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import cv2
import numpy as np

from apps.predict.run import Predictor
from apps.predict.timeline import Row
from benchmarks.video_render import write_video
from benchmarks.video_segments import FPS, Segment, in_time, majority_class, play, segments_by_person
from dataloader.detect import CASCADES, INSTALL, YUNET, resolve_face_model
from dataloader.track import CutDetector
from dataloader.video import open_video
from simulate.raer import Settings, scene_of

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
                if person.is_visible:
                    sides[person.id]["left" if person.face[0] + person.face[2] < video.width else "right"] += 1
    return rows, sides


def detectors() -> list[str]:
    """Return the face detectors to measure; YuNet where it is installed."""
    if resolve_face_model(None) == YUNET:
        return [CASCADES, YUNET]
    print(f"{YUNET}: not measured; `{INSTALL}` installs it", flush=True)
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


class Shot(NamedTuple):
    """The frames between two cuts: ``frames`` of one person, or one frame of an empty room."""

    frames: list[np.ndarray]
    has_person: bool


def draw_shots(persons: int, frames: int | None = None) -> list[Shot]:
    """Return for each person: the person, the same room empty, the person again, then (a cut) the next person."""
    settings, rng, shots = Settings(persons=persons, clips=5 * persons, frames=frames), np.random.default_rng(0), []
    slots = {slot.person: slot for slot in settings.plan()}
    for slot in slots.values():
        files, scene = settings.draw(slot)[1].values(), scene_of(settings, slot)
        pictures = [cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR_RGB) for file in files]
        person = Shot(pictures, True)
        shots += [person, Shot([scene.camera.expose(scene.background, scene.light, rng)], False), person]
    return shots


def play_shots(shots: list[Shot], seconds: float, fps: float) -> Iterator[tuple[float, np.ndarray]]:
    """Yield the frames of the film; every shot lasts ``seconds``."""
    count = round(seconds * fps)
    for position, shot in enumerate(shots):
        for number in range(count):
            yield position * seconds + number / fps, shot.frames[number * len(shot.frames) // count]


def false_presence(predictor: Predictor, path: Path, shots: list[Shot], seconds: float) -> dict[str, float]:
    """Return how many seconds of a minute of empty room have a prediction, and how many have a box.

    A row stands for the time around its middle. Also return the share of the time with persons that has a prediction.
    """
    answered, boxed = np.zeros(2), 0.0  # in empty rooms, with persons
    half = (predictor.every or 0.2) / 2
    with open_video(path) as video:
        for step in predictor.follow(video):
            for row in (row for rows in step.rows for row in rows if row.values is not None):
                for position, shot in enumerate(shots):
                    start, stop = position * seconds, (position + 1) * seconds
                    common = min(row.middle + half, stop) - max(row.middle - half, start)
                    answered[int(shot.has_person)] += max(common, 0.0)
            if step.frame is not None and not shots[min(int(step.seconds / seconds), len(shots) - 1)].has_person:
                boxed += len(step.persons) / video.fps
    empty = seconds * sum(not shot.has_person for shot in shots)
    return {
        "answered_seconds_in_an_empty_minute": round(60 * float(answered[0]) / empty, 1),
        "boxed_seconds_in_an_empty_minute": round(60 * boxed / empty, 1),
        "persons_answered_percent": round(100 * float(answered[1]) / (seconds * len(shots) - empty), 1),
    }


def count_cuts(shots: list[Shot], seconds: float, rate: float) -> dict[str, int]:
    """Return the number of cuts, and how many are detected correctly and falsely at ``rate`` frames per second."""
    is_cut, cuts = CutDetector(), 0
    detected = [time for time, frame in play_shots(shots, seconds, rate) if is_cut(frame)]
    cuts = sum(abs(time - seconds * round(time / seconds)) < 0.5 / rate for time in detected)
    return {"cuts": len(shots) - 1, "detected": cuts, "false": len(detected) - cuts}


def measure_cuts(args: Any, folder: Path, seconds: float = 6.0) -> dict[str, Any]:
    """Return the measures with cuts that end the tracks, and without them, as in earlier versions."""
    shots = draw_shots(args.cuts)
    path = write_video(folder / "cuts.mp4", play_shots(shots, seconds, FPS), FPS)
    results: dict[str, Any] = {"in 4 frames a second": count_cuts(shots, seconds, 4.0)}
    windows = "apps.predict.windows"
    for name in detectors():
        predictor = Predictor(args.checkpoint, face_model=name)
        results[name] = false_presence(predictor, path, shots, seconds)
        with (
            patch(f"{windows}.CutDetector", lambda: lambda frame: False),
            patch(f"{windows}.had_face_lately", lambda *_: True),
        ):
            results[f"{name}, cuts ignored"] = false_presence(predictor, path, shots, seconds)
        print(name, results[name], results[f"{name}, cuts ignored"], flush=True)
    return results
