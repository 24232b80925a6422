"""Any source of frames by what names it."""

import os
from pathlib import Path

from dataloader.frames import SUFFIXES
from dataloader.video.camera import CameraVideo
from dataloader.video.file import FileVideo
from dataloader.video.pictures import FolderVideo, PictureVideo
from dataloader.video.video import Video

FOLDER_FPS = 25.0  # of a folder of frames, where nobody says


def open_video(source: str | int | Path, fps: float | None = None) -> Video:
    """A number is a camera, a folder holds frames (``fps`` of them a second), a picture is told by its ending."""
    if isinstance(source, int) or (str(source).isdecimal() and not os.path.exists(source)):
        return CameraVideo(int(source))
    path = Path(source)
    if path.is_dir():
        return FolderVideo(path, fps or FOLDER_FPS)
    return PictureVideo(path) if path.suffix.lower() in SUFFIXES else FileVideo(path)
