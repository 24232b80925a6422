"""Videos that no label file names: the challenge's test videos, by their frames; or any features, by their file."""

from pathlib import Path

from dataloader.affwild import Video, number_files
from dataloader.frame_labels import TASKS, unlabelled
from dataloader.sequences import open_features
from utils.errors import UserError


def read_other_videos(frames_dir: Path, named: set[str]) -> list[Video]:
    """Every folder of frames but those of ``named``; as long as its highest number."""
    folders = sorted(path for path in frames_dir.iterdir() if path.is_dir() and path.name not in named)
    numbered = {path: number_files(path) for path in folders if not path.name.startswith(".")}
    return [
        Video(path.name, path, tuple(by_number.get(n) for n in range(1, max(by_number) + 1)), {})
        for path, by_number in numbered.items()
        if by_number
    ]


def read_feature_videos(folder: Path) -> list[Video]:
    """One for each ``<video>.npy``, as long as its rows; nobody knows which of its frames had a face."""
    if not folder.is_dir():
        raise UserError(f"--features {folder}: no such folder")
    files = sorted(folder.glob("*.npy"))
    if not files:
        raise UserError(f"--features {folder}: holds no .npy file of a video")
    return [_video(path) for path in files]


def _video(path: Path) -> Video:
    frames = len(open_features(path))
    if not frames:
        raise UserError(f"{path}: holds no frame")
    return Video(path.stem, None, (None,) * frames, {task: unlabelled(task, frames) for task in TASKS})
