"""Read the lists of a run and their classes, hold validation clips out, count the clips, and warn of doubtful lists."""

from dataclasses import dataclass

from dataloader.annotation import Clip, label_sets, read_annotation, read_captions
from dataloader.audit.checks import Counts, differing_counts, overview
from dataloader.classes import Classes, load_classes, with_compounds
from dataloader.frames import find_unreadable
from dataloader.splits import hold_out
from engine.methods import method_named
from engine.options import Config
from engine.shared import cached_result
from utils.errors import UserError, closest
from utils.lazy import Lazy
from utils.runlog import RunLog
from utils.text import plural

packed_clips = Lazy("dataloader.packed")  # most runs read no pack


@dataclass(frozen=True)
class Splits:
    train: list[Clip]
    val: list[Clip]
    test: list[Clip]
    left_out: tuple[Clip, ...] = ()  # from training and validation by --leave-out; not used


def require_lists(config: Config) -> None:
    """Raise a UserError where a list is missing, before anything is loaded or downloaded."""
    method = method_named(config.model.model)
    if not method.reads_lists(config):
        if config.data.root_dir is None:
            lists = ", or lists of images: --train-annotation FILE" if "clip lists" in method.reads else ""
            raise UserError(f"--model {method.name} needs --root-dir DIR, a set in Aff-Wild2's layout{lists}")
        return
    if config.run.mode == "train" and config.data.train_annotation is None:
        raise UserError("--mode train needs --train-annotation FILE (bash train.sh makes a set with a list)")
    if config.run.mode != "train" and config.data.test_annotation is None:
        raise UserError(f"--mode {config.run.mode} needs --test-annotation FILE")


def run_classes(config: Config) -> Classes:
    """Return the classes of the run; with ``--label-type compound`` also every combination in its lists."""
    data, fixed = config.data, method_named(config.model.model).fixed_classes(config)
    if fixed is not None:
        return fixed
    classes = load_classes(data.dataset, data.class_texts, data.clip_column, data.label_column)
    if data.label_type == "single":
        return classes
    lists = filter(None, (data.train_annotation, data.val_annotation, data.test_annotation))
    return with_compounds(classes, set().union(*(label_sets(file, data.root_dir, classes) for file in lists)))


def read_splits(config: Config, classes: Classes, log: RunLog) -> Splits:
    """Return the clips of this mode. Without a validation list, validation clips are held out of train."""
    data = config.data
    packed = packed_clips.open_pack(data.pack).frames if data.pack else None

    def read(file: str | None, split: str, captions: dict[str, str] | None = None) -> list[Clip]:
        if not file:
            return []
        return read_annotation(file, data.root_dir, classes.of_split(split), packed, captions, log.say)

    unlisted = method_named(config.model.model).read_clips(config)
    if unlisted is not None:
        train, validation = unlisted
        splits = Splits(train, validation, []) if config.run.mode == "train" else Splits([], [], validation)
    elif config.run.mode != "train":
        splits = Splits([], [], read(data.test_annotation, "test"))
    else:
        captions = read_captions(data.captions, data.root_dir) if data.captions else None
        splits = Splits(
            read(data.train_annotation, "train", captions),
            read(data.val_annotation, "val"),
            read(data.test_annotation, "test"),
        )
        splits = _hold_out(splits, config, classes, log)
    if data.leave_out is not None:
        splits = _leave_out(splits, class_named(data.leave_out, classes), data.leave_out, classes)
    _describe(splits, classes, log)
    _check_frames(splits, config, log)
    return splits


def _hold_out(splits: Splits, config: Config, classes: Classes, log: RunLog) -> Splits:
    if splits.val or config.optim.select_on != "val":
        return splits
    fraction = config.data.val_fraction
    train, val, split = hold_out(splits.train, fraction, len(classes), config.run.seed)
    for label in split:
        log.warn(f"validation: some persons of {classes.names[label]} have clips in training and in validation")
    if not val or not train:
        raise UserError(f"--val-fraction {fraction}: too few clips to hold any out; use --select-on last")
    return Splits(train, val, splits.test)


def class_named(word: str, classes: Classes) -> int:
    names = [name.lower() for name in classes.names]
    if word.lower() not in names:
        hint = closest(word, list(classes.names)) or f"; the classes are {', '.join(classes.names)}"
        raise UserError(f"--leave-out {word}: no such class{hint}")
    return names.index(word.lower())


def _leave_out(splits: Splits, label: int, name: str, classes: Classes) -> Splits:
    """Return training and validation clips without a class and its combinations, and only the test clips of it."""
    test = [clip for clip in splits.test if clip.label == label]
    if not test:
        raise UserError(f"--leave-out {name}: --test-annotation has no clip of this class")
    parts = classes.parts or tuple((n,) for n in range(len(classes)))
    related = {n for n, part in enumerate(parts) if set(parts[label]) <= set(part)}
    train, val = ([clip for clip in part if clip.label not in related] for part in (splits.train, splits.val))
    for part, before, after in (("training", splits.train, train), ("validation", splits.val, val)):
        if before and not after:
            raise UserError(f"--leave-out {name}: the {part} clips are all of this class; name a list that has others")
    excluded = tuple(clip for clip in (*splits.train, *splits.val) if clip.label in related)
    return Splits(train, val, test, excluded)


def _describe(splits: Splits, classes: Classes, log: RunLog) -> None:
    """Print the counts of every split, warn of what makes a score doubtful, and store both as facts of the run."""
    parts = {"train": splits.train, "val": splits.val, "test": splits.test}
    for entry in overview(parts, classes):
        if isinstance(entry, Counts):
            log.say(str(entry))
            persons = entry.persons or None
            log.facts["data"][entry.split] = {"clips": entry.clips, "persons": persons, "classes": entry.classes}
        elif entry.severity == "note":
            log.say(entry.short)
        else:
            log.warn(entry.short, f"{entry.split} {entry.kind}")


def _check_frames(splits: Splits, config: Config, log: RunLog) -> None:
    """Compare frame counts with the lists and read the first bytes of every frame, before the first step."""
    clips = [*splits.train, *splits.val, *splits.test]
    for finding in differing_counts(clips):
        log.warn(finding.short)
    if config.data.pack:
        return  # the frames were decoded when the pack was made
    frames = tuple((clip.folder, clip.frames) for clip in clips)
    unreadable = cached_result(
        "frames", frames, lambda: find_unreadable([path for clip in clips if not clip.is_video for path in clip.paths])
    )
    if unreadable and config.data.on_bad_frame == "error":
        count = f" (and {len(unreadable) - 1} more)" if len(unreadable) > 1 else ""
        raise UserError(f"{unreadable[0]}: not an image{count}; replace the file or pass --on-bad-frame skip")
    if unreadable:
        log.warn(
            f"no image in {plural(len(unreadable), 'frame file')} ({unreadable[0]}): the nearest frame of the clip "
            f"is used instead"
        )
