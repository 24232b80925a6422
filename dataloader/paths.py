"""Paths as lists and box files write them: found on disk, and compared whatever their prefix and slash."""

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path

from dataloader.frames import SUFFIXES

ANCHORS = ("RAER", "DFEW_Frame_Face", "2_ClipsforFaceCrop", "AFEW_Face", "CAER-S", "CAER", "DAiSEE", "faces")
VIDEOS = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".wmv")
MEDIA = VIDEOS + SUFFIXES


def resolve_path(path: str, root: str | None) -> Path:
    """Inside ``--root-dir`` where it exists there, else as given."""
    given = Path(path)
    inside = given if root is None else Path(root) / given  # an absolute path stays as it is
    return given if os.path.exists(given) and not os.path.exists(inside) else inside


def clip_key(path: str, root: str | None) -> str:
    """One name for a clip: its path without the root, and without what stands before the last of ``ANCHORS``.

    Leading folders that the root knows nothing of are another machine's and left out; so is a file's suffix.
    """
    plain = "/" + posixpath.normpath(slashes(path)).strip("/")
    inside = _below_root(plain, root) or plain.strip("/")
    key = _below_anchor("/" + inside)[1] or inside
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
    return stem if suffix.lower() in MEDIA else path


def slashes(path: str) -> str:
    return path.replace("\\", "/")


def _find(written: str, root: str | None, folders: tuple[str, ...], look: Callable[[str], str | None]) -> Path | None:
    places = _places(written, root, folders)
    if root is not None:
        ends = _endings(slashes(written).strip("/"))
        places = chain(places, chain.from_iterable(_below(root, folders, end) for end in ends))
    return next((Path(found) for found in map(look, places) if found), None)


def _places(written: str, root: str | None, folders: tuple[str, ...] = ("",)) -> Iterator[str]:
    """Where a clip may lie, as written or below its anchor."""
    path = slashes(written)
    if root is not None and not os.path.isabs(path):
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
    bases = _spellings(str(root), os.getcwd())
    return next((plain.removeprefix(base) for base in bases if plain.startswith(base)), "")


@lru_cache(maxsize=8)
def _spellings(root: str, folder: str) -> tuple[str, ...]:
    """The root as given, absolute, and without links, seen from the working folder."""
    absolute = os.path.join(folder, root)
    given = {slashes(base) for base in (root, os.path.normpath(absolute), os.path.realpath(absolute))}
    return tuple("/" + base.strip("/").removeprefix("./") + "/" for base in given)


def _endings(path: str) -> Iterator[str]:
    """The path, then without its first folder, without its first two, and so on."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(len(parts)))


def _is_there(path: str) -> bool:
    return any(map(os.path.exists, _with_and_without(path)))


def _with_and_without(path: str) -> tuple[str, ...]:
    return (path, stem) if (stem := without_suffix(path)) != path else (path,)
