"""Which videos there are: files, and folders of frames, below what was named."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dataloader.frames import list_frames, numeric_key
from dataloader.video.kinds import SUFFIXES, is_video_file
from utils.errors import UserError

NOTES = ".prepared"  # in every set that this command made


@dataclass(frozen=True)
class FoundVideo:
    path: Path
    inside: Path  # below the folder that was named

    @property
    def place(self) -> str:
        return os.path.realpath(self.path)  # unlike resolve() it bears links that go around

    @property
    def folders(self) -> tuple[str, ...]:
        return self.inside.parts[:-1]

    @property
    def stem(self) -> str:
        return self.inside.name if self.path.is_dir() else self.inside.stem


def find_videos(named: Sequence[str]) -> tuple[list[FoundVideo], list[Path]]:
    """Every video, and what lies beside them and is none."""
    videos, others = [], []
    for word in named:
        path = Path(word)
        if not path.exists():
            raise UserError(f"{word}: no such file or folder")
        if is_prepared(path):
            raise UserError(f"{word}: is a set that was prepared; name the videos that it was made of")
        if not path.is_dir() or holds_frames(path):
            videos.append(FoundVideo(path, Path(path.resolve().name)))
            continue
        for found, is_video in _walk(path):
            videos.append(FoundVideo(found, found.relative_to(path))) if is_video else others.append(found)
    places: set[str] = set()
    for video in videos:
        if video.place in places:
            raise UserError(f"{video.path}: is named twice, and would be two persons; name it once")
        places.add(video.place)
    if not videos:
        raise UserError(f"{named[0]}: holds no video ({', '.join(SUFFIXES[:4])}, ...) and no folder of frames")
    return videos, others


def holds_frames(folder: Path, above: tuple[Path, ...] = ()) -> bool:
    """Pictures beside videos, or above them, are of something else than their frames."""
    if not list_frames(folder):
        return False
    below = [path for path, is_video in _walk(folder, above) if is_video]
    if below and all(path.is_dir() for path in below):
        raise UserError(f"{folder}: holds pictures, and so does {below[0]}; move those that are no frames elsewhere")
    return not below


def is_prepared(folder: Path) -> bool:
    return (folder / NOTES / "options.json").is_file()


def _walk(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[tuple[Path, bool]]:
    """Whatever lies below, by the numbers in its names, and whether it is a video. Prepared sets are none, nor links
    to where they lie in."""
    above = (*above, folder.resolve())
    for name in sorted(os.listdir(folder), key=numeric_key):
        path = folder / name
        if name.startswith("."):
            continue
        if not path.is_dir():
            yield path, is_video_file(path)
        elif is_prepared(path) or path.resolve() in above:
            yield path, False
        elif holds_frames(path, above):
            yield path, True
        else:
            yield from _walk(path, above)
