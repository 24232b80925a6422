"""Find the paths of lists and box files on disk, compare them without prefixes, and count folds."""

import glob
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

from dataloader.frames import SUFFIXES
from utils.json_files import read_json

ANCHORS = ("RAER", "DFEW_Frame_Face", "2_ClipsforFaceCrop", "AFEW_Face", "CAER-S", "CAER", "DAiSEE", "faces")
VIDEO_SUFFIXES = (
    ".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".wmv", ".m4v", ".mpeg", ".mts", ".m2ts", ".ts", ".flv", ".3gp",
    ".ogv", ".gif",
)  # fmt: skip
MEDIA = VIDEO_SUFFIXES + SUFFIXES
SPAN = "#t="  # separates a video from the seconds of the clip: video.mp4#t=12.5,20
FOLD = "{fold}"  # in a path; replaced by the number of a fold
MAX_DEPTH = 64  # depth below the root to which clips are searched
FOLDS_FILE = "folds.json"  # beside folds that python -m dataloader.audit made


def resolve_path(path: str, root: str | None) -> Path:
    """Return the path inside ``--root-dir`` if it exists there, else the path itself."""
    plain = Path(path)
    inside = plain if root is None else Path(root) / plain  # an absolute path stays as it is
    return plain if os.path.exists(plain) and not os.path.exists(inside) else inside


def clip_key(path: str, root: str | None) -> str:
    """Return one name for all spellings of a clip's path: without the root and all before the last of ``ANCHORS``.

    Leading folders that do not exist below the root are of another machine and are left out, and so is a suffix.
    """
    return clip_keys([path], root)[0]


def clip_keys(paths: Iterable[str], root: str | None) -> list[str]:
    """Return the ``clip_key`` of each path; the disk is searched once for all paths of one folder."""
    bases = () if root is None else _spellings(str(root), os.getcwd())
    folders = ["", *(anchor for anchor in ANCHORS if root is not None and os.path.isdir(f"{root}/{anchor}"))]
    places: dict[str, _Prefixes] = {}
    keys = []
    for path in map(slashes, paths):
        if path.endswith(("/", "/.", "/..")):
            path = posixpath.normpath(path)
        name = path[path.rfind("/") + 1 :]
        above = path[: len(path) - len(name)]
        if above not in places:
            places[above] = _prefixes_of(path, name, root, bases, folders)
        keys.append(without_suffix(places[above].prefix_of(name) + name))
    return keys


@dataclass(frozen=True)
class _Prefixes:
    """Possible prefixes of the paths of one folder. A prefix is the path before the last name, with its slash."""

    key: str  # prefix of the key as written
    as_written: list[str]  # prefixes on the disk
    endings: list[tuple[str, list[str]]]  # prefixes of shorter keys, each with those on the disk

    def prefix_of(self, name: str) -> str:
        if any(_exists(prefix + name) for prefix in self.as_written):
            return self.key
        return next((key for key, disk in self.endings if any(_exists(prefix + name) for prefix in disk)), self.key)


def _prefixes_of(path: str, name: str, root: str | None, bases: tuple[str, ...], folders: list[str]) -> _Prefixes:
    """Return the possible prefixes of ``path``, which ends with ``name``.

    ``bases`` are the spellings of the root, ``folders`` the folders of clips below it. Folders that do not exist are
    left out, because they cannot hold a clip.
    """

    def prefixes(paths: Iterable[str]) -> list[str]:
        ends = dict.fromkeys(path[: len(path) - len(name)] for path in paths)
        return [prefix for prefix in ends if os.path.isdir(prefix or ".")]

    plain = "/" + posixpath.normpath(path).strip("/")
    inside = next((plain.removeprefix(base) for base in bases if plain.startswith(base)), "") or plain.strip("/")
    key = _below_anchor("/" + inside)[1] or inside
    prefix = key[: len(key) - len(name)]
    if root is None:
        return _Prefixes(prefix, [], [])
    endings = [(end[: len(end) - len(name)], prefixes(_below(root, folders, end))) for end in _endings(key)]
    return _Prefixes(prefix, prefixes(_candidates(path, root)), endings)


def find_clip_folder(path: str, root: str | None, folders: tuple[str, ...] = ("",)) -> Path | None:
    """Return the folder of a clip, by its path or the name of its video, below one of ``folders`` of the root."""
    return _find(path, root, folders, lambda name: next(filter(os.path.isdir, _with_and_without(name)), None))


def find_file(path: str, root: str | None, folders: tuple[str, ...] = ("",)) -> Path | None:
    """Return the file that a list names, searched for in the same folders as a clip."""
    return _find(path, root, folders, lambda name: name if os.path.isfile(name) else None)


def without_suffix(path: str) -> str:
    """Return the path without the suffix of a video or an image."""
    stem, suffix = posixpath.splitext(path)
    return stem if suffix.lower() in MEDIA else path


def slashes(path: str) -> str:
    return path.replace("\\", "/")


def _find(path: str, root: str | None, folders: tuple[str, ...], look: Callable[[str], str | None]) -> Path | None:
    candidates = _candidates(path, root, folders)
    if root is not None:
        ends = _endings(slashes(path).strip("/"))
        candidates = chain(candidates, chain.from_iterable(_below(root, folders, end) for end in ends))
    return next((Path(match) for match in map(look, candidates) if match), None)


def _candidates(path: str, root: str | None, folders: tuple[str, ...] = ("",)) -> Iterator[str]:
    """Yield possible paths of a clip, as written or below its anchor."""
    path = slashes(path)
    if root is not None and not os.path.isabs(path):
        yield from _below(root, folders, path)
    yield path
    anchor, inside = _below_anchor("/" + path)
    if root is not None and inside:
        yield from (f"{root}/{anchor}/{inside}", f"{root}/{inside}")


def _below(root: str, folders: Iterable[str], path: str) -> list[str]:
    return [posixpath.join(root, folder, path) for folder in folders]


def _below_anchor(path: str) -> tuple[str, str]:
    """Return the last of ``ANCHORS`` in a path, and the path behind it; two empty texts if there is none."""
    parts = path.rstrip("/").split("/")
    last = max((index for index, part in enumerate(parts[:-1]) if part in ANCHORS), default=None)
    return ("", "") if last is None else (parts[last], "/".join(parts[last + 1 :]))


@lru_cache(maxsize=8)
def _spellings(root: str, folder: str) -> tuple[str, ...]:
    """Return a folder below the root as written, absolute, and with links resolved."""
    absolute = os.path.join(folder, root)
    bases = {slashes(base) for base in (root, os.path.normpath(absolute), os.path.realpath(absolute))}
    return tuple("/" + base.strip("/").removeprefix("./") + "/" for base in bases)


def _endings(path: str) -> Iterator[str]:
    """Yield the path, then without its first folder, its first two, and so on; nothing for a very deep path."""
    parts = path.split("/")
    return ("/".join(parts[start:]) for start in range(max(0, len(parts) - MAX_DEPTH), len(parts)))


def _exists(path: str) -> bool:
    return any(map(os.path.exists, _with_and_without(path.partition(SPAN)[0])))


def _with_and_without(path: str) -> tuple[str, ...]:
    return (path, stem) if (stem := without_suffix(path)) != path else (path,)


def count_folds(paths: Iterable[str], root: str | None, stated: int) -> int:
    """Return the number of folds of paths with ``{fold}``: the number in ``folds.json`` beside them, else the highest
    number on the disk, but at least ``stated``, the number of the data set."""
    paths = [path for path in paths if FOLD in path]
    for path in paths:
        file = resolve_path(os.path.join(os.path.dirname(path.partition(FOLD)[0]), FOLDS_FILE), root)
        content = read_json(file) if file.is_file() else None
        number = content.get("folds") if isinstance(content, dict) else None
        if isinstance(number, int) and 1 < number < 1000:
            return number
    return max([stated, *(number for path in paths for number in folds_on_disk(path, root))])


def folds_on_disk(path: str, root: str | None) -> list[int]:
    """Return the numbers from 1 for which the path exists."""
    begin, *rest = path.split(FOLD)
    pattern = "*".join(map(glob.escape, [begin, *rest]))
    patterns = [str(Path(root) / pattern), pattern] if root else [pattern]
    same_number = re.escape(begin) + "([1-9][0-9]{0,2})" + r"\1".join(map(re.escape, rest)) + "$"
    matches = (re.search(same_number, name) for pattern in patterns for name in glob.glob(pattern))
    return sorted({int(match[1]) for match in matches if match})
