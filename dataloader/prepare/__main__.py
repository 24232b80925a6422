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
from dataloader.detect import BETTER_FACES, CASCADES, ENOUGH, Detector, chosen, open_detector
from dataloader.prepare import lists, store
from dataloader.prepare.classes import SetClasses, find_classes
from dataloader.prepare.notes import Stored, read_notes
from dataloader.prepare.options import PrepareOptions, read_options
from dataloader.prepare.sources import Source, make_sources, tell_apart
from dataloader.prepare.videos import find_videos
from dataloader.prepare.work import cut_all
from utils.command import run_command, writing_to
from utils.errors import UserError, one_line
from utils.words import plural, some


def prepare(options: PrepareOptions, make_detector: Callable[..., Detector]) -> int:
    """The set of the videos named; 1 where some of them could not be read."""
    out = Path(options.out)
    videos, others = find_videos(options.videos)
    told = tell_apart(videos, options.labels)  # what is wrong with labels or
    make_detector(options.face_model, options.persons)  # a detector ends here, not in every video
    if others:
        say(f"{plural(len(others), 'item')} left alone, no video: {some(others, 3)}")
    with store.open_folder(out, options):
        stored = read_notes(out)
        named = make_sources(videos, told, stored)
        return fill(out, options, named, stored, make_detector)


def fill(
    out: Path,
    options: PrepareOptions,
    named: list[Source],
    stored: list[Stored],
    make_detector: Callable[..., Detector],
) -> int:
    """Nothing that was there goes before all videos are cut."""
    sources = [source for source in named if source.parts]
    left_out = [source.path for source in named if not source.parts]
    classes = find_classes(out, sources, options)
    others = find_others(out, sources, stored, options.drop_others)
    made = cut_all(sources, stored, out, options, make_detector)
    failed = [video["error"] for video in made if "error" in video]
    if len(failed) == len(made):
        raise UserError(failed[0] + (f" (and {plural(len(failed) - 1, 'other')} like it)" if len(failed) > 1 else ""))
    counts = lists.write_lists(out, sources, made, classes.numbers, options.test_share)
    if gone := classes.write(out):
        say(f"texts of classes that are no longer there: {gone}")
    dropped = lists.write_dropped(out, sources, made, left_out)
    tell(out, sources, made, counts, dropped, chosen(options.face_model))
    for one in others:
        store.drop(out, one)
    if classes.own:
        where = out / "annotation/classes.json"
        say(f"classes, by their folders or labels: {', '.join(classes.own)}; their texts: {where}")
    if counts.get("train") and options.audit:
        audit(data_flags(out, counts, options, classes))
    say(advice(out, counts, options, classes))
    return 1 if failed else 0


def find_others(out: Path, sources: list[Source], stored: list[Stored], drop: bool) -> list[Stored]:
    """Clips that would be in no list: refused, or to be removed."""
    kept = {source.earlier for source in sources}
    others = [one for one in stored if one.name not in kept]
    lost = [one for one in others if one.made is None or one.made["clips"] or one.made["before"]]
    if lost and not drop:
        raise UserError(
            f"--out {out}: holds clips of {plural(len(lost), 'video')} not named now, or not in --labels "
            f"({some([one.place or one.name for one in lost], 3)}): name all videos of the set, choose another "
            "--out, or remove those clips with --drop-others"
        )
    return others


def say(text: str) -> None:
    print(one_line(text))


def tell(
    out: Path,
    sources: list[Source],
    made: list[dict[str, Any]],
    counts: dict[str, int],
    dropped: int,
    detector: str,
) -> None:
    """What came of every video that is not as it should be, and how much there is."""
    for source, video in zip(sources, made, strict=True):
        if "error" in video:
            kept = "; the clips of what it was before stay, in no list" if source.earlier else ""
            say(f"left out: {video['error']}{kept}")
        elif video["damaged"]:
            say(f"damaged, what could be read is used: {source.path}: {video['damaged']}")
    clips = [clip for video in made for clip in video["clips"]]
    frames, faces = sum(c["frames"] for c in clips), sum(len(c["faces"]) for c in clips)
    persons = len({clip["person"] for clip in clips})
    named = ", ".join(f"{name}.txt {count}" for name, count in counts.items())
    say(f"{plural(len(clips), 'clip')} of {plural(persons, 'person')} ({named}); a face in {faces} of {frames} frames")
    if detector == CASCADES and faces < ENOUGH * frames:
        say(BETTER_FACES)
    if dropped:
        say(f"not everything is used: {out / 'dropped.csv'} says in {plural(dropped, 'row')} what is not, and why")
    if not clips:
        raise UserError(f"no clip is left of {plural(len(made), 'video')}; {out / 'dropped.csv'} says why")


def data_flags(out: Path, counts: dict[str, int], options: PrepareOptions, classes: SetClasses) -> list[str]:
    """The set as main.py and the audit are told of it."""
    flags = ["--root-dir", str(out), "--dataset", options.dataset]
    if classes.own or options.class_texts:
        flags += ["--class-texts", str(out / "annotation/classes.json") if classes.own else options.class_texts]
    for name in ("train", "test"):
        flags += [f"--{name}-annotation", f"annotation/{name}.txt"] if counts[name] else []
    boxes = {f"--bounding-box-{kind}": f"annotation/{kind}.json" for kind in ("face", "body")}
    return flags + [word for pair in boxes.items() for word in pair]


def advice(out: Path, counts: dict[str, int], options: PrepareOptions, classes: SetClasses) -> str:
    if "clips" in counts:
        return "no labels: nothing to train on yet; give them by folders or --labels and run the same command again"
    if len(set(classes.numbers.values())) == 1:
        return f"every clip is of the class {min(classes.numbers)}: a training needs two or more"
    if not counts["test"]:
        why = "" if options.test_share == 0 else "one person, or those of one video, cannot be in both lists: "
        return f"{why}{out / 'annotation/train.txt'} has all clips"
    return f"train with: python main.py {shlex.join(data_flags(out, counts, options, classes))}"


def main(arguments: list[str] | None = None, make_detector: Callable[..., Detector] = open_detector) -> int:
    def run() -> int:
        description = (__doc__ or "").partition("\n")[0]
        options = read_options(sys.argv[1:] if arguments is None else arguments, description)
        with writing_to("--out", options.out):
            return prepare(options, make_detector)

    return run_command(run, "stopped by Ctrl-C: whole videos are kept; the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
