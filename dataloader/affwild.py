"""Long videos with labels for every frame, in Aff-Wild2's layout: what is on disk, and the five folds of it.

Fold 0 is the split of the challenge. For folds 1 to 4 all videos are cut into five parts: part 0 holds what any task
has in its Validation_Set, parts 1 to 4 share the rest, alike in length. Fold k validates on part k and trains on all
others, so no two of folds 1 to 4 validate on one video, and the five folds together validate on every video. The two
persons of a video, ``_left`` and ``_right``, are in one part. Parts come from all tasks below the root, whichever are
asked for: an encoder tuned on one task has never seen what another task validates on in the same fold.
"""

import sys
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np

from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS, TASKS, find_labelled, lengthen, read_labels, unlabelled
from dataloader.frames import list_frames, numeric_key
from utils.errors import UserError
from utils.words import plural, some

FRAME_FOLDERS = ("cropped_aligned", "cropped_aligned_images")
ANNOTATION_FOLDERS = ("annotations", "annotation", "*ABAW_Annotations")  # or the root itself
PARTS = {"train": ("Train_Set", "Training_Set"), "validation": ("Validation_Set",)}
FOLDS = 5
TOLERANCE = 10  # frames by which the files of a video may disagree about its length


@dataclass(frozen=True, eq=False)
class Video:
    """One person through one video; all arrays have a row for every label line."""

    id: str  # its folder's name; may end in _left or _right
    folder: Path | None  # None: nobody looked for frames, only for labels
    files: tuple[str | None, ...]  # the file of every frame; None where no face was found
    labels: dict[str, np.ndarray]  # by task, as ``read_labels`` returns them
    spare_files: int = 0  # frames beyond the last label line, left out

    def __len__(self) -> int:
        return len(self.files)

    @property
    def missing(self) -> np.ndarray:
        """(L,) bool: the frames without a file; of none where nobody looked."""
        return np.array([name is None and self.folder is not None for name in self.files])

    @property
    def is_labelled(self) -> bool:
        return any(find_labelled(task, labels).any() for task, labels in self.labels.items())


@dataclass
class _Found:
    """The label files of one video, read."""

    paths: dict[str, Path] = field(default_factory=dict)
    labels: dict[str, np.ndarray] = field(default_factory=dict)


def read_videos(frames_dir: Path | None, annotation_dir: Path, task: str) -> list[Video]:
    """The videos of one folder of label files; ``frames_dir`` None leaves frames alone."""
    return _make_videos(_read_all({task: [annotation_dir]}), frames_dir, [task])


def read_task_sets(
    root: Path, tasks: list[str], fold: int, with_frames: bool = True
) -> tuple[list[Video], list[Video]]:
    """``(train, validation)``; a video of several tasks comes once, without labels of those that do not list it.

    In fold 0 a video may train one task and validate another; then it is in both lists, with the labels of each.
    """
    if fold not in range(FOLDS):
        raise UserError(f"--fold {fold}: expected 0 to {FOLDS - 1}")
    frames_dir = find_frames_dir(root) if with_frames else None
    folders = {task: [find_part(root, task, part) for part in PARTS] for task in tasks}
    if fold == 0:
        sides = [_read_all({task: [both[side]] for task, both in folders.items()}) for side in range(2)]
        for task, both in folders.items():
            _require_apart(*both, *({id for id, found in side.items() if task in found.labels} for side in sides))
    else:
        found, parts = _read_all(folders), part_videos(root)
        sides = [{id: one for id, one in found.items() if (parts[id] == fold) == held} for held in (False, True)]
    for name, side in zip(PARTS, sides, strict=True):
        if not side:
            raise UserError(f"{root}: fold {fold} leaves no {name} video for {', '.join(tasks)}")
    return tuple(_make_videos(side, frames_dir, tasks) for side in sides)


def read_every_video(root: Path) -> list[Video]:
    """All that any task lists, whichever side it is on: what an encoder runs over."""
    frames_dir = find_frames_dir(root)
    folders = {task: _parts_if_any(root, task) for task in TASKS}
    present = {task: places for task, places in folders.items() if places}
    if not present:
        find_part(root, "expr", "train")  # says what is expected where
    return _make_videos(_read_all(present), frames_dir, list(present))


def find_frames_dir(root: Path) -> Path:
    found = next((root / name for name in FRAME_FOLDERS if (root / name).is_dir()), None)
    if found is None:
        raise UserError(f"{root}: no folder {FRAME_FOLDERS[0]} with the frames of the videos")
    return found


def find_part(root: Path, task: str, part: str) -> Path:
    """The folder of a task's ``train`` or ``validation`` files."""
    places = [root, *(path for name in ANNOTATION_FOLDERS for path in sorted(root.glob(name)))]
    challenges = [place / name for place in places for name in TASKS[task].folders]
    found = [path for challenge in challenges for name in PARTS[part] if (path := challenge / name).is_dir()]
    if len(found) > 1:
        raise UserError(f"{found[0]} and {found[1]} both hold the {task} labels for {part}; move one away")
    if not found:
        expected = f"{ANNOTATION_FOLDERS[0]}/{TASKS[task].folders[0]}/{PARTS[part][0]}"
        raise UserError(f"{root}: no folder {expected} with the {task} labels for {part}")
    return found[0]


def part_videos(root: Path) -> dict[str, int]:
    """The part, 0 to 4, of every video that any task lists."""
    held, lengths = set(), defaultdict(int)
    for task in TASKS:
        for part in PARTS:
            for path in _files_if_any(root, task, part):
                lengths[path.stem] = max(lengths[path.stem], path.read_bytes().count(b"\n"))
                held |= {group_of(path.stem)} if part == "validation" else set()
    groups = defaultdict(list)
    for id in lengths:
        groups[group_of(id)].append(id)
    parts, totals = dict.fromkeys(held, 0), np.zeros(FOLDS - 1, dtype=int)
    sizes = {group: sum(lengths[id] for id in ids) for group, ids in groups.items() if group not in held}
    for group in sorted(sizes, key=lambda group: (-sizes[group], group)):  # the longest first, to the shortest part
        shortest = int(np.argmin(totals))
        totals[shortest] += sizes[group]
        parts[group] = shortest + 1
    return {id: parts[group_of(id)] for id in lengths}


def group_of(id: str) -> str:
    """The video that a person is seen in."""
    return id.removesuffix("_left").removesuffix("_right")


def describe_videos(videos: list[Video]) -> list[str]:
    """What a set holds, for the log."""
    frames, missing = sum(map(len, videos)), sum(int(video.missing.sum()) for video in videos)
    lines = [f"{plural(len(videos), 'video')}, {plural(frames, 'frame')}, {frames - missing} with a file"]
    tasks = [task for task in TASKS if any(task in video.labels for video in videos)]
    lines += [_describe_task(task, [video.labels[task] for video in videos if task in video.labels]) for task in tasks]
    empty = [video.id for video in videos if not video.is_labelled]
    if empty:
        lines.append(f"{plural(len(empty), 'video')} without any valid label, left out of training: {some(empty)}")
    faceless = [video.id for video in videos if video.missing.all()]
    if faceless:
        lines.append(f"{plural(len(faceless), 'video')} without any frame file, left out of training: {some(faceless)}")
    spare = [video for video in videos if video.spare_files]
    if spare:
        count = sum(video.spare_files for video in spare)
        lines.append(
            f"{plural(count, 'frame file')} beyond the last label line, left out: {some([v.id for v in spare])}"
        )
    return lines


def _describe_task(task: str, labels: list[np.ndarray]) -> str:
    valid = [rows[find_labelled(task, rows)] for rows in labels]
    rows, total = np.concatenate(valid), sum(map(len, labels))
    holding = sum(map(bool, map(len, valid)))
    text = f"{task}: {len(rows)} of {plural(total, 'frame')} labelled, in {plural(holding, 'video')}"
    if not len(rows):
        return text
    if task == "expr":
        counts = np.bincount(rows, minlength=len(EXPRESSIONS))
        return f"{text}; " + ", ".join(f"{name} {n}" for name, n in zip(EXPRESSIONS, counts, strict=True))
    if task == "au":
        rates = 100 * rows.mean(0, dtype=np.float64)
        return f"{text}; " + ", ".join(f"{name} {rate:.1f} %" for name, rate in zip(ACTION_UNITS, rates, strict=True))
    means, deviations = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    stats = zip(TASKS[task].names, means, deviations, strict=True)
    return f"{text}; " + ", ".join(f"{name} {mean:.2f} ± {deviation:.2f}" for name, mean, deviation in stats)


def _read_all(folders: dict[str, list[Path]]) -> dict[str, _Found]:
    """Every label file in the folders of every task, by video."""
    found: dict[str, _Found] = defaultdict(_Found)
    for task, places in folders.items():
        for path in chain.from_iterable(map(_label_files, places)):
            one = found[path.stem]
            if task in one.paths:
                raise UserError(f"{path}: the same video as {one.paths[task]}; one of the two must go")
            one.paths[task], one.labels[task] = path, read_labels(path, task)
    return dict(sorted(found.items(), key=lambda item: numeric_key(item[0])))


def _label_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of label files")
    files = sorted(path for path in folder.glob("*.txt") if not path.name.startswith("."))
    if not files:
        raise UserError(f"{folder}: holds no label file <video>.txt")
    return files


def _files_if_any(root: Path, task: str, part: str) -> list[Path]:
    """A set need not have all tasks."""
    return [path for folder in _parts_if_any(root, task, (part,)) for path in _label_files(folder)]


def _parts_if_any(root: Path, task: str, parts: tuple[str, ...] = tuple(PARTS)) -> list[Path]:
    found = []
    for part in parts:
        with suppress(UserError):
            found.append(find_part(root, task, part))
    return found


def _require_apart(train: Path, validation: Path, trained: set[str], held: set[str]) -> None:
    both = sorted(trained & held)
    if both:
        raise UserError(f"{validation / both[0]}.txt: the same video is in {train}; one of the two must go")


def _make_videos(found: dict[str, _Found], frames_dir: Path | None, tasks: list[str]) -> list[Video]:
    videos = [_make_video(id, one, frames_dir, tasks) for id, one in found.items()]
    if not any(video.is_labelled for video in videos):
        first = next(path for one in found.values() for path in one.paths.values())
        raise UserError(f"{first.parent}: none of its {len(videos)} videos has a valid label")
    return videos


def _make_video(id: str, found: _Found, frames_dir: Path | None, tasks: list[str]) -> Video:
    lengths = {task: len(labels) for task, labels in found.labels.items()}
    longest = max(lengths, key=lengths.get)
    for task, length in lengths.items():
        if lengths[longest] - length > TOLERANCE:
            raise UserError(f"{found.paths[task]}: {length} label lines, {found.paths[longest]} has {lengths[longest]}")
    frames, path = lengths[longest], found.paths[longest]
    labels = {task: lengthen(task, found.labels.get(task, unlabelled(task, 0)), frames) for task in tasks}
    if frames_dir is None:
        return Video(id, None, (None,) * frames, labels)
    files, spare = _find_files(frames_dir / id, frames, path)
    return Video(id, frames_dir / id, files, labels, spare)


def _find_files(folder: Path, frames: int, labels: Path) -> tuple[tuple[str | None, ...], int]:
    """The file of each of ``frames`` frames, and how many files lie beyond them."""
    if not folder.is_dir():
        raise UserError(f"{labels}: no folder {folder} with its frames")
    by_number = number_files(folder)
    last = max(by_number, default=0)
    if last > frames + TOLERANCE:
        counts = f"{frames} label lines for {len(by_number)} frame files up to {by_number[last]}"
        raise UserError(f"{labels}: {counts} in {folder}; do they belong together?")
    # millions of frames share a few thousand names
    names = tuple(sys.intern(by_number[number]) if number in by_number else None for number in range(1, frames + 1))
    return names, sum(number > frames for number in by_number)


def number_files(folder: Path) -> dict[int, str]:
    """The frame files of a video by their numbers."""
    by_number: dict[int, str] = {}
    for name in list_frames(folder):
        stem = name.rpartition(".")[0]
        if not (stem.isascii() and stem.isdecimal() and int(stem) > 0):
            raise UserError(f"{folder / name}: frames are named by their number from 1, such as 00001.jpg")
        first = by_number.setdefault(int(stem), name)
        if first != name:
            raise UserError(f"{folder}: {first} and {name} are both frame {int(stem)}; remove one")
    return by_number
