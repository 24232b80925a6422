"""The folder of a prepared set: whole videos only, so that the same command goes on at any moment."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dataloader.prepare.notes import IMAGES, Stored, note_of, read_json, read_note, write_json
from dataloader.prepare.options import PrepareOptions
from dataloader.prepare.sources import Source
from dataloader.prepare.videos import NOTES
from utils.errors import UserError
from utils.files import acquire_lock

FORMAT = 2
UNFINISHED = ".unfinished"


@contextmanager
def open_folder(out: Path, options: PrepareOptions) -> Iterator[None]:
    """Made, or found to be of the same options; one call at a time. Nothing is left where nothing was done."""
    settings, is_new = out / NOTES / "options.json", not out.exists()
    if (
        not settings.is_file()
        and not is_new
        and (not out.is_dir() or any(path.name != NOTES for path in out.iterdir()))
    ):
        raise UserError(f"--out {out}: exists and is no prepared set; choose another or an empty folder")
    with acquire_lock(out / NOTES / "lock", f"--out {out}: another call is writing there; wait until it has ended"):
        if settings.is_file():
            _compare(out, settings, options)
        else:
            write_json(settings, _asked(options))
        try:
            yield
        finally:
            shutil.rmtree(out / UNFINISHED, ignore_errors=True)
            if not any((out / NOTES).glob("videos/*.json")):
                shutil.rmtree(out / NOTES, ignore_errors=True)
                with suppress(OSError):  # it holds something
                    out.rmdir() if is_new else None


def _asked(options: PrepareOptions) -> dict[str, Any]:
    return {"format": FORMAT} | options.of_frames()


def _compare(out: Path, settings: Path, options: PrepareOptions) -> None:
    found, asked = read_json(settings), _asked(options)
    if not isinstance(found, dict):
        raise UserError(f"{settings}: is damaged, and with it what the clips are like; choose another --out")
    other = [f"{name} {found.get(name)} instead of {asked[name]}" for name in asked if found.get(name) != asked[name]]
    if other:
        raise UserError(f"--out {out}: was begun with {', '.join(other)}; choose another --out or remove it first")


def renew(out: Path, source: Source, made: dict[str, Any]) -> None:
    """A set that was moved is known by its new place from now on."""
    if made["path"] != source.place:
        write_json(note_of(out, source.name), made | {"path": source.place})


def is_whole(out: Path, made: dict[str, Any]) -> bool:
    return all((out / clip["folder"]).is_dir() for clip in made["clips"])


def begin(out: Path, source: Source) -> Path:
    """A place for the clips of a video."""
    place = out / UNFINISHED / source.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    return place


def finish(out: Path, source: Source, place: Path, made: dict[str, Any]) -> dict[str, Any]:
    """The clips go where they belong, those made of the video before go, and it is done.

    Until then the note tells what may lie there, but of no version of the video.
    """
    earlier = source.earlier or source.name
    before = _folders(out, earlier)
    note, made = note_of(out, source.name), {"path": source.place, "before": [], "source": source.basis} | made
    write_json(note_of(out, earlier), made | {"source": {"stamp": source.stamp}, "before": before})
    os.replace(note_of(out, earlier), note)  # one note of it at every moment
    _remove(out, before)
    for clip in made["clips"]:
        target = out / clip["folder"]
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(place / clip["folder"], target)
    shutil.rmtree(place)
    write_json(note, made)
    return made


def drop(out: Path, stored: Stored) -> None:
    _remove(out, _folders(out, stored.name))
    note_of(out, stored.name).unlink(missing_ok=True)


def _folders(out: Path, name: str) -> list[str]:
    """Where the clips of a video may lie: by its note, or where that is damaged by their names."""
    note = note_of(out, name)
    if not note.exists():
        return []
    if (made := read_note(note).made) is not None:
        return made["before"] + [clip["folder"] for clip in made["clips"]]
    shape = re.compile(re.escape(name) + r"_\d{4,}")
    return [f"{IMAGES}/{path.parent.name}/{path.name}" for path in out.glob("images/*/*") if shape.fullmatch(path.name)]


def _remove(out: Path, folders: list[str]) -> None:
    for folder in folders:
        shutil.rmtree(out / folder, ignore_errors=True)
        with suppress(OSError):  # other clips of the person are there
            (out / folder).parent.rmdir()
