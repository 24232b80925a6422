"""The hash of all that a run's result depends on: its options and what is in the files that they name.

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
from utils.errors import UserError, reason_of

MEANING = 1  # of a run's options; one more when the same options come to mean another result
NAME = "run_hash.txt"
RESULTS = ("config.json", "metrics.json", "predictions.csv", "best.pt")
PART = 1 << 20


def run_hash(config: Config) -> str:
    """Names of folders, workers and the like do not count, contents of lists, boxes, texts and weights do."""
    told = {"meaning": MEANING, "options": counted_options(config), "contents": contents_of(config)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


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
    return options


def contents_of(config: Config) -> dict[str, str | None]:
    """Return hashes of what is in the files that options name."""
    data, found = config.data, {}
    for name in names_with(below_root=True):
        file = getattr(data, name)
        found[name] = hash_path(resolve_path(file, data.root_dir)) if file else None
    found["root_dir"] = str(Path(data.root_dir).resolve()) if data.root_dir else None  # the frames themselves
    found["dataset"] = hash_path(ANNOTATION / data.dataset / "classes.json")
    found["class_texts"] = hash_path(Path(data.class_texts)) if data.class_texts else None
    found["pack"] = hash_path(Path(data.pack) / "index.json") if data.pack else None
    clip = Path(config.model.clip_path)
    found["clip_path"] = hash_path(clip) if clip.is_file() else config.model.clip_path
    found["init_from"] = hash_path(Path(config.model.init_from)) if config.model.init_from else None
    return found


def hash_path(path: Path) -> str | None:
    """Of a file its content, of a folder in place of a list what lies in it; None where there is nothing."""
    if path.is_dir():
        listed = sorted((str(file.relative_to(path)), file.stat().st_size) for file in path.rglob("*"))
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    try:
        stamp = path.stat()
        return _hash_file(path, stamp.st_mtime_ns, stamp.st_size)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from None


@lru_cache(maxsize=256)
def _hash_file(path: Path, *_: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(PART):
            digest.update(part)
    return digest.hexdigest()


def stored_hash(folder: Path) -> str | None:
    """The hash of the run in a folder, where that is complete."""
    try:
        complete = all((folder / name).stat().st_size for name in RESULTS)
        return (folder / NAME).read_text(encoding="utf-8").strip() if complete else None
    except (OSError, UnicodeDecodeError):
        return None


def finished_runs(root: Path, depth: int = 4) -> dict[str, Path]:
    """Hash → folder of every complete run below ``root``."""
    found: dict[str, Path] = {}
    for level in range(1, depth + 1):
        for file in sorted(root.glob("/".join(["*"] * level + [NAME]))):
            if (known := stored_hash(file.parent)) is not None:
                found.setdefault(known, file.parent)
    return found
