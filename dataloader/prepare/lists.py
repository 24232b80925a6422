"""Write the lists, boxes and classes of a prepared set in RAER's layout, and the table of dropped parts."""

import csv
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dataloader.audit.audit import list_number
from dataloader.audit.folds import linked_groups
from dataloader.classes import Classes, load_classes
from dataloader.prepare.options import PrepareOptions
from dataloader.prepare.sources import Source
from dataloader.prepare.store import ClipRecord, VideoRecord
from utils.errors import UserError, closest, one_line, quote
from utils.files import atomic_write, write_json, write_text

CLASSES_FILE = "annotation/classes.json"
TEXTS = {  # of classes with only a folder name; the user should improve them
    "class_names_with_context": "A person with an expression of {}.",
    "class_descriptor": "A person whose face and posture show {}.",
    "prompt_ensemble": ["A person with an expression of {}.", "A face that shows {}."],
    "descriptive": "A face and a posture that show {}.",
}


@dataclass(frozen=True)
class SetClasses:
    """The classes of a prepared set: {label: number in the lists}, and the file that describes them.

    ``file`` is None for the classes of ``--dataset``. ``own_names``: classes for which a new file is written.
    ``absent``: those of the ``total`` classes of ``--dataset`` or of the file that have no clip.
    """

    numbers: dict[str, int]
    file: str | None
    own_names: tuple[str, ...] = ()
    total: int = 0
    absent: tuple[str, ...] = ()


def find_classes(out: Path, sources: list[Source], options: PrepareOptions) -> SetClasses:
    """Return the classes of the labels, from the file in the set, ``--class-texts`` or ``--dataset``, or new ones.

    The file in the set is written once. Afterwards the user may edit it, and it is only read.
    """
    labels = sorted({part.label for source in sources for part in source.parts if part.label is not None})
    if not labels and (out / "annotation/train.txt").is_file():
        raise UserError(
            f"--out {out}: its clips have labels, this command has none; pass them again or choose another --out"
        )
    file, own_file = options.class_texts, out / CLASSES_FILE
    if options.own_classes and file is not None:
        raise UserError(f"--own-classes and --class-texts {file}: both define the classes; leave one of them out")
    if own_file.is_file():
        if file is not None and Path(file).resolve() != own_file.resolve():
            raise UserError(f"--class-texts {file}: this set has its own classes in {own_file}; leave it out")
        file = str(own_file)
    classes = load_classes(options.dataset, file)
    if classes.layout == "images" or classes.format.class_folders:
        raise UserError(f"{classes.source}: its list format is not that of a prepared set; choose another")
    unknown = [label for label in labels if label.lower() not in classes.words]
    if not unknown and (file is not None or not options.own_classes):
        indexes = {label: classes.words[label.lower()] for label in labels}
        absent = tuple(name for index, name in enumerate(classes.base_names) if index not in indexes.values())
        numbers, names = {label: list_number(index, classes) for label, index in indexes.items()}, ()
        if not classes.has_persons:  # the folders of a prepared set are persons, so it gets a file that says so
            names, file = classes.base_names, str(own_file)
        return SetClasses(numbers, file, names, total=len(classes.base_names), absent=absent)
    if file is not None:
        advice = closest(unknown[0], list(classes.names)) or f"; one of {', '.join(classes.names)}"
        raise UserError(f"label {quote(unknown[0])}: not a class of {classes.source}{advice}")
    require_class_names(labels)
    return SetClasses({label: number for number, label in enumerate(labels, 1)}, str(own_file), tuple(labels))


def require_class_names(labels: list[str]) -> None:
    """Raise a UserError for labels that are probably a mistake."""
    spellings: dict[str, str] = {}
    for label in labels:
        if not label.isprintable():
            raise UserError(f"label {quote(label)}: has characters that are not allowed in a class name; rename it")
        if (first := spellings.setdefault(label.strip().casefold(), label)) != label:
            raise UserError(f"labels {quote(first)} and {quote(label)}: are almost equal; write them the same way")


def _class_texts(name: str, dataset: Classes) -> dict[str, str | list[str]]:
    """Return the entry of a class in classes.json, with the texts of the data set if it has this class."""
    index = dataset.words.get(name.lower())
    if index is not None and dataset.texts:
        known_texts = {kind: list(texts[index]) for kind, texts in dataset.texts.items()}
        return {"name": name} | {kind: texts if len(texts) > 1 else texts[0] for kind, texts in known_texts.items()}
    word = name.replace("_", " ").lower()
    texts = {kind: t.format(word) if isinstance(t, str) else [x.format(word) for x in t] for kind, t in TEXTS.items()}
    return {"name": name} | texts


def write_lists(
    out: Path, sources: list[Source], videos: list[VideoRecord], classes: SetClasses, options: PrepareOptions
) -> dict[str, int]:
    """Write lists, boxes and own classes; return {list: number of clips}. Without labels there is one list."""
    (out / "annotation").mkdir(exist_ok=True)
    write_boxes(out, [clip for video in videos for clip in video.clips])
    if classes.own_names:
        known = load_classes(options.dataset, options.class_texts)
        entries = [_class_texts(name, known) for name in classes.own_names]
        label_base = known.label_base if classes.own_names == known.base_names else 1
        write_json(out / CLASSES_FILE, {"label_base": label_base, "persons": True, "classes": entries})
    lists: dict[str, list[str]] = {"train": [], "test": []} if classes.numbers else {"clips": []}
    test_persons = choose_persons([[clip.person for clip in video.clips] for video in videos], options.test_share)
    for source, video in zip(sources, videos, strict=True):
        for clip in video.clips:
            frames = 0 if options.boxes_only else clip.frames  # 0: the video knows
            if classes.numbers:
                split = "test" if clip.person in test_persons else "train"
                number = classes.numbers[source.parts[clip.part].label]
                lists[split].append(f"{clip.folder} {frames} {number}\n")
            else:
                lists["clips"].append(f"{clip.folder} {frames}\n")
    for name, lines in lists.items():
        write_text(out / f"annotation/{name}.txt", "".join(lines))
    if classes.numbers:
        (out / "annotation/clips.txt").unlink(missing_ok=True)
    return {name: len(lines) for name, lines in lists.items()}


def write_boxes(out: Path, clips: list[ClipRecord]) -> None:
    """Write the boxes of faces and bodies that were found."""
    (out / "annotation").mkdir(exist_ok=True)
    for name, boxes in (("face", {c.folder: c.faces for c in clips}), ("body", {c.folder: c.body for c in clips})):
        content = {folder: box for folder, box in boxes.items() if box}
        write_text(out / f"annotation/{name}.json", json.dumps(content) + "\n")


def choose_persons(videos: list[list[str]], share: float) -> set[str]:
    """Return persons with about ``share`` of the clips; ``videos``: the person of every clip of each video.

    Persons in the same video stay together, because its frames show both; if all persons are connected in this way,
    return none. Persons are sorted by a hash of their names, so that most stay in their list when others are added.
    """
    counts = Counter(person for persons in videos for person in persons)
    videos = [persons for persons in videos if persons]
    groups = sorted(({p for index in group for p in videos[index]} for group in linked_groups(videos)), key=min)
    test, size, target = [], 0, share * counts.total()
    for group in sorted(groups, key=lambda group: hashlib.sha256(min(group).encode()).digest()):
        clips = sum(counts[person] for person in group)
        if abs(size + clips - target) < abs(size - target) and len(test) < len(groups) - 1:
            test, size = [*test, group], size + clips
    if not test and share > 0 and len(groups) > 1:
        test = [min(groups, key=lambda group: sum(counts[person] for person in group))]
    return set().union(*test)


def write_dropped(out: Path, sources: list[Source], videos: list[VideoRecord], excluded: list[Source]) -> int:
    """Write ``dropped.csv``, which lists the parts of videos that are not used, with reasons; return its rows."""
    rows = []
    for source, video in zip(sources, videos, strict=True):
        path = one_line(str(source.path))
        rows += [(path, *row) for row in video.dropped]
        rows += [(path, "", "", video.error)] if video.error else []
    rows += [(one_line(str(source.path)), "", "", "not in --labels") for source in excluded]
    with atomic_write(out / "dropped.csv") as part, open(part, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("video", "from", "to", "reason"), *rows])
    return len(rows)
