"""Which files are videos, by their endings."""

from pathlib import Path

from dataloader.paths import VIDEOS

SUFFIXES = (*VIDEOS, ".m4v", ".mpeg", ".mts", ".m2ts", ".ts", ".flv", ".3gp", ".ogv", ".gif")


def is_video_file(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and not path.is_dir()


def video_files(folder: Path) -> list[Path]:
    """Pictures that lie beside them are of something else than their frames."""
    return sorted(filter(is_video_file, folder.iterdir()))
