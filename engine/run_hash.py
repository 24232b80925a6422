"""The hash of everything that a run's result depends on: its options and the files that they name.

A finished run is used in place of a new one if their hashes are equal.
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
from engine.methods import method_named
from engine.options import Config, defaults, group_of, names_with, options_by_name, value_of
from models.clip_files import CONFIGS, files_of
from utils.checksum import header_without_checksum
from utils.errors import UserError, reason_of
from utils.hub import WEIGHTS, is_folder

MEANING = 1  # version of the hash; increase it when the same options lead to other results
NAME = "run_hash.txt"
RESULTS = ("config.json", "metrics.json", "predictions.csv", "best.pt")
PART = 1 << 20


def run_hash(config: Config, device: str | None = None) -> str:
    """Return the hash of a run. It covers the content of lists, boxes, texts and weights, not the names of folders.

    ``device``: the kind of device that the run was computed on, if it is not the one that ``config`` names here.
    """
    options = counted_options(config)
    if device is not None:
        options["run"]["computed_on"] = device
    facts = {"meaning": MEANING, "options": options, "contents": contents_of(config)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def counted_options(config: Config) -> dict[str, Any]:
    """Return the options that a result depends on: those that cannot change on resume, and the number of epochs."""
    free = set(names_with(free=True))
    options = {
        group: {name: value for name, value in values.items() if name not in free}
        for group, values in asdict(config).items()
    }
    options["optim"]["epochs"] = config.optim.epochs
    options["run"]["computed_on"] = choose_device(config.run.device, config.run.gpu)[0].type
    for name in {*names_with(below_root=True, free=False), "class_texts", "pack"}:
        options["data"].pop(name)  # hashed by their content
    usual = defaults() | dict(method_named(config.model.model).defaults)
    for name in names_with(in_hash=False):
        if value_of(config, name) == usual[name]:
            options[group_of(name)].pop(name, None)
    for name, field in options_by_name().items():
        if (group := field.metadata["hash_group"]) is not None:
            options[group][name] = options[group_of(name)].pop(name)
    return options


def contents_of(config: Config) -> dict[str, str | None]:
    """Return hashes of the content of the files that options name."""
    data, clip = config.data, config.model.clip_path
    younger = {name for name in names_with(below_root=True, in_hash=False) if getattr(data, name) is None}
    files = [name for name in names_with(below_root=True) if name not in younger]
    return {name: hash_path(getattr(data, name), data.root_dir) for name in files} | {
        "root_dir": str(Path(data.root_dir).resolve()) if data.root_dir else None,  # the frames themselves
        "dataset": hash_path(str(ANNOTATION / data.dataset / "classes.json")),
        "class_texts": hash_path(data.class_texts),
        "pack": hash_path(f"{data.pack}/index.json") if data.pack else None,
        **hash_clip(clip),
        "init_from": hash_checkpoint(config.model.init_from),
        **{name: value for name in ("clip_activation", "clip_head_width") if (value := getattr(config.model, name))},
    }


def hash_clip(name: str) -> dict[str, Any]:
    """Return hashes of the weights of a CLIP and of the configs beside them; a name stands for itself."""
    path = Path(name)
    if not path.exists():
        return {"clip_path": name}
    _, weights = files_of(path, f"--clip-path {name}")
    configs = {config: hash_path(str(weights.with_name(config))) for config in CONFIGS}
    configs = {config: hash for config, hash in configs.items() if hash is not None}
    return {"clip_path": hash_path(str(weights))} | ({"clip_configs": configs} if configs else {})


def hash_path(name: str | None, root: str | None = None) -> str | None:
    """Return the hash of a file, or of the names and sizes in a folder; None if the path does not exist."""
    if not name:
        return None
    path = resolve_path(name, root)
    if path.is_dir():
        listed = sorted((str(file.relative_to(path)), file.stat().st_size) for file in path.rglob("*"))
        return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file; name a file")
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
        digest.update(header_without_checksum(file))  # files of earlier versions have no checksum
        while part := file.read(PART):
            digest.update(part)
    return digest.hexdigest()


def stored_hash(folder: Path) -> str | None:
    """Return the hash of the run in a folder, or None if the run is not complete."""
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
