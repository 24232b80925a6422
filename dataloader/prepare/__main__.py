"""Raw videos, or folders of frames, into what training reads: frames, face and body boxes, lists.

    python -m dataloader.prepare VIDEOS --out data/mine

Interrupted at whatever moment, the same command goes on. See docs/own_videos.md.
"""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataloader.audit.__main__ import main as audit
from dataloader.detect import Detector, open_detector
from dataloader.prepare import lists, store
from dataloader.prepare.options import PrepareOptions, read_options
from dataloader.prepare.sources import Source, find_videos, make_sources
from dataloader.prepare.work import cut_all
from utils.command import run_command, writing_to
from utils.errors import UserError
from utils.words import plural, some


def prepare(options: PrepareOptions, make_detector: Callable[..., Detector]) -> int:
    """The set of the videos named; 1 where some of them could not be read."""
    out = Path(options.out)
    videos, others = find_videos(options.videos)
    named_now = make_sources(videos, options.labels)
    sources = [source for source in named_now if source.parts]
    left_out = [source.path for source in named_now if not source.parts]
    numbers, own = lists.find_classes(sources, options)
    make_detector(options.face_model, options.persons)  # a bad file ends here, not in every video
    store.open_folder(out, options)
    store.settle_others(out, named_now, options.drop_others)
    if others:
        print(f"{plural(len(others), 'file')} left alone, no video: {some(others, 3)}")
    made = cut_all(sources, out, options, make_detector)
    failed = [video["error"] for video in made if "error" in video]
    if len(failed) == len(made):
        raise UserError(failed[0] + (f" (and {plural(len(failed) - 1, 'other')} like it)" if len(failed) > 1 else ""))
    counts = lists.write_lists(out, made, numbers, options.test_share)
    if own:
        lists.write_classes(out, own)
        print(f"classes, by their folders or labels: {', '.join(own)}; their texts: {out / 'annotation/classes.json'}")
    dropped = lists.write_dropped(out, sources, made, left_out)
    tell(out, sources, made, counts, dropped)
    if numbers and options.audit and counts["train"]:
        audit(data_flags(out, counts, options, bool(own)))
    print(advice(out, counts, options, bool(own)))
    return 1 if failed else 0


def tell(out: Path, sources: list[Source], made: list[dict[str, Any]], counts: dict[str, int], dropped: int) -> None:
    """What came of every video that is not as it should be, and how much there is."""
    for source, video in zip(sources, made, strict=True):
        if "error" in video:
            print(f"left out: {video['error']}")
        elif video["damaged"]:
            print(f"damaged, what could be read is used: {source.path}: {video['damaged']}")
    clips = [clip for video in made for clip in video["clips"]]
    frames, faces = sum(c["frames"] for c in clips), sum(len(c["faces"]) for c in clips)
    persons = len({clip["person"] for clip in clips})
    named = ", ".join(f"{name}.txt {count}" for name, count in counts.items())
    print(
        f"{plural(len(clips), 'clip')} of {plural(persons, 'person')} ({named}); a face in {faces} of {frames} frames"
    )
    if dropped:
        print(f"{dropped} stretches or videos left out: {out / 'dropped.csv'} says which and why")
    if not clips:
        raise UserError(f"no clip is left of {plural(len(made), 'video')}; {out / 'dropped.csv'} says why")


def data_flags(out: Path, counts: dict[str, int], options: PrepareOptions, has_own: bool) -> list[str]:
    """The set as main.py and the audit are told of it."""
    flags = ["--root-dir", str(out), "--dataset", options.dataset]
    if has_own or options.class_texts:
        flags += ["--class-texts", str(out / "annotation/classes.json") if has_own else options.class_texts]
    for name in ("train", "test"):
        flags += [f"--{name}-annotation", f"annotation/{name}.txt"] if counts[name] else []
    boxes = {f"--bounding-box-{kind}": f"annotation/{kind}.json" for kind in ("face", "body")}
    return flags + [word for pair in boxes.items() for word in pair]


def advice(out: Path, counts: dict[str, int], options: PrepareOptions, has_own: bool) -> str:
    if "clips" in counts:
        return "no labels: nothing to train on yet; give them by folders or --labels and run the same command again"
    if not counts["test"]:
        why = "" if options.test_share == 0 else "one person, or those of one video, cannot be in both lists: "
        return f"{why}{out / 'annotation/train.txt'} has all clips"
    return f"train with: python main.py {shlex.join(data_flags(out, counts, options, has_own))}"


def main(arguments: list[str] | None = None, make_detector: Callable[..., Detector] = open_detector) -> int:
    def run() -> int:
        description = (__doc__ or "").partition("\n")[0]
        options = read_options(sys.argv[1:] if arguments is None else arguments, description)
        with writing_to("--out", options.out):
            return prepare(options, make_detector)

    return run_command(run, "stopped by Ctrl-C: whole videos are kept; the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
