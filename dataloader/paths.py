"""Paths as lists and box files write them: found on disk, and compared whatever their prefix and slash."""

import os
import posixpath
from pathlib import Path


def resolve_path(path: str, root: str | None) -> Path:
    """Inside ``--root-dir`` where it exists there, else as given."""
    given = Path(path)
    inside = given if root is None else Path(root) / given  # an absolute path stays as it is
    return given if _exists(given) and not _exists(inside) else inside


def clip_key(path: str, root: str | None) -> str:
    """One name for a clip folder: what follows the last ``RAER/``, else what follows the root, else the path."""
    plain = "/" + posixpath.normpath(slashes(path)).strip("/")
    if "/RAER/" in plain:
        return plain[plain.rindex("/RAER/") + len("/RAER/") :]
    if root is not None:
        for base in {slashes(b) for b in (str(root), os.path.abspath(root), str(Path(root).resolve()))}:
            base = "/" + base.strip("/").removeprefix("./") + "/"
            if plain.startswith(base):
                return plain.removeprefix(base)
    return plain.strip("/")


def find_clip_folder(written: str, root: str | None) -> Path | None:
    """The folder of a clip: as written, inside the root, or what follows ``RAER/`` inside the root."""
    path = slashes(written)
    bases = [path] if root is None or Path(path).is_absolute() else [f"{root}/{path}", path]
    if root is not None and "RAER/" in path:
        inside = path[path.rindex("RAER/") + len("RAER/") :]
        bases += [f"{root}/RAER/{inside}", f"{root}/{inside}"]
    return next((Path(base) for base in bases if _is_folder(base)), None)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):  # a name too long, or with a NUL byte, is no folder either
        return False


def slashes(path: str) -> str:
    return path.replace("\\", "/")
