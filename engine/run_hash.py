"""The hash of everything that a run's result depends on: its options and the files that they name.

Equal hashes make a run that is done already stand for one that is asked for.
"""

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from dataloader.classes import ANNOTATION
from dataloader.paths import resolve_path
from engine.device import choose_device
from engine.options import Config, names_with
from utils.checksum import header_without_checksum
from utils.errors import UserError, reason_of
from utils.hub import WEIGHTS, is_folder

MEANING = 1  # of a run's options; one more when the same options come to mean another result
NAME = "run_hash.txt"
RESULTS = ("config.json", "metrics.json", "predictions.csv", "best.pt")
LATER = ("clip_column", "label_column")  # younger than runs that must keep their hash; those had none of them
PART = 1 << 20


def run_hash(config: Config) -> str:
    """Return the hash of a run. Contents of lists, boxes, texts and weights count; names of folders do not."""
    facts = {"meaning": MEANING, "options": counted_options(config), "contents": contents_of(config)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def counted_options(config: Config) -> dict[str, Any]:
    """Return the options that a result depends on: all that cannot change on resume, and the number of epochs."""
    free = set(names_with(free=True))
    options = {
        group: {name: value for name, value in values.items() if name not in free}
        for group, values in asdict(config).items()
    }
    options["optim"]["epochs"] = config.optim.epochs
    options["run"]["computed_on"] = choose_device(config.run.device, config.run.gpu)[0].type
    for name in {*names_with(below_root=True, free=False), "class_texts", "pack"}:
        options["data"].pop(name)  # by their content
    for name in LATER:
        if options["data"][name] is None:
            options["data"].pop(name)
    return options


def contents_of(config: Config) -> dict[str, str | None]:
    """Return hashes of what is in the files that options name."""
    data, clip = config.data, config.model.clip_path
    return {name: hash_path(getattr(data, name), data.root_dir) for name in names_with(below_root=True)} | {
        "root_dir": str(Path(data.root_dir).resolve()) if data.root_dir else None,  # the frames themselves
        "dataset": hash_path(str(ANNOTATION / data.dataset / "classes.json")),
        "class_texts": hash_path(data.class_texts),
        "pack": hash_path(f"{data.pack}/index.json") if data.pack else None,
        "clip_path": hash_path(clip) if Path(clip).exists() else clip,
        "init_from": hash_checkpoint(config.model.init_from),
        **{name: value for name in ("clip_activation", "clip_head_width") if (value := getattr(config.model, name))},
    }


def hash_path(name: str | None, root: str | None = None) -> str | None:
    """Return the hash of a file, or of the names and sizes in a folder; None where there is nothing."""
    if not name:
        return None
    path = resolve_path(name, root)
    if path.is_dir():
        listed = sorted((str(file.relative_to(path)), file.stat().st_size) for file in path.rglob("*"))
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: no regular file; name a file")
    try:
        stamp = path.stat()
        return _hash_file(path, stamp.st_mtime_ns, stamp.st_size)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None


def hash_checkpoint(name: str | None) -> str | None:
    """Return the hash of a checkpoint's file, or of the weights in its folder; a name of the hub stands for itself."""
    if name and is_folder(Path(name)):
        return hash_path(f"{name}/{WEIGHTS}") if Path(name).is_dir() else name
    return hash_path(name)


@lru_cache(maxsize=256)
def _hash_file(path: Path, *_: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        digest.update(header_without_checksum(file))  # which files of earlier versions do not have
        while part := file.read(PART):
            digest.update(part)
    return digest.hexdigest()


def stored_hash(folder: Path) -> str | None:
    """Return the hash of the run in a folder, or None where the run is not complete."""
    try:
        complete = all((folder / name).stat().st_size for name in RESULTS)
        return (folder / NAME).read_text(encoding="utf-8").strip() if complete else None
    except (OSError, UnicodeDecodeError):
        return None


def finished_runs(root: Path, depth: int = 4) -> dict[str, Path]:
    """Return the folder of every complete run below ``root`` by its hash."""
    folders: dict[str, Path] = {}
    for level in range(1, depth + 1):
        for file in sorted(root.glob("/".join(["*"] * level + [NAME]))):
            if (hash := stored_hash(file.parent)) is not None:
                folders.setdefault(hash, file.parent)
    return folders
