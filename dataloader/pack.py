"""Writes the crops of every frame of a set once, into a few large files that training reads by memory map.

    python -m dataloader.pack --out data/pack --root-dir data/raer-sim --train-annotation annotation/train.txt \
        --test-annotation annotation/test.txt --bounding-box-face annotation/face.json \
        --bounding-box-body annotation/body.json

Then add ``--pack data/pack`` to the flags of main.py. Interrupted at whatever moment, the same command goes on.
"""

import contextlib
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from dataloader.annotation import Clip, read_annotation
from dataloader.boxes import body_hits, face_hits, read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import FrameFiles, Views, boxes_of
from dataloader.frames import BadFrame
from dataloader.loader import Loader, start_worker
from dataloader.pack_files import PackFiles
from dataloader.packed import STREAMS, digest, hash_frames, stamps
from dataloader.transforms import PLAIN
from utils.command import run_command, writing_to
from utils.config import option, parse, resolve
from utils.errors import UserError
from utils.processes import default_workers
from utils.runlog import progress_bar
from utils.words import plural

LISTS = ("train_annotation", "val_annotation", "test_annotation")
SAMPLES = 8  # crops that are encoded to tell how large JPEGs will be


@dataclass(frozen=True)
class PackOptions:
    out: str | None = option(None, "the folder to write: new, empty, or an unfinished pack", metavar="DIR")
    format: Literal["jpeg", "raw"] = option("jpeg", "jpeg: about a tenth of the size; raw: every bit, and quicker")
    quality: int = option(95, "of the JPEGs", minimum=1, maximum=100)
    root_dir: str | None = option(None, "as main.py's", metavar="DIR")
    dataset: str = option("RAER", "as main.py's")
    class_texts: str | None = option(None, "as main.py's", metavar="FILE")
    train_annotation: str | None = option(None, "a list of clips to pack", metavar="FILE")
    val_annotation: str | None = option(None, "another", metavar="FILE")
    test_annotation: str | None = option(None, "another", metavar="FILE")
    bounding_box_face: str | None = option(None, "as main.py's", metavar="FILE")
    bounding_box_body: str | None = option(None, "as main.py's", metavar="FILE")
    crop_body: bool | None = option(None, "as main.py's: context = the body box (default: if boxes given)")
    missing_face: Literal["nearest", "frame"] = option("nearest", "as main.py's")
    image_size: int = option(224, "as main.py's", minimum=16, maximum=1024)
    decode: Literal["exact", "scaled"] = option("exact", "as main.py's")
    on_bad_frame: Literal["error", "skip"] = option("error", "as main.py's")
    workers: int | None = option(
        None, "processes that decode", words={"auto": None}, minimum=0, maximum=256, metavar="N|auto"
    )


class PackedClips(Dataset):
    """One clip an item: what the index says of it, and its bytes."""

    def __init__(self, clips: list[Clip], views: Views, options: PackOptions) -> None:
        self.clips, self.views, self.options, self.source = clips, views, options, FrameFiles(views)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], torch.Tensor]:
        clip = self.clips[index]
        before = stamps(clip)  # before the frames are read: a file that changes meanwhile shows
        wanted = np.arange(len(clip.frames))
        squares = self.source.squares(clip, wanted, {stream: [PLAIN] for stream in STREAMS})
        pixels = np.concatenate([squares.pixels[stream][0].numpy() for stream in STREAMS])  # (2 N, 3, S, S)
        entry = {
            "key": clip.key,
            "label": clip.label,
            "frames": list(clip.frames),
            "stamps": before,
            "content": hash_frames(clip),
            "boxes": dict(zip(STREAMS, map(digest, boxes_of(clip, self.views)), strict=True)),
            "face_sizes": squares.face_sizes.tolist(),
            "replaced": squares.replaced,
        }
        if self.options.format == "raw":
            return entry, torch.from_numpy(pixels.reshape(-1))
        encoded = [encode(square, self.options.quality) for square in pixels]
        return entry | {"lengths": [len(e) for e in encoded]}, torch.from_numpy(np.concatenate(encoded))


def encode(square: np.ndarray, quality: int) -> np.ndarray:
    """(3, S, S) → JPEG with its colours at full resolution: crops are small, and faces are red."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    return cv2.imencode(".jpg", np.ascontiguousarray(square[::-1].transpose(1, 2, 0)), settings)[1].ravel()


def pack(options: PackOptions) -> None:
    """The whole pack, or the rest of one."""
    started, clips, lists = time.time(), *read_clips(options)
    views = read_views(options, clips)
    header = {
        "settings": {
            "format": options.format,
            "quality": options.quality if options.format == "jpeg" else None,
            "image_size": options.image_size,
            "decode": options.decode,
            "on_bad_frame": options.on_bad_frame,
        },
        "lists": lists,
        "clips": digest([[clip.key, clip.label] for clip in clips]),
        "boxes": digest([boxes_of(clip, views) for clip in clips]),
    }
    with PackFiles(Path(options.out), header) as files:
        done = files.resume({clip.key: clip for clip in clips})
        if files.is_complete:
            print(f"{options.out} already holds this pack: nothing to do")
            return
        left = clips[done:]
        if done:
            print(f"going on: {done} of {plural(len(clips), 'clip')} packed")
        bytes_left = estimate(left, views, options)
        files.require_room(bytes_left)
        print(
            f"packing {plural(sum(len(c.frames) for c in left), 'frame')} of {plural(len(left), 'clip')}: "
            f"{megabytes(bytes_left)} to write"
        )
        write(files, PackedClips(left, views, options), options)
        size = files.finish()
    took = f"{time.time() - started:.0f} s"
    print(f"packed {plural(len(clips), 'clip')}, {megabytes(size)}, in {took}: add --pack {options.out}")


def write(files: PackFiles, dataset: PackedClips, options: PackOptions) -> None:
    workers = default_workers() if options.workers is None else options.workers
    loader = Loader(dataset, batch_size=None, num_workers=min(workers, len(dataset)), worker_init_fn=start_worker)
    try:
        for entry, payload in progress_bar(loader, len(dataset), "pack"):
            files.append(entry, payload.numpy())
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise UserError("a decoding process died (out of memory?): lower --workers; the same command goes on") from None


def read_clips(options: PackOptions) -> tuple[list[Clip], dict[str, str]]:
    """Every clip of the lists once, and a hash of each list."""
    if options.out is None:
        raise UserError("--out DIR is missing: where to write the pack")
    named = {name: getattr(options, name) for name in LISTS if getattr(options, name)}
    if not named:
        raise UserError("no list of clips: name --train-annotation, --val-annotation or --test-annotation")
    classes = load_classes(options.dataset, options.class_texts)
    clips: dict[str, Clip] = {}
    read = {name: read_annotation(file, options.root_dir, classes) for name, file in named.items()}
    for name, found in read.items():
        for clip in found:
            if clips.setdefault(clip.key, clip).label != clip.label:
                raise UserError(f"{named[name]}: {clip.key} has another label than in the list before; correct one")
    lists = {name: digest([[clip.key, clip.label] for clip in found]) for name, found in read.items()}
    return list(clips.values()), lists


def read_views(options: PackOptions, clips: list[Clip]) -> Views:
    crop_body = options.bounding_box_body is not None if options.crop_body is None else options.crop_body
    if crop_body and options.bounding_box_body is None:
        raise UserError("--crop-body needs --bounding-box-body FILE, the boxes to crop to")
    root, face, body = options.root_dir, {}, {}
    if options.bounding_box_face:
        flat = load_classes(options.dataset, options.class_texts).has_flat_boxes
        face = read_face_boxes(options.bounding_box_face, root, flat)
        _require_hits(face_hits(clips, face), "--bounding-box-face")
    if crop_body:
        body = read_body_boxes(options.bounding_box_body, root)
        _require_hits(body_hits(clips, body), "--bounding-box-body")
    return Views(
        size=options.image_size,
        missing_face=options.missing_face,
        on_bad_frame=options.on_bad_frame,
        decode=options.decode,
        root=root,
        face_boxes=face,
        body_boxes=body,
    )


def _require_hits(hits: Any, flag: str) -> None:
    print(hits)
    if hits.frames_with_box == 0:
        raise UserError(f"{flag}: no frame of the lists has a box in it; do its keys name the same folders and files?")


def estimate(clips: list[Clip], views: Views, options: PackOptions) -> int:
    """Bytes to write: known for raw, told from a few frames for JPEG."""
    frames = sum(len(clip.frames) for clip in clips)
    if options.format == "raw":
        return frames * 2 * 3 * options.image_size**2
    source, wanted = FrameFiles(views), {stream: [PLAIN] for stream in STREAMS}
    chosen = clips[:: max(len(clips) // SAMPLES, 1)][:SAMPLES]
    sizes = []
    for clip in chosen:
        with contextlib.suppress(BadFrame):  # one that cannot be read tells nothing; packing will say so
            squares = source.squares(clip, np.arange(1), wanted).pixels
            sizes += [len(encode(squares[stream][0, 0].numpy(), options.quality)) for stream in STREAMS]
    return int(2 * frames * np.mean(sizes)) if sizes else 0


def megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} KB"


def main(arguments: list[str] | None = None) -> int:
    def run() -> int:
        description = (__doc__ or "").partition("\n")[0]
        given = parse({"pack": PackOptions}, sys.argv[1:] if arguments is None else arguments, description)
        options = resolve({"pack": PackOptions}, given)["pack"]
        with writing_to("--out", options.out):
            pack(options)
        return 0

    return run_command(run, "stopped by Ctrl-C; the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
