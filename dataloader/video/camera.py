"""A camera as a video that ends when it is closed."""

import time
from collections.abc import Iterator

import cv2
import numpy as np

from dataloader.video.video import UNKNOWN_FPS, Shot, Video
from utils.errors import UserError


class CameraVideo(Video):
    """A camera until it is closed; times are of the clock, from its first frame on."""

    def __init__(self, number: int) -> None:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # a page for a camera that is not there
        self.name, self._capture = f"camera {number}", cv2.VideoCapture(number)
        found, frame = self._capture.read() if self._capture.isOpened() else (False, None)
        if not found:
            self._capture.release()
            raise UserError(f"camera {number}: cannot be opened; is one attached, and free?")
        self.height, self.width = frame.shape[:2]
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = rate if 1 <= rate <= 240 else UNKNOWN_FPS

    def close(self) -> None:
        self._capture.release()

    def _shots(self) -> Iterator[Shot]:
        begin = None
        while self._capture.isOpened() and self._capture.grab():
            now = time.monotonic()
            begin = now if begin is None else begin
            yield now - begin, self._retrieve

    def _retrieve(self) -> np.ndarray:
        found, frame = self._capture.retrieve()
        if not found:
            raise UserError(f"{self.name}: gave no picture; was it unplugged?")
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
