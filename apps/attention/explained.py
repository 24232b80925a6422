"""What ``--mode attention`` finds in one clip: maps of every frame that the model saw, and their sums."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dataloader.annotation import Clip


@dataclass(frozen=True)
class Explained:
    clip: Clip
    names: tuple[str, ...]  # of the classes
    label: int  # the class that was looked for
    probabilities: np.ndarray  # (C,)
    indexes: list[int]  # the frames of the clip that the model saw, in time order
    maps: dict[str, np.ndarray]  # stream → (frames, rows, columns), not negative
    padding: float | None  # of the context's relevance, the share that lies outside the picture

    @property
    def predicted(self) -> int:
        return int(self.probabilities.argmax())

    @property
    def courses(self) -> dict[str, np.ndarray]:
        """Of each stream the share of every frame (frames,); all together make 1."""
        sums = {stream: values.sum(axis=(1, 2)) for stream, values in self.maps.items()}
        total = sum(float(values.sum()) for values in sums.values())
        return {stream: values / (total or 1.0) for stream, values in sums.items()}

    @property
    def shares(self) -> dict[str, float]:
        return {stream: float(values.sum()) for stream, values in self.courses.items()}

    def as_dict(self) -> dict[str, Any]:
        """For attention.json."""
        courses = self.courses
        frames = [
            {"frame": self.clip.frames[index]} | {stream: float(courses[stream][n]) for stream in courses}
            for n, index in enumerate(self.indexes)
        ]
        return {
            "clip": self.clip.id,
            "label": self.names[self.clip.label],
            "predicted": self.names[self.predicted],
            "probability": float(self.probabilities[self.predicted]),
            "explained": self.names[self.label],
            "explained_probability": float(self.probabilities[self.label]),
            "shares": self.shares,
            "padding": self.padding,
            "frames": frames,
        }

    def title(self) -> str:
        """Two lines: which clip, and what it is, was taken for, and is explained as."""
        return f"{self.clip.id}\n{self.subtitle()}"

    def subtitle(self) -> str:
        sure = f"{100 * self.probabilities[self.predicted]:.0f} %"
        said = f"label {self.names[self.clip.label]}, predicted {self.names[self.predicted]} ({sure})"
        own = "" if self.label == self.predicted else f" ({100 * self.probabilities[self.label]:.0f} %)"
        none = "" if self.has_any else ": nothing"
        return f"{said}; shown: what speaks for {self.names[self.label]}{own}{none}"

    @property
    def has_any(self) -> bool:
        """Whether anything at all speaks for the class."""
        return any(values.any() for values in self.maps.values())

    def in_a_line(self) -> str:
        if not self.has_any:
            return f"{self.clip.id}: {self.subtitle()}"
        parts = [f"{stream} {100 * share:.0f} %" for stream, share in self.shares.items()]
        if self.padding is not None:
            parts.append(f"{100 * self.padding:.0f} % of the context's in its padding")
        together = sum(self.courses.values())
        peak = self.clip.frames[self.indexes[int(np.argmax(together))]]
        return f"{self.clip.id}: {self.subtitle()}; {', '.join(parts)}; most in {peak}"
