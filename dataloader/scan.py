"""A folder in place of a list: ``<class>/<clip>/<frames>``, or ``<class>/<image>`` where a clip is one image."""

import posixpath
from collections.abc import Iterator
from pathlib import Path

from dataloader.classes import Classes
from dataloader.frames import SUFFIXES, numeric_key
from dataloader.layouts import Line, labels_named
from dataloader.paths import VIDEOS, slashes
from utils.errors import OnFault, UserError, raise_error, reason_of


def scan_folder(folder: Path, prefix: str, classes: Classes, on_fault: OnFault = raise_error) -> Iterator[Line]:
    """Yield every clip, class by class; the paths begin with ``prefix``, the folder as the user names it."""
    for name in _visible(folder):
        try:
            if not (folder / name).is_dir():
                _refuse_media(folder / name, "expected folders named like the classes")
                continue
            labels, names = labels_named(name, f"folder {folder}", classes), _visible(folder / name)
        except UserError as error:
            on_fault(error)
            continue
        for clip in _clips(folder / name, names, classes, on_fault):
            yield Line(str(folder / name / clip), posixpath.normpath(f"{slashes(prefix)}/{name}/{clip}"), labels)


def _clips(folder: Path, names: list[str], classes: Classes, on_fault: OnFault) -> Iterator[str]:
    has_images = classes.layout == "images"
    for name in names:
        if name.lower().endswith(SUFFIXES) if has_images else (folder / name).is_dir():
            yield name
        elif not has_images:
            try:
                _refuse_media(folder / name, "expected a folder of frames for each clip")
            except UserError as error:
                on_fault(error)


def _refuse_media(path: Path, expected: str) -> None:
    """Raise for a video or an image, which means another layout; any other file beside the clips is ignored."""
    if path.name.lower().endswith(VIDEOS):
        raise UserError(f"{path}: is a video, {expected}; extract its frames first")
    if path.name.lower().endswith(SUFFIXES):
        raise UserError(f"{path}: is an image, {expected}")


def _visible(folder: Path) -> list[str]:
    try:
        return sorted((p.name for p in folder.iterdir() if not p.name.startswith(".")), key=numeric_key)
    except OSError as error:
        raise UserError(f"folder {folder}: {reason_of(error)}") from None
