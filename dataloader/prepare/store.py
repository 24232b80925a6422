"""The folder of a prepared set: what is done, whole videos only, so that the same command goes on at any moment."""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dataloader.prepare.options import PrepareOptions
from dataloader.prepare.sources import Source
from utils.errors import UserError
from utils.words import plural, some

FORMAT = 1
IMAGES, DONE, UNFINISHED = "images", ".prepared", ".unfinished"


def open_folder(out: Path, options: PrepareOptions) -> None:
    """Made, or found to be of the same options."""
    asked = {"format": FORMAT} | options.of_frames()
    settings = out / DONE / "options.json"
    if settings.is_file():
        found = _read(settings) or {}
        other = [
            f"{name} {found.get(name)} instead of {asked[name]}" for name in asked if found.get(name) != asked[name]
        ]
        if other:
            raise UserError(f"--out {out}: was begun with {', '.join(other)}; choose another --out or remove it first")
        return
    if out.exists() and (not out.is_dir() or any(path.name != DONE for path in out.iterdir())):
        raise UserError(f"--out {out}: exists and is no prepared set; choose another or an empty folder")
    write_json(settings, asked)


def fingerprint(source: Source) -> dict[str, Any]:
    """What a video's clips depend on, beside the options."""
    path, files = source.path, [source.path]
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.is_file())
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    stamp = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()
    return {"stamp": stamp, "person": source.person, "parts": [asdict(part) for part in source.parts]}


def settle_others(out: Path, named: list[Source], drop: bool) -> None:
    """Clips of videos that are not named now are in no list: refused, or removed."""
    by_name = {source.name: source for source in named}
    others = {
        path: stored
        for path in sorted((out / DONE / "videos").glob("*.json"))
        if (stored := _read(path)) and not _is_of(stored, by_name.get(path.name.removesuffix(".json")))
    }
    if others and not drop:
        videos = some([stored.get("path", path.stem) for path, stored in others.items()], 3)
        raise UserError(
            f"--out {out}: holds clips of {plural(len(others), 'video')} not named now ({videos}): name all videos of "
            f"the set, choose another --out, or remove those clips with --drop-others"
        )
    for path, stored in others.items():
        _remove(out, path, stored)


def _is_of(stored: dict[str, Any], source: Source | None) -> bool:
    """A video may change, or be moved as it is."""
    if source is None:
        return False
    return stored.get("path") in (None, _place(source)) or stored["source"]["stamp"] == fingerprint(source)["stamp"]


def _place(source: Source) -> str:
    return str(source.path.resolve())


def read_done(out: Path, source: Source) -> dict[str, Any] | None:
    """What was made of a video; None where it is not done, or has changed since."""
    stored = _read(_manifest(out, source))
    return stored if stored and stored["source"] == json.loads(json.dumps(fingerprint(source))) else None


def begin(out: Path, source: Source) -> Path:
    """A place for the clips of a video; what an earlier attempt left is removed."""
    manifest = _manifest(out, source)
    _remove(out, manifest, _read(manifest) or {})
    place = out / UNFINISHED / source.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def finish(out: Path, source: Source, place: Path, made: dict[str, Any]) -> dict[str, Any]:
    """The clips go where they belong, and the video is done."""
    for clip in made["clips"]:
        target = out / clip["folder"]
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(place / clip["folder"], target)
    shutil.rmtree(place)
    made = {"source": fingerprint(source), "path": _place(source)} | made
    write_json(_manifest(out, source), made)
    return made


def _remove(out: Path, manifest: Path, stored: dict[str, Any]) -> None:
    for clip in stored.get("clips", []):
        shutil.rmtree(out / clip["folder"], ignore_errors=True)
        with suppress(OSError):  # other clips of the person are there
            (out / clip["folder"]).parent.rmdir()
    manifest.unlink(missing_ok=True)


def clear(out: Path) -> None:
    shutil.rmtree(out / UNFINISHED, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(content) + "\n", encoding="utf-8")
    os.replace(unfinished, path)


def _manifest(out: Path, source: Source) -> Path:
    return out / DONE / "videos" / f"{source.name}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
