"""Long videos with labels for every frame, in Aff-Wild2's layout: what is on disk, and its five folds.

Fold 0 is the split of the challenge. For folds 1 to 4 all videos are divided into five parts: part 0 holds the videos
in the Validation_Set of any task, and parts 1 to 4 share the rest, with similar total lengths. Fold k validates on part
k and trains on all others, so folds 1 to 4 validate on different videos, and the five folds together validate on every
video. The two persons of a video, ``_left`` and ``_right``, are in the same part. The parts are made from all tasks
below the root, also those that a run does not use. So an encoder that was tuned on one task has not seen the validation
videos of another task in the same fold.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataloader.annotation import Clip
from dataloader.classes import Classes
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS, TASKS, find_labelled, lengthen, read_labels, unlabelled
from dataloader.frames import list_frames, numeric_key
from utils.errors import UserError
from utils.json_files import read_bytes
from utils.text import plural, some

FRAME_FOLDERS = ("cropped_aligned", "cropped_aligned_images")
ANNOTATION_FOLDERS = ("annotations", "annotation", "*ABAW_Annotations")  # or the root itself
PARTS = {"train": ("Train_Set", "Training_Set"), "validation": ("Validation_Set",)}
FOLDS = 5
TOLERANCE = 10  # largest difference in frames between the files of a video
EXPRESSION_CLASSES = Classes(EXPRESSIONS, 0, {}, "the expressions of Aff-Wild2")


@dataclass(frozen=True, eq=False)
class Video:
    """One person in one video; all arrays have a row for every label line."""

    id: str  # name of its folder; may end in _left or _right
    folder: Path | None  # None: only labels were read
    files: tuple[str | None, ...]  # the file of every frame; None if the set has no face for it
    labels: dict[str, np.ndarray]  # by task, as ``read_labels`` returns them
    spare_files: int = 0  # frames beyond the last label line, not in ``files``

    def __len__(self) -> int:
        return len(self.files)

    @property
    def missing(self) -> np.ndarray:
        """(L,) bool: the frames without a file; all False if only labels were read."""
        return np.array([name is None and self.folder is not None for name in self.files])

    @property
    def is_labelled(self) -> bool:
        return any(find_labelled(task, labels).any() for task, labels in self.labels.items())


def read_task_sets(
    root: Path, tasks: list[str], fold: int, with_frames: bool = True
) -> tuple[list[Video], list[Video]]:
    """Return ``(train, validation)``. A video of several tasks comes once, unlabelled for tasks that do not list it.

    In fold 0 a video may be for training in one task and for validation in another; then it is in both lists.
    """
    if fold not in range(FOLDS):
        raise UserError(f"--fold {fold}: expected 0 to {FOLDS - 1}")
    frames_dir = find_frames_dir(root) if with_frames else None
    folders = {task: [find_part(root, task, part) for part in PARTS] for task in tasks}
    if fold == 0:
        train, validation = (_find_label_files({task: [folders[task][i]] for task in tasks}) for i in range(2))
        for task, (train_dir, validation_dir) in folders.items():
            shared = sorted(id for id in train.keys() & validation if task in train[id] and task in validation[id])
            if shared:
                path = validation_dir / shared[0]
                raise UserError(f"{path}.txt: the same video is in {train_dir}; remove one of them")
    else:
        videos, parts = _find_label_files(folders), part_videos(root)
        train = {id: files for id, files in videos.items() if parts[id] != fold}
        validation = {id: files for id, files in videos.items() if parts[id] == fold}
    for name, videos in (("train", train), ("validation", validation)):
        if not videos:
            raise UserError(f"{root}: fold {fold} has no {name} video for {', '.join(tasks)}")
    return _make_videos(train, frames_dir, tasks), _make_videos(validation, frames_dir, tasks)


def read_every_video(root: Path) -> list[Video]:
    """Return all videos that any task lists for training or validation."""
    frames_dir = find_frames_dir(root)
    folders: dict[str, list[Path]] = defaultdict(list)
    for task, _, folder in _every_part(root):
        folders[task].append(folder)
    if not folders:
        find_part(root, "expr", "train")  # raises an error that names the expected folder
    return _make_videos(_find_label_files(folders), frames_dir, list(folders))


def read_other_videos(frames_dir: Path, labelled: set[str]) -> list[Video]:
    """Return a video for every other folder of frames, such as the challenge's test videos.

    Its length is its highest frame number. ``labelled``: ids of the videos that have label files.
    """
    videos = []
    for folder in sorted(path for path in frames_dir.iterdir() if path.is_dir() and path.name not in labelled):
        by_number = {} if folder.name.startswith(".") else number_files(folder)
        if by_number:
            files = tuple(by_number.get(number) for number in range(1, max(by_number) + 1))
            videos.append(Video(folder.name, folder, files, {}))
    return videos


def read_frame_clips(root: Path, fold: int, frame_step: int) -> tuple[list[Clip], list[Clip]]:
    """Return ``(train, validation)`` where every frame with an expression and a file is a clip by itself.

    Every ``frame_step``-th training frame is used, and all validation frames.
    """
    train, validation = map(_frame_clips, read_task_sets(root, ["expr"], fold))
    train = train[::frame_step]
    for name, clips in (("training", train), ("validation", validation)):
        if not clips:
            raise UserError(f"{root}: no {name} frame has a valid expression and a file")
    return train, validation


def _frame_clips(videos: list[Video]) -> list[Clip]:
    clips = []
    for video in videos:
        person = group_of(video.id)
        for name, label in zip(video.files, video.labels["expr"], strict=True):
            if name is not None and label >= 0:
                id = f"{video.id}/{name}"
                clips.append(Clip(id, video.folder, (name,), 1, int(label), key=id, person=person, is_image=True))
    return clips


def find_frames_dir(root: Path) -> Path:
    """Return the folder below ``root`` that holds a folder of frames for every video."""
    folder = next((root / name for name in FRAME_FOLDERS if (root / name).is_dir()), None)
    if folder is None:
        raise UserError(f"{root}: no folder {FRAME_FOLDERS[0]} with the frames of the videos")
    return folder


def find_part(root: Path, task: str, part: str) -> Path:
    """Return the folder of a task's ``train`` or ``validation`` files."""
    folders = _part_folders(root, task, part)
    if len(folders) > 1:
        raise UserError(f"{folders[0]} and {folders[1]} both hold the {task} labels for {part}; move one away")
    if not folders:
        expected = f"{ANNOTATION_FOLDERS[0]}/{TASKS[task].folders[0]}/{PARTS[part][0]}"
        raise UserError(f"{root}: no folder {expected} with the {task} labels for {part}")
    return folders[0]


def _part_folders(root: Path, task: str, part: str) -> list[Path]:
    above = [root, *(path for name in ANNOTATION_FOLDERS for path in sorted(root.glob(name)))]
    candidates = [path / name / subset for path in above for name in TASKS[task].folders for subset in PARTS[part]]
    return [folder for folder in candidates if folder.is_dir()]


def _every_part(root: Path) -> list[tuple[str, str, Path]]:
    """Return task, part and folder of all label files in the set, which may lack some tasks."""
    folders = [(task, part, _part_folders(root, task, part)) for task in TASKS for part in PARTS]
    return [(task, part, candidates[0]) for task, part, candidates in folders if len(candidates) == 1]


def part_videos(root: Path) -> dict[str, int]:
    """Return the part, 0 to 4, of every video that any task lists."""
    validation_groups, lengths = set(), defaultdict(int)
    for _, part, folder in _every_part(root):
        for path in _list_label_files(folder):
            lengths[path.stem] = max(lengths[path.stem], read_bytes(path).count(b"\n"))
            if part == "validation":
                validation_groups.add(group_of(path.stem))
    group_lengths = defaultdict(int)
    for id, length in lengths.items():
        group_lengths[group_of(id)] += length
    parts, totals = dict.fromkeys(validation_groups, 0), np.zeros(FOLDS - 1, dtype=int)
    for group in sorted(group_lengths, key=lambda group: (-group_lengths[group], group)):
        if group not in parts:  # the longest first, each to the shortest part so far
            shortest = int(np.argmin(totals))
            totals[shortest] += group_lengths[group]
            parts[group] = shortest + 1
    return {id: parts[group_of(id)] for id in lengths}


def group_of(id: str) -> str:
    """Return the name of the video that shows a person."""
    return id.removesuffix("_left").removesuffix("_right")


def describe_videos(videos: list[Video]) -> list[str]:
    """Return lines for the log: the content of a set, and what is left out of it."""
    frames, missing = sum(map(len, videos)), sum(int(video.missing.sum()) for video in videos)
    lines = [f"{plural(len(videos), 'video')}, {plural(frames, 'frame')}, {frames - missing} with a file"]
    tasks = [task for task in TASKS if any(task in video.labels for video in videos)]
    lines += [_describe_task(task, [video.labels[task] for video in videos if task in video.labels]) for task in tasks]
    unlabelled_ids = [video.id for video in videos if not video.is_labelled]
    faceless_ids = [video.id for video in videos if video.missing.all()]
    for ids, lack in ((unlabelled_ids, "any valid label"), (faceless_ids, "any frame file")):
        if ids:
            lines.append(f"{plural(len(ids), 'video')} without {lack}, left out of training: {some(ids)}")
    spare = sum(video.spare_files for video in videos)
    if spare:
        ids = some([video.id for video in videos if video.spare_files])
        lines.append(f"{plural(spare, 'frame file')} beyond the last label line, left out: {ids}")
    return lines


def _describe_task(task: str, labels: list[np.ndarray]) -> str:
    valid = [rows[find_labelled(task, rows)] for rows in labels]
    rows, total = np.concatenate(valid), sum(map(len, labels))
    num_videos = sum(len(rows) > 0 for rows in valid)
    text = f"{task}: {len(rows)} of {plural(total, 'frame')} labelled, in {plural(num_videos, 'video')}"
    if not len(rows):
        return text
    means = rows.mean(0, dtype=np.float64)
    if task == "expr":
        counts = np.bincount(rows, minlength=len(EXPRESSIONS))
        details = [f"{name} {count}" for name, count in zip(EXPRESSIONS, counts, strict=True)]
    elif task == "au":
        details = [f"{name} {100 * mean:.1f} %" for name, mean in zip(ACTION_UNITS, means, strict=True)]
    else:
        columns = zip(TASKS[task].names, means, rows.std(0, dtype=np.float64), strict=True)
        details = [f"{name} {mean:.2f} ± {deviation:.2f}" for name, mean, deviation in columns]
    return f"{text}; {', '.join(details)}"


def _find_label_files(folders: dict[str, list[Path]]) -> dict[str, dict[str, Path]]:
    """Return every label file in the folders of each task, by video and task."""
    videos: dict[str, dict[str, Path]] = defaultdict(dict)
    for task, task_folders in folders.items():
        for path in [path for folder in task_folders for path in _list_label_files(folder)]:
            first = videos[path.stem].setdefault(task, path)
            if first != path:
                raise UserError(f"{path}: the same video as {first}; remove one of them")
    return dict(sorted(videos.items(), key=lambda item: numeric_key(item[0])))


def _list_label_files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.glob("*.txt") if not path.name.startswith("."))
    if not files:
        raise UserError(f"{folder}: holds no label file <video>.txt")
    return files


def _make_videos(label_files: dict[str, dict[str, Path]], frames_dir: Path | None, tasks: list[str]) -> list[Video]:
    videos = [_make_video(id, files, frames_dir, tasks) for id, files in label_files.items()]
    if not any(video.is_labelled for video in videos):
        first = next(path for files in label_files.values() for path in files.values())
        raise UserError(f"{first.parent}: none of its {len(videos)} videos has a valid label")
    return videos


def _make_video(id: str, files: dict[str, Path], frames_dir: Path | None, tasks: list[str]) -> Video:
    rows = {task: read_labels(path, task) for task, path in files.items()}
    longest = max(rows, key=lambda task: len(rows[task]))
    path, frames = files[longest], len(rows[longest])
    for task, task_rows in rows.items():
        if frames - len(task_rows) > TOLERANCE:
            raise UserError(f"{files[task]}: {len(task_rows)} label lines, {path} has {frames}")
    labels = {task: lengthen(task, rows.get(task, unlabelled(task, 0)), frames) for task in tasks}
    if frames_dir is None:
        return Video(id, None, (None,) * frames, labels)
    folder = frames_dir / id
    if not folder.is_dir():
        raise UserError(f"{path}: no folder {folder} with its frames")
    by_number = number_files(folder)
    last = max(by_number, default=0)
    if last > frames + TOLERANCE:
        counts = f"{frames} label lines for {len(by_number)} frame files up to {by_number[last]}"
        raise UserError(f"{path}: {counts} in {folder}; do they belong together?")
    # interned: millions of frames share a few thousand names
    names = tuple(sys.intern(by_number[number]) if number in by_number else None for number in range(1, frames + 1))
    return Video(id, folder, names, labels, spare_files=sum(number > frames for number in by_number))


def number_files(folder: Path) -> dict[int, str]:
    """Return the frame files of a video by their numbers."""
    by_number: dict[int, str] = {}
    for name in list_frames(folder):
        stem = name.rpartition(".")[0]
        if not (stem.isascii() and stem.isdecimal() and int(stem) > 0):
            raise UserError(f"{folder / name}: frames are named by their number from 1, such as 00001.jpg")
        first = by_number.setdefault(int(stem), name)
        if first != name:
            raise UserError(f"{folder}: {first} and {name} are both frame {int(stem)}; remove one")
    return by_number
