"""The frames of a long video as squares, those without a file left out: what an image encoder runs over."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dataloader.affwild import Video
from dataloader.crops import letterbox
from dataloader.decode import decode_frame
from dataloader.frames import BadFrame
from utils.errors import UserError


class VideoFrames(Dataset):
    """``dataset[i]``: the i-th frame that is there, (3, S, S) uint8, and whether it could be read.

    ``skips``: one that cannot be read is black instead of the end of the run.
    """

    def __init__(self, video: Video, size: int, skips: bool = False) -> None:
        if video.folder is None:
            raise UserError(f"{video.id}: read without the folder of its frames")
        self.video, self.size, self.skips = video, size, skips
        self.present = np.flatnonzero(~video.missing)

    def __len__(self) -> int:
        return len(self.present)

    def __getitem__(self, place: int) -> tuple[Tensor, bool]:
        name = self.video.files[self.present[place]]
        try:
            frame, _ = decode_frame(self.video.folder / name)
        except BadFrame:
            if not self.skips:
                raise
            return torch.zeros(3, self.size, self.size, dtype=torch.uint8), False
        return torch.from_numpy(to_square(frame, self.size)).permute(2, 0, 1), True


def to_square(frame: np.ndarray, size: int) -> np.ndarray:
    """As cropped and aligned, so only its size changes: averaged where it shrinks."""
    height, width = frame.shape[:2]
    if (height, width) == (size, size):
        return frame.copy()
    if height != width:
        return letterbox(frame, size)
    rule = cv2.INTER_AREA if size < width else cv2.INTER_LINEAR
    return cv2.resize(frame, (size, size), interpolation=rule)
