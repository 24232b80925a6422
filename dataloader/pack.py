"""Write the crops of every frame of a set into a few large files that training reads by memory map.

    python -m dataloader.pack --out data/pack --root-dir data/raer-sim --train-annotation annotation/train.txt \
        --test-annotation annotation/test.txt --bounding-box-face annotation/face.json \
        --bounding-box-body annotation/body.json

Then add ``--pack data/pack`` to the flags of main.py. After an interruption the same command continues: crops are
appended first, then a line of ``journal.jsonl`` states that the clip is complete, and ``index.json`` is written last.
"""

import base64
import contextlib
import json
import math
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from dataloader.annotation import Clip, read_annotation
from dataloader.audit.options import SetOptions, check_fold, each_fold, ignored_text, read_classes, training_advice
from dataloader.boxes import check_boxes, every_frame, read_body_boxes, read_face_boxes
from dataloader.classes import Classes
from dataloader.clips import FrameFiles, Squares, Views, boxes_of
from dataloader.frames import BadFrame, hash_files
from dataloader.loader import Loader
from dataloader.packed import (
    FORMAT,
    INDEX,
    JOURNAL,
    STREAMS,
    PackedClip,
    PackSettings,
    changed_frame,
    crop_checksum,
    digest,
    read_index,
    seal,
    stamps,
)
from dataloader.transforms import PLAIN
from utils.command import run_command, writing_to
from utils.config import flag_of, option, read_with_recipes
from utils.errors import UserError
from utils.files import acquire_lock, write_text
from utils.json_files import parse_json
from utils.processes import default_workers
from utils.runlog import progress_bar
from utils.text import plural

LOCK = "journal.lock"
FILE_BYTES = 2**30  # the next clip begins a new file once a file has this size
FRAMES_TOGETHER = 256  # most frames of several clips that are in memory together, about 100 MB
SAMPLES = 8  # clips of which one frame is encoded to estimate the size of JPEGs


@dataclass(frozen=True)
class PackOptions(SetOptions):
    out: str | None = option(None, "folder to write: new, empty, or an unfinished pack", metavar="DIR")
    format: Literal["jpeg", "raw"] = option("jpeg", "jpeg is a tenth of the size; raw keeps every bit and reads faster")
    quality: int = option(95, "quality of the JPEGs", needs={"format": ("jpeg",)}, minimum=1, maximum=100)
    crop_body: bool | None = option(None, "cut the context to the body box (default: if there are body boxes)")
    missing_face: Literal["nearest", "frame"] = option("nearest", "box of a frame without a face, as for main.py")
    image_size: int = option(224, "side of the crops in pixels, as for main.py", minimum=16, maximum=1024)
    decode: Literal["exact", "scaled"] = option("exact", "how frames are decoded, as for main.py")
    on_bad_frame: Literal["error", "skip"] = option("error", "what to do with unreadable frames, as for main.py")
    workers: int | None = option(
        None, "number of processes that decode frames", words={"auto": None}, minimum=0, maximum=256, metavar="N|auto"
    )

    @property
    def settings(self) -> dict[str, Any]:
        """The options that the bytes of a pack depend on, besides clips and boxes."""
        return {
            "format": self.format,
            "quality": self.quality if self.format == "jpeg" else None,
            "image_size": self.image_size,
            "decode": self.decode,
            "on_bad_frame": self.on_bad_frame,
        }


def pack(options: PackOptions) -> None:
    """Write a pack, or the rest of an unfinished one."""
    started = time.time()
    if options.out is None:
        raise UserError("--out DIR is missing: where to write the pack")
    check_fold(options)
    folds = each_fold(options)
    for name, path in options.fold_paths.items():
        if len(folds) > 1 and not name.endswith("_annotation"):
            raise UserError(f"{flag_of(name)} {path}: all folds share one pack and its boxes; name one with --fold N")
    folder, classes = Path(str(folds[0].out)), read_classes(folds)
    clips, lists = read_clips(folds, classes)
    views = read_views(folds[0], clips, classes)
    header = {
        "settings": options.settings,
        "lists": lists,
        "clips": digest([[clip.key, clip.label] for clip in clips]),
        "boxes": digest([boxes_of(clip, views) for clip in clips]),
    }
    by_key = {clip.key: clip for clip in clips}
    if (folder / INDEX).exists():
        require_finished(folder, header, by_key)
        print(f"{folder} already holds this pack: nothing to do")
        print(*next_commands(options, folder), sep="\n")
        return
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / JOURNAL).exists():
        raise UserError(f"--out {folder}: holds other files; name a new or empty folder")
    (folder / JOURNAL).touch()
    with acquire_lock(folder / LOCK, f"--out {folder}: another process is writing this pack"):
        writer = PackWriter(folder, header)
        num_done = writer.resume(by_key)
        done = {entry["key"] for entry in writer.entries}
        remaining = [clip for clip in clips if clip.key not in done]
        if num_done:
            print(f"continuing: {num_done} of {plural(len(clips), 'clip')} packed")
        size = estimate_size(remaining, views, options)
        free = shutil.disk_usage(folder).free
        if size > free:
            raise UserError(f"--out {folder}: needs about {megabytes(size)}, the disk has {megabytes(free)} left")
        frames = plural(sum(len(clip.frames) for clip in remaining), "frame")
        print(f"packing {frames} of {plural(len(remaining), 'clip')}: {megabytes(size)} to write")
        write_crops(writer, ClipCrops(remaining, views, options), options.workers)
        writer.finish()
    (folder / LOCK).unlink(missing_ok=True)
    total, seconds = megabytes(sum(writer.sizes.values())), time.time() - started
    print(f"packed {plural(len(clips), 'clip')}, {total}, in {seconds:.0f} s")
    print(*next_commands(options, folder), sep="\n")


def next_commands(options: PackOptions, folder: Path) -> list[str]:
    """Return lines with the commands that train from the pack, or with the flag that reads it.

    A training needs a training and a test list, and a recipe for the size of the crops.
    """
    words = options.words
    for name in ("missing_face", "decode", "on_bad_frame"):
        words += [flag_of(name), getattr(options, name)]
    if options.crop_body is not None:
        words.append("--crop-body" if options.crop_body else "--no-crop-body")
    has_lists = {"train", "test"} <= set(options.lists)
    commands = training_advice(shlex.join([*words, "--pack", str(folder)]), options.image_size) if has_lists else []
    return commands or [f"to read the pack, add to the flags of main.py: --pack {shlex.quote(str(folder))}"]


def read_clips(folds: list[PackOptions], classes: Classes) -> tuple[list[Clip], dict[str, str]]:
    """Return every clip of the lists of all folds once, and a hash of each list."""
    if not folds[0].lists:
        raise UserError("no list of clips: name --train-annotation, --val-annotation or --test-annotation")
    clips: dict[str, Clip] = {}
    hashes = {}
    for options in folds:
        suffix = f" of fold {options.fold}" if len(folds) > 1 else ""
        for split, file in options.lists.items():
            split_clips = read_annotation(file, options.root_dir, classes.of_split(split), say=print)
            hashes[f"{split}_annotation{suffix}"] = digest([[clip.key, clip.label] for clip in split_clips])
            for clip in split_clips:
                if clips.setdefault(clip.key, clip).label != clip.label:
                    raise UserError(f"{file}: {clip.key} has another label than in the list before; correct one")
    return list(clips.values()), hashes


def read_views(options: PackOptions, clips: list[Clip], classes: Classes) -> Views:
    face_file, body_file = options.bounding_box_face, options.bounding_box_body
    crop_body = body_file is not None if options.crop_body is None else options.crop_body
    if crop_body and body_file is None:
        raise UserError("--crop-body needs --bounding-box-body FILE, the boxes to crop to")
    faces = read_face_boxes(face_file, options.root_dir, classes.has_flat_boxes) if face_file else {}
    bodies = read_body_boxes(body_file, options.root_dir) if crop_body else {}
    if face_file:
        print(check_boxes(clips, faces, "face"))
    if crop_body:
        print(check_boxes(clips, every_frame(bodies), "body"))
    return Views(
        size=options.image_size,
        missing_face=options.missing_face,
        on_bad_frame=options.on_bad_frame,
        decode=options.decode,
        root=options.root_dir,
        face_boxes=faces,
        body_boxes=bodies,
    )


def group_by_video(clips: list[Clip]) -> list[list[Clip]]:
    """Return the clips in groups that are decoded together: clips of one video, up to FRAMES_TOGETHER frames."""
    by_video: dict[Path, list[Clip]] = {}
    for clip in clips:
        by_video.setdefault(clip.folder if clip.is_video else clip.folder / clip.key, []).append(clip)
    groups: list[list[Clip]] = []
    for video_clips in by_video.values():
        groups.append([])
        for clip in sorted(video_clips, key=lambda clip: clip.span or (0.0, math.inf)):
            if groups[-1] and sum(len(other.frames) for other in (*groups[-1], clip)) > FRAMES_TOGETHER:
                groups.append([])
            groups[-1].append(clip)
    return groups


class ClipCrops(Dataset):
    """``dataset[i]``: the index entries and the bytes of the crops of clips that are decoded together."""

    def __init__(self, clips: list[Clip], views: Views, options: PackOptions) -> None:
        self.groups, self.views, self.source = group_by_video(clips), views, FrameFiles(views)
        self.num_clips = len(clips)
        self.format, self.quality = options.format, options.quality

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> list[tuple[dict[str, Any], torch.Tensor]]:
        clips, variants = self.groups[index], {stream: [PLAIN] for stream in STREAMS}
        before = [stamps(clip) for clip in clips]  # before frames are read, so that a later change of a file is noticed
        if len(clips) > 1:
            squares = self.source.squares_together(clips, variants)
        else:
            squares = [self.source.squares(clips[0], np.arange(len(clips[0].frames)), variants)]
        content = hash_files(clips[0].paths, all_bytes=True)  # clips of one video have the same file
        return [self._entry(*row, content) for row in zip(clips, before, squares, strict=True)]

    def _entry(
        self, clip: Clip, before: list[list[int]], squares: Squares, content: str
    ) -> tuple[dict[str, Any], torch.Tensor]:
        pixels = np.concatenate([squares.pixels[stream][0].numpy() for stream in STREAMS])  # (2 N, 3, S, S)
        entry = {
            "key": clip.key,
            "label": clip.label,
            "frames": list(clip.frames),
            "stamps": before,
            "content": content,
            "boxes": dict(zip(STREAMS, map(digest, boxes_of(clip, self.views)), strict=True)),
            "face_sizes": squares.face_sizes.tolist(),
            "replaced": squares.replaced,
        }
        if self.format == "raw":
            return entry | {"checksums": checksums(pixels)}, torch.from_numpy(pixels.reshape(-1))
        encoded = [encode(square, self.quality) for square in pixels]
        entry |= {"lengths": [len(data) for data in encoded], "checksums": checksums(encoded)}
        return entry, torch.from_numpy(np.concatenate(encoded))


def checksums(crops: Iterable[np.ndarray]) -> str:
    """Return the checksums of all crops, four bytes each, as one base64 text: it is read faster than numbers."""
    return base64.b64encode(np.array([crop_checksum(crop) for crop in crops], dtype="<u4").tobytes()).decode()


def encode(square: np.ndarray, quality: int) -> np.ndarray:
    """Return (3, S, S) as a JPEG with colours at full resolution, because crops are small and faces are red.

    Its own Huffman tables make it 5 % smaller and faster to read, with the same pixels.
    """
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", cv2.merge(tuple(square[::-1])), settings)[1].ravel()


def estimate_size(clips: list[Clip], views: Views, options: PackOptions) -> int:
    """Return the bytes to write: exact for raw, estimated from a few frames for JPEG."""
    num_frames = sum(len(clip.frames) for clip in clips)
    if options.format == "raw":
        return num_frames * 2 * 3 * options.image_size**2
    source, sizes = FrameFiles(views), []
    for clip in clips[:: max(len(clips) // SAMPLES, 1)][:SAMPLES]:
        with contextlib.suppress(BadFrame):  # packing itself reports it
            squares = source.squares(clip, np.arange(1), {stream: [PLAIN] for stream in STREAMS}).pixels
            sizes += [len(encode(squares[stream][0, 0].numpy(), options.quality)) for stream in STREAMS]
    return int(2 * num_frames * np.mean(sizes)) if sizes else 0


def megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} KB"


def write_crops(writer: "PackWriter", dataset: ClipCrops, workers: int | None) -> None:
    workers = default_workers() if workers is None else workers
    loader = Loader(dataset, batch_size=None, num_workers=min(workers, len(dataset)))
    try:
        entries = (entry for group in loader for entry in group)
        for entry, payload in progress_bar(entries, dataset.num_clips, "pack"):
            writer.append(entry, payload.numpy())
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError("a decoding process died (out of memory?): lower --workers and run the command again") from None


def require_finished(folder: Path, header: dict[str, Any], clips: dict[str, Clip]) -> None:
    """Raise a UserError unless the finished pack in ``folder`` has these options and its frames are unchanged."""
    content = read_index(folder)[0]
    _require_same(folder, content | {"clips": content.get("packed")}, header, "holds a pack")
    for entry in content["clips"]:
        if change := changed_frame(clips[entry["key"]], entry):
            raise UserError(f"--out {folder}: holds a pack, but {change}; remove it to pack again")
    for name in (JOURNAL, LOCK):  # left if the process was killed after the index was written
        (folder / name).unlink(missing_ok=True)


def _require_same(folder: Path, existing: dict[str, Any], header: dict[str, Any], subject: str) -> None:
    """Raise a UserError with the first difference between the existing pack and the requested one."""
    if existing.get("format") != FORMAT:
        raise UserError(f"--out {folder}: {subject} of another format; name another folder or remove it")
    differences = [
        f"with --{name.replace('_', '-')} {existing['settings'].get(name)}, not {value}"
        for name, value in header["settings"].items()
        if existing["settings"].get(name) != value
    ]
    reasons = {"lists": "of other lists", "clips": "of other clips", "boxes": "cut by other boxes"}
    differences += [reason for name, reason in reasons.items() if existing.get(name) != header[name]]
    if differences:
        raise UserError(f"--out {folder}: {subject} {differences[0]}; name another folder or remove it")


class PackWriter:
    """Writes a pack.

    A clip is complete when its line of the journal is on the disk, which is written after its crops. ``resume`` cuts
    off everything behind the last complete clip, such as the rest of a killed process.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder, self.header = folder, header
        self.entries: list[dict[str, Any]] = []
        self.sizes: dict[str, int] = {}  # bytes of each file of crops

    def resume(self, clips: dict[str, Clip]) -> int:
        """Return the number of complete, undamaged clips; everything behind them is cut off."""
        lines, end = _sound_lines(self.folder / JOURNAL), 0
        if lines:
            head, end = lines[0]
            _require_same(self.folder, head, self.header, "holds an unfinished pack")
        for entry, line_end in lines[1:]:
            crops = self.folder / entry["file"]
            if not crops.is_file() or crops.stat().st_size < entry["offset"] + entry["bytes"]:
                break
            if changed_frame(clips[entry["key"]], entry):
                break
            self._count(entry)
            end = line_end
        os.truncate(self.folder / JOURNAL, end)
        if not lines:
            self._append_line({"format": FORMAT, **self.header})
        for path in self.folder.glob("crops-*.bin"):
            if path.name not in self.sizes:
                path.unlink()
            else:
                os.truncate(path, self.sizes[path.name])
        (self.folder / f"{INDEX}.part").unlink(missing_ok=True)
        return len(self.entries)

    def append(self, entry: dict[str, Any], payload: np.ndarray) -> None:
        """Write the crops of a clip, then its line of the journal."""
        name = next(reversed(self.sizes), None)
        if name is None or self.sizes[name] >= FILE_BYTES:
            name = f"crops-{len(self.sizes):03d}.bin"
        entry = entry | {"file": name, "offset": self.sizes.get(name, 0), "bytes": len(payload)}
        append_bytes(self.folder / name, payload.data)
        self._append_line(entry)
        self._count(entry)

    def finish(self) -> None:
        """Write the index and remove the journal."""
        files = [{"name": name, "bytes": size} for name, size in self.sizes.items()]
        content = {"format": FORMAT, **self.header, "files": files, "packed": self.header["clips"]}
        write_text(self.folder / INDEX, seal(content | {"clips": self.entries}))
        (self.folder / JOURNAL).unlink()

    def _append_line(self, content: dict[str, Any]) -> None:
        append_bytes(self.folder / JOURNAL, (json.dumps(content) + "\n").encode())

    def _count(self, entry: dict[str, Any]) -> None:
        self.entries.append(entry)
        self.sizes[entry["file"]] = entry["offset"] + entry["bytes"]


def append_bytes(path: Path, content: Any) -> None:
    """Append to a file, and wait until it is on the disk."""
    view = memoryview(content)
    with open(path, "ab", buffering=0) as file:
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())


class JournalHead(TypedDict):
    """The first line of a journal; each other line is a PackedClip."""

    settings: PackSettings


def _sound_lines(journal: Path) -> list[tuple[dict[str, Any], int]]:
    """Return the complete lines of a journal with their end positions, up to the first damaged one."""
    lines, end = [], 0
    for line in journal.read_bytes().splitlines(keepends=True):
        end += len(line)
        try:
            kind = PackedClip if lines else JournalHead
            content = parse_json(line, kind, str(journal)) if line.endswith(b"\n") else None
        except UserError:
            break
        if content is None:
            break
        lines.append((content, end))
    return lines


def main(arguments: list[str] | None = None) -> int:
    def run() -> int:
        description = (__doc__ or "").partition("\n")[0]
        options, ignored = read_with_recipes(PackOptions, sys.argv[1:] if arguments is None else arguments, description)
        if ignored:
            print(ignored_text("dataloader.pack", ignored))
        with writing_to("--out", options.out):
            pack(options)
        return 0

    return run_command(run, "stopped by Ctrl-C; the same command continues")


if __name__ == "__main__":
    sys.exit(main())
