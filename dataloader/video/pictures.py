"""A folder of frames, or one picture, as a video."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.Image import Transpose

from dataloader.frames import BadFrame, list_frames, open_frame, to_rgb
from dataloader.video.video import Shot, Video
from utils.errors import UserError

ORIENTATION = 0x0112  # of EXIF
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
LYING = (5, 6, 7, 8)  # width and height change places


def of_one_size(folder: Path, names: Sequence[str]) -> bool:
    """As frames of a video are, and photographs often are not; by what the files say of themselves."""
    sizes = (size for name in names if (size := _size(folder / name)))
    first = next(sizes, None)
    return all(size == first for size in sizes)


def _size(path: Path) -> tuple[int, int] | None:
    try:
        with open_frame(path) as image:
            return image.size[::-1] if _orientation(image) in LYING else image.size
    except BadFrame:
        return None


def _orientation(image: Image.Image) -> int:
    """As the camera noted it before the pixels: what stands behind them would need every PNG read to its end.

    1, upright, where the note is broken, and of a TIFF, which Pillow turns by itself.
    """
    if image.format == "TIFF":
        return 1
    try:
        return Image.Image.getexif(image).get(ORIENTATION, 1)
    except Exception:  # whatever the bytes of a broken note lead to
        return 1


class FolderVideo(Video):
    """A folder of frames in the order of the numbers in their names."""

    def __init__(self, path: Path, fps: float) -> None:
        self.path, self.name, self.fps = path, path.resolve().name, fps
        self.files = list_frames(path)
        if not self.files:
            raise UserError(f"{path}: holds no image; expected a folder of frames or a video file")
        self.duration = len(self.files) / fps
        self.width, self.height = self._first_readable().shape[1::-1]
        for name in self.files:  # before anything is made of the pictures before it
            self._require_size(name, _size(path / name))

    def _first_readable(self) -> np.ndarray:
        for name in self.files:
            try:
                return upright(self.path / name)
            except BadFrame:
                continue
        raise UserError(f"{self.path}: none of its {len(self.files)} images can be read")

    def _shots(self) -> Iterator[Shot]:
        bad = []
        for number, name in enumerate(self.files):
            try:
                frame = upright(self.path / name)
            except BadFrame:
                bad.append(name)
                continue
            self._require_size(name, frame.shape[1::-1])
            yield number / self.fps, lambda frame=frame: frame
        more = ", ..." if len(bad) > 1 else ""
        self.damaged = f"{len(bad)} of {len(self.files)} images cannot be read ({bad[0]}{more})" if bad else None

    def _require_size(self, name: str, size: tuple[int, int] | None) -> None:
        if size not in (None, (self.width, self.height)):
            raise UserError(
                f"{self.path / name}: is {size[0]} × {size[1]}, the frames before it {self.width} × {self.height}; put "
                "pictures of another size in a folder of their own"
            )


class PictureVideo(Video):
    """One picture, for a second."""

    is_still = True

    def __init__(self, path: Path) -> None:
        self.name, self.fps, self.duration = path.stem, 1.0, 1.0
        try:
            self.pixels = upright(path)
        except BadFrame as error:
            if not path.exists():
                raise UserError(f"{path}: no such file or folder") from None
            is_empty = path.is_file() and not path.stat().st_size
            raise UserError(f"{path}: is empty" if is_empty else str(error).partition("; replace")[0]) from None
        self.height, self.width = self.pixels.shape[:2]

    def _shots(self) -> Iterator[Shot]:
        yield 0.0, lambda: self.pixels


def upright(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB, turned as the camera noted."""
    return np.array(_turned(path))  # a quarter faster where the decoded file is gone by now


def _turned(path: Path) -> Image.Image:
    with open_frame(path) as image:
        turn, frame = TURNS.get(_orientation(image)), to_rgb(image)
    return frame if turn is None else frame.transpose(turn)
