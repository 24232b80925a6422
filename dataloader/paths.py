"""Paths as lists and box files write them: found on disk, and compared whatever their prefix and slash."""

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dataloader.frames import SUFFIXES

ANCHORS = ("RAER", "DFEW_Frame_Face", "2_ClipsforFaceCrop", "AFEW_Face", "CAER-S", "CAER", "DAiSEE", "faces")
VIDEOS = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".wmv")


def resolve_path(path: str, root: str | None) -> Path:
    """Inside ``--root-dir`` where it exists there, else as given."""
    given = Path(path)
    inside = given if root is None else Path(root) / given  # an absolute path stays as it is
    return given if os.path.exists(given) and not os.path.exists(inside) else inside


def clip_key(path: str, root: str | None) -> str:
    """One name for a clip: what follows the last of ``ANCHORS``, else what follows the root, else the path.

    Leading folders that the root knows nothing of are another machine's and left out; so is a file's suffix.
    """
    plain = "/" + posixpath.normpath(slashes(path)).strip("/")
    key = _below_anchor(plain)[1] or _below_root(plain, root) or plain.strip("/")
    if root is not None and not any(map(_is_there, _places(path, root))):
        known = ["", *(anchor for anchor in ANCHORS if os.path.isdir(f"{root}/{anchor}"))]
        key = next((end for end in _endings(key) if any(map(_is_there, _below(root, known, end)))), key)
    return without_suffix(key)


def find_clip_folder(written: str, root: str | None, folders: tuple[str, ...] = ("",)) -> Path | None:
    """The folder of a clip: as written or by the name of its video, below one of ``folders`` of the root."""
    return _find(written, root, folders, lambda path: next(filter(os.path.isdir, _with_and_without(path)), None))


def find_file(written: str, root: str | None, folders: tuple[str, ...] = ("",)) -> Path | None:
    """The file that a list names, looked for in the same places."""
    return _find(written, root, folders, lambda path: path if os.path.isfile(path) else None)


def without_suffix(path: str) -> str:
    """A clip is named like its video or its image."""
    stem, suffix = posixpath.splitext(path)
    return stem if suffix.lower() in VIDEOS + SUFFIXES else path


def slashes(path: str) -> str:
    return path.replace("\\", "/")


def _find(written: str, root: str | None, folders: tuple[str, ...], look: Callable[[str], str | None]) -> Path | None:
    places = list(_places(written, root, folders))
    if root is not None:
        for end in _endings(slashes(written).strip("/")):
            places += _below(root, folders, end)
    return next((Path(found) for found in map(look, places) if found), None)


def _places(written: str, root: str | None, folders: tuple[str, ...] = ("",)) -> Iterator[str]:
    """Where a clip may lie, as written or below its anchor."""
    path = slashes(written)
    if root is not None and not Path(path).is_absolute():
        yield from _below(root, folders, path)
    yield path
    anchor, inside = _below_anchor("/" + path)
    if root is not None and inside:
        yield from (f"{root}/{anchor}/{inside}", f"{root}/{inside}")


def _below(root: str, folders: Iterable[str], path: str) -> list[str]:
    return [posixpath.join(root, folder, path) for folder in folders]


def _below_anchor(path: str) -> tuple[str, str]:
    """The last folder that a set unpacks to, and what lies in it; both empty where there is none."""
    parts = path.rstrip("/").split("/")
    last = max((place for place, part in enumerate(parts[:-1]) if part in ANCHORS), default=None)
    return ("", "") if last is None else (parts[last], "/".join(parts[last + 1 :]))


def _below_root(plain: str, root: str | None) -> str:
    if root is None:
        return ""
    for base in {slashes(b) for b in (str(root), os.path.abspath(root), str(Path(root).resolve()))}:
        base = "/" + base.strip("/").removeprefix("./") + "/"
        if plain.startswith(base):
            return plain.removeprefix(base)
    return ""


def _endings(path: str) -> Iterator[str]:
    """The path, then without its first folder, without its first two, and so on."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _is_there(path: str) -> bool:
    return any(map(os.path.exists, _with_and_without(path)))


def _with_and_without(path: str) -> tuple[str, ...]:
    return (path, stem) if (stem := without_suffix(path)) != path else (path,)
