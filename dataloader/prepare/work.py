"""All videos through the cutter, several at a time."""

import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import cv2

from dataloader.detect import Detector, open_detector
from dataloader.prepare import store
from dataloader.prepare.cut import CutClip, Cutter, write_clip
from dataloader.prepare.notes import IMAGES, Stored
from dataloader.prepare.options import PrepareOptions
from dataloader.prepare.sources import Source
from utils.errors import UserError
from utils.processes import ordered_map
from utils.runlog import progress_bar
from utils.words import plural

Made = dict[str, Any]  # "clips", "dropped", "damaged" of a video; or its "error"


def cut_all(
    sources: list[Source],
    stored: list[Stored],
    out: Path,
    options: PrepareOptions,
    make_detector: Callable[..., Detector] = open_detector,
) -> list[Made]:
    """What was made of every video, in their order; what an earlier call did is not repeated."""
    known = {one.name: one.made for one in stored}
    made = [
        known[source.name] if source.is_done and store.is_whole(out, known[source.name]) else None for source in sources
    ]
    left = [place for place, found in enumerate(made) if found is None]
    if len(left) < len(sources):
        print(f"going on: {len(sources) - len(left)} of {plural(len(sources), 'video')} done")
    for source, found in zip(sources, made, strict=True):
        if found is not None:
            store.renew(out, source, found)
    with ordered_map(min(options.workers, len(left)), begin_worker) as run:
        cut = run(partial(cut_video, out, options, make_detector), [sources[place] for place in left])
        for place, found in zip(left, progress_bar(cut, len(left), "videos"), strict=True):
            made[place] = found
    return made


def begin_worker() -> None:
    """Ends with the process that started it: whoever calls again would meet it in the same folders."""
    cv2.setNumThreads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def cut_video(out: Path, options: PrepareOptions, make_detector: Callable[..., Detector], source: Source) -> Made:
    """One bad video does not stop the others."""
    place = store.begin(out, source)
    cutter = Cutter(source, options, make_detector(options.face_model, options.persons))
    made: Made = {"clips": [], "dropped": []}
    try:
        for number, clip in enumerate(cutter.clips(), 1):
            if clip.reason is not None:
                made["dropped"].append({"from": clip.seconds[0], "to": clip.seconds[1], "reason": clip.reason})
                continue
            entry = entry_of(clip, number, source, options)
            write_clip(clip, place / entry["folder"])
            made["clips"].append(entry)
    except UserError as error:
        return {"error": str(error), "clips": [], "dropped": []}
    return store.finish(out, source, place, made | {"damaged": cutter.damaged})


def entry_of(clip: CutClip, number: int, source: Source, options: PrepareOptions) -> dict[str, Any]:
    person = source.person if options.persons == 1 else f"{source.person}_p{clip.person or 0}"
    return {
        "folder": f"{IMAGES}/{person}/{source.name}_{number:04d}",
        "person": person,
        "frames": len(clip.samples),
        "part": clip.part,
        "from": clip.seconds[0],
        "to": clip.seconds[1],
        "faces": clip.face_boxes,
        "body": clip.body_box,
    }
