"""Turn raw videos or folders of frames into a data set for training: frames, face and body boxes, lists.

    python -m dataloader.prepare VIDEOS --out data/mine

With ``--boxes-only`` the clips stay parts of their videos, and only lists and boxes are written; for an existing set
with ``--train-annotation`` and so on, only boxes. A CSV of pixels, as FER2013 is published, becomes images and a list.
After an interruption the same command continues. See docs/own_videos.md.
"""

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2

from dataloader.annotation import Clip, read_annotation
from dataloader.audit.__main__ import main as audit
from dataloader.audit.options import each_fold, ignored_text, read_classes, training_advice
from dataloader.detect import BETTER_FACES, CASCADES, ENOUGH, Detector, open_detector, resolve_face_model
from dataloader.prepare import lists, store
from dataloader.prepare.cut import cut_all
from dataloader.prepare.lists import SetClasses
from dataloader.prepare.options import PIXELS, SET, PrepareOptions, read_options
from dataloader.prepare.sources import (
    Source,
    clip_sources,
    find_videos,
    name_sources,
    read_contents,
    read_pixels,
)
from dataloader.prepare.store import VideoRecord
from utils.command import python_name, run_command, writing_to
from utils.errors import UserError, one_line
from utils.files import atomic_write, write_text
from utils.text import plural, some


def prepare(options: PrepareOptions, make_detector: Callable[..., Detector]) -> int:
    """Write the set of the named videos; return 1 if some of them could not be read."""
    out = Path(options.out)
    if options.task == PIXELS:
        return write_pixels(out, options)
    if options.task == SET:
        return write_set_boxes(out, options, make_detector)
    videos, other_files = find_videos(options.videos)
    videos = read_contents(videos, options.labels)
    make_detector(options.face_model, options.persons)  # so that a wrong model fails here and not in every video
    if other_files:
        say(f"{plural(len(other_files), 'item')} ignored, not a video: {some(other_files, 3)}")
    with store.open_folder(out, options):
        records = store.read_records(out)
        sources = name_sources(videos, {record.path: record.name for record in records})
        return write_set(out, sources, records, options, make_detector)


def write_set(
    out: Path,
    sources: list[Source],
    records: list[VideoRecord],
    options: PrepareOptions,
    make_detector: Callable[..., Detector],
) -> int:
    included = [source for source in sources if source.parts]
    store.require_kept(out, included, records)
    classes = lists.find_classes(out, included, options)
    videos = cut_all(included, records, out, options, make_detector)
    errors = [video.error for video in videos if video.error]
    if len(errors) == len(videos):
        suffix = f" (and {plural(len(errors) - 1, 'other')} like it)" if len(errors) > 1 else ""
        raise UserError(errors[0] + suffix)
    counts = lists.write_lists(out, included, videos, classes, options)
    excluded = [source for source in sources if not source.parts]
    num_dropped = lists.write_dropped(out, included, videos, excluded)
    report(out, included, videos, counts, num_dropped, resolve_face_model(options.face_model))
    if counts.get("train") and options.audit:
        audit(data_flags(out, counts, options, classes))
    for line in advice(out, sources, counts, options, classes):
        say(line)
    return 1 if errors else 0


def write_set_boxes(out: Path, options: PrepareOptions, make_detector: Callable[..., Detector]) -> int:
    """Write the boxes of the videos that the lists of an existing set name; return 1 if some could not be read."""
    root, folds = options.videos[0], each_fold(options.set)
    classes = read_classes(folds)
    clips: dict[str, Clip] = {}
    for split, file in dict.fromkeys(item for fold in folds for item in fold.lists.items()):
        for clip in read_annotation(file, root, classes.of_split(split), say=say):
            clips.setdefault(clip.key, clip)
    in_videos = [clip for clip in clips.values() if clip.is_video]
    if not in_videos:
        raise UserError(
            f"{root}: no clip of its lists is a video, {next(iter(clips.values())).folder} is not; see --help"
        )
    if len(in_videos) < len(clips):
        say(f"{len(clips) - len(in_videos)} of {plural(len(clips), 'clip')} are folders of frames; they get no boxes")
    make_detector(options.face_model, options.persons)  # so that a wrong model fails here and not in every video
    with store.open_folder(out, options):
        stored = store.read_records(out)
        sources = clip_sources(in_videos, {record.path: record.name for record in stored})
        store.require_kept(out, sources, stored)
        videos = cut_all(sources, stored, out, options, make_detector)
        records = [
            replace(clip, folder=source.parts[clip.part].label)  # the name of the clip in the lists of this call
            for source, video in zip(sources, videos, strict=True)
            for clip in video.clips
        ]
        lists.write_boxes(out, records)
    for video in videos:
        if video.error:
            say(f"left out: {video.error}")
    frames = sum(len(clip.frames) for clip in in_videos)
    boxes, faces = sum(len(record.faces) for record in records), sum(bool(record.faces) for record in records)
    say(f"{plural(len(records), 'clip')}, a face in {faces} of them; a face box for {boxes} of {frames} frames")
    boxes = {f"bounding_box_{kind}": str((out / f"annotation/{kind}.json").absolute()) for kind in ("face", "body")}
    words = replace(options.set, **boxes).words
    for line in training_advice(shlex.join(words)):
        say(line)
    return 1 if any(video.error for video in videos) else 0


def write_pixels(out: Path, options: PrepareOptions) -> int:
    """Write the images of a CSV of pixels, as FER2013 is published, and the CSV with their names instead of pixels.

    The names are those of FER+: the number of the row, from 0.
    """
    if len(options.videos) > 1:
        raise UserError(f"{options.videos[1]}: a CSV of pixels becomes a set of its own; name it alone")
    file, rows = Path(options.videos[0]), [("Image name", "emotion", "Usage")]
    with store.open_folder(out, options):
        (out / store.IMAGES).mkdir(exist_ok=True)
        for number, (label, usage, pixels) in enumerate(read_pixels(file)):
            rows.append((f"fer{number:07d}.png", label, usage))
            with atomic_write(out / store.IMAGES / rows[-1][0]) as part:
                part.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        if len(rows) == 1:
            raise UserError(f"{file}: holds no row of pixels below its header")
        (out / "annotation").mkdir(exist_ok=True)
        text = "".join(",".join(row) + "\n" for row in rows)
        write_text(out / "annotation/fer2013.csv", text)
    say(f"{plural(len(rows) - 1, 'image')} in {out / store.IMAGES}, their labels in {out / 'annotation/fer2013.csv'}")
    command = f"{python_name()} main.py @recipes/frame_expr.args"
    say("to train on them, with OpenAI's CLIP:")
    say(f"  {command} @recipes/data/fer2013.args --root-dir {shlex.quote(str(out))}")
    say(f"with the votes of FER+: copy fer2013new.csv to {out / 'annotation'}, and use @recipes/data/ferplus.args")
    return 0


def say(text: str) -> None:
    print(one_line(text))


def report(
    out: Path, sources: list[Source], videos: list[VideoRecord], counts: dict[str, int], num_dropped: int, detector: str
) -> None:
    """Print the videos that are left out or damaged, and the size of the set."""
    for source, video in zip(sources, videos, strict=True):
        if video.error:
            say(f"left out: {video.error}")
        elif video.damaged:
            say(f"damaged, the readable part is used: {source.path}: {video.damaged}")
    clips = [clip for video in videos for clip in video.clips]
    frames, faces = sum(clip.frames for clip in clips), sum(len(clip.faces) for clip in clips)
    persons = plural(len({clip.person for clip in clips}), "person")
    files = ", ".join(f"{name}.txt {count}" for name, count in counts.items())
    say(f"{plural(len(clips), 'clip')} of {persons} ({files}); a face in {faces} of {frames} frames")
    if detector == CASCADES and faces < ENOUGH * frames:
        say(BETTER_FACES)
    dropped = out / "dropped.csv"
    if num_dropped:
        say(f"some parts are not used: {dropped} lists them in {plural(num_dropped, 'row')}, with reasons")
    if not clips:
        raise UserError(f"no clip remains from {plural(len(videos), 'video')}; {dropped} lists the reasons")


def data_flags(out: Path, counts: dict[str, int], options: PrepareOptions, classes: SetClasses) -> list[str]:
    """Return the flags of main.py and of the audit that name the set."""
    flags = ["--root-dir", str(out), "--dataset", options.dataset]
    flags += ["--class-texts", classes.file] if classes.file else []
    for name in ("train", "test"):
        flags += [f"--{name}-annotation", f"annotation/{name}.txt"] if counts[name] else []
    for kind in ("face", "body"):
        flags += [f"--bounding-box-{kind}", f"annotation/{kind}.json"]
    return flags


def advice(
    out: Path, sources: list[Source], counts: dict[str, int], options: PrepareOptions, classes: SetClasses
) -> list[str]:
    """Return lines on assumptions about classes and persons, and on the next commands."""
    if "clips" in counts:
        return ["no labels, so training is not possible yet; add --labels FILE and run the same command again"]
    lines = []
    if classes.own_names and not classes.absent:
        names = ", ".join(classes.own_names)
        lines += [f"classes, from folders or labels: {names}; check and improve their texts in {classes.file}"]
    elif classes.absent:
        remedy = "; for a set with only your labels, add --own-classes to this command" if classes.file is None else ""
        lines += [
            f"the classes are the {classes.total} of {classes.file or options.dataset}, since all labels are among "
            f"them; no clip is of {', '.join(classes.absent)}{remedy}"
        ]
    if all(source.person == source.name for source in sources):
        lines += [
            "no persons are named: each video counts as one person, so the same person may be in train and in test, "
            "and scores may be too high; name persons by folders, <class>/<person>/<video>, or in --labels"
        ]
    if len(set(classes.numbers.values())) == 1:
        return [*lines, f"every clip is of the class {min(classes.numbers)}; training needs two classes or more"]
    if not counts["test"]:
        reason = "" if options.test_share == 0 else "a person, or all persons of a video, cannot be in both lists: "
        return [*lines, f"{reason}{out / 'annotation/train.txt'} has all clips"]
    return lines + training_advice(shlex.join(data_flags(out, counts, options, classes)))


def main(arguments: list[str] | None = None, make_detector: Callable[..., Detector] = open_detector) -> int:
    def run() -> int:
        description = (__doc__ or "").partition("\n")[0]
        options, ignored = read_options(sys.argv[1:] if arguments is None else arguments, description)
        if ignored:
            say(ignored_text("dataloader.prepare", ignored))
        with writing_to("--out", options.out):
            return prepare(options, make_detector)

    return run_command(run, "stopped by Ctrl-C; finished videos are kept, and the same command continues")


if __name__ == "__main__":
    sys.exit(main())
