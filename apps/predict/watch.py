"""Who is in a video, frame by frame: which frames are sampled and searched, and the squares cut from them."""

from typing import Any

import numpy as np

from apps.predict.runner import About
from apps.predict.timeline import Face
from apps.predict.windows import ANYONE, Grid, Sample, View
from dataloader.boxes import Box
from dataloader.crops import margin_like
from dataloader.detect import body_box
from dataloader.squares import context_square, face_square

EARLY = 0.9  # a search may come by a tenth early, so that it falls on a sampled frame


class Watcher:
    """Searches are dear: they are made on sampled frames, ``detect_every`` seconds apart at least, and at most twice as
    long where no frame is sampled. In between every person is where the last search left them."""

    def __init__(self, detector: Any, tracker: Any, about: About, grid: Grid, detect_every: float) -> None:
        self.detector, self.tracker, self.about = detector, tracker, about
        self.grid, self.detect_every = grid, detect_every
        self.searched: float | None = None
        self.persons: list[Any] = []
        self.bodies: list[Any] = []

    def look(self, seconds: float, frame: np.ndarray) -> Sample | None:
        """The frame as a sample, where it is one."""
        is_sampled = self.grid.takes(seconds)
        wait = self.detect_every * (EARLY if is_sampled else 2)
        if self.searched is None or seconds - self.searched >= wait:
            found = self.detector(frame)
            self.searched, self.bodies = seconds, found.bodies
            self.persons = self.tracker.update(seconds, found)
        return self._sample(seconds, frame) if is_sampled else None

    def faces(self) -> list[Face]:
        """Every person, where the last search found the face or where it is expected."""
        return [Face(person.id, person.face, person.seen) for person in self.persons]

    def _sample(self, seconds: float, frame: np.ndarray) -> Sample:
        views = {person.id: self._view(frame, person.face, person.seen) for person in self.persons}
        if not views and self.bodies and not self.about.needs_face:
            views[ANYONE] = self._view(frame, None, False)
        return Sample(seconds, views)

    def _view(self, frame: np.ndarray, face: Box | None, is_found: bool) -> View:
        """Without a face the face stream has the whole frame: what training shows it of clips without face boxes. Where
        the face is hidden, the body is sought around the place where it is expected."""
        about, squares = self.about, {}
        if "face" in about.views and (is_found or not about.needs_face):
            margin = margin_like(about.face_width, face) if is_found else 0
            squares["face"] = face_square(frame, face if is_found else None, about.size, margin)
        if "context" in about.views:
            height, width = frame.shape[:2]
            body = body_box(face, self.bodies, width, height) if about.crop_body else None
            squares["context"] = context_square(frame, body, about.size)
        return View(is_found, squares)
