"""Annotation lists: one clip a line, ``path frames label``, blank-separated; labels count from the set's label base."""

from dataclasses import dataclass
from pathlib import Path

from dataloader.classes import Classes
from dataloader.frames import list_frames
from dataloader.paths import clip_key, find_clip_folder, resolve_path
from utils.errors import UserError


@dataclass(frozen=True)
class Clip:
    """One line of a list, found on disk."""

    id: str  # the path as the list writes it
    folder: Path
    frames: tuple[str, ...]  # file names in time order
    listed_frames: int
    label: int  # 0-based
    key: str  # the path without root and prefix: the same however a list spells it

    @property
    def person(self) -> str:
        """The folder above the clip: person ids repeat between classes."""
        return self.key.rpartition("/")[0]

    def frame_path(self, index: int) -> Path:
        return self.folder / self.frames[index]


def read_annotation(
    file: str, root: str | None, classes: Classes, packed: dict[str, tuple[str, ...]] | None = None
) -> list[Clip]:
    """Every clip of a list; the first line at fault ends in an error that names it.

    ``packed``: the frames of clips in a pack, by key; their folders may be missing.
    """
    path = resolve_path(file, root)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"annotation list {path}: {(error.strerror or 'cannot be read').lower()}") from None
    except UnicodeDecodeError:
        raise UserError(f"annotation list {path}: not a UTF-8 text file") from None
    clips = [
        _read_line(line, f"{path}, line {n}", root, classes, packed or {})
        for n, line in enumerate(lines, 1)
        if line.strip()
    ]
    if not clips:
        raise UserError(f"annotation list {path}: holds no clip; expected lines of `path frames label`")
    return clips


def _read_line(line: str, where: str, root: str | None, classes: Classes, packed: dict[str, tuple[str, ...]]) -> Clip:
    fields = line.strip().rsplit(maxsplit=2)  # from the right: paths may hold blanks
    if len(fields) < 3:
        raise UserError(f"{where}: expected `path frames label`, got {line.strip()!r}")
    written, frames, label = fields
    try:
        listed_frames, listed_label = int(frames), int(label)
    except ValueError:
        raise UserError(f"{where}: frames and label must be whole numbers, got {frames!r} and {label!r}") from None
    last = classes.label_base + len(classes) - 1
    if not classes.label_base <= listed_label <= last:
        raise UserError(
            f"{where}: label {listed_label} is outside {classes.label_base}..{last} "
            f"({', '.join(classes.names)}); labels of this set count from {classes.label_base}"
        )
    key, tried = clip_key(written, root), Path(root or ".") / written
    folder = find_clip_folder(written, root) or (tried if key in packed else None)
    if folder is None:
        raise UserError(f"{where}: no folder {tried}; check the list and --root-dir")
    names = packed.get(key) or list_frames(folder)
    if not names:
        raise UserError(f"{where}: {folder} holds no image; remove the line or restore the frames")
    return Clip(written, folder, names, listed_frames, listed_label - classes.label_base, key)
