"""A camera watched live: a window where there is a display, a line on the terminal elsewhere."""

import os
import sys
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from apps.predict.timeline import NO_ONE, Row

QUIT = {ord("q"), 27}  # q, Escape


class Screen:
    """Shows frames and answers; ``closed`` once the user shut the window."""

    def __init__(self, name: str, say: Callable[[str], None] | None = None) -> None:
        self.name, self.say, self.closed = name, say or print, False
        self.has_window = has_display()

    def __enter__(self) -> "Screen":
        if self.has_window:
            try:
                cv2.namedWindow(self.name, cv2.WINDOW_NORMAL)
            except cv2.error:  # an OpenCV that was built without windows
                self.has_window = False
        if not self.has_window:
            self.say("no display: answers come as lines; Ctrl-C ends")
        return self

    def __exit__(self, *_: Any) -> None:
        if self.has_window:
            cv2.destroyWindow(self.name)

    def show(self, step: Any, picture: np.ndarray | None) -> None:
        """``picture``: the frame with what is drawn on it, RGB."""
        if not self.has_window:
            for rows in step.rows:
                for row in rows:
                    self.say(line_of(row))
            return
        if picture is not None:
            cv2.imshow(self.name, picture[..., ::-1])
            key = cv2.waitKey(1) & 0xFF
            self.closed = key in QUIT or cv2.getWindowProperty(self.name, cv2.WND_PROP_VISIBLE) < 1


def has_display() -> bool:
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def line_of(row: Row) -> str:
    """One answer for the terminal."""
    when = f"{row.start:7.1f} to {row.stop:.1f} s"
    if row.seen == NO_ONE:
        return f"{when}: no one"
    told = f" {row.predicted} {100 * row.confidence:.0f} %" if row.confidence is not None else ""
    return f"{when}: person {row.person or '?'}:{told}" + ("" if row.seen == "face" else f" ({row.seen})")
