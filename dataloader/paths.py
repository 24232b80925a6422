"""Paths as lists and box files write them: found on disk, and compared whatever their prefix and slash."""

from pathlib import Path


def resolve_path(path: str, root: str | None) -> Path:
    """As given where it exists, else inside ``--root-dir``."""
    given = Path(path)
    if given.is_absolute() or given.exists() or root is None:
        return given
    return Path(root) / given


def clip_key(path: str, root: str | None) -> str:
    """One name for a clip folder: what follows the last ``RAER/``, else what follows the root, else the path."""
    plain = "/" + slashes(path).strip("/").removeprefix("./")
    if "/RAER/" in plain:
        return plain[plain.rindex("/RAER/") + len("/RAER/") :]
    if root is not None:
        for base in (slashes(str(root)), slashes(str(Path(root).resolve()))):
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


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):  # a name too long, or with a NUL byte, is no folder either
        return False


def slashes(path: str) -> str:
    return path.replace("\\", "/")
