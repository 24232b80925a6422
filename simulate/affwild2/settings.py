"""What decides the bytes of a set in Aff-Wild2's layout."""

from dataclasses import asdict, dataclass
from typing import Literal

from simulate.flags import option, require

FEWEST = 8  # videos: a pair and a single one on either side, and enough of them for every fold


@dataclass(frozen=True)
class VideoSettings:
    """Every video shows a person of its own, so train and validation share nobody."""

    layout: Literal["affwild2"] = option("affwild2", "")
    clips: int = option(16, "how many videos, both sets together; two pairs of them show the two persons of one video")
    test_fraction: float = option(0.3, "share of the videos in the validation set")
    seed: int = option(42, "same seed, same bytes")
    frames: int | None = option(None, "400 to 900")

    def __post_init__(self):
        require(self, FEWEST <= self.clips <= 998, "--clips", f"{FEWEST} to 998")
        require(self, 0 < self.test_fraction < 1, "--test-fraction", "a share between 0 and 1")
        require(self, self.seed >= 0, "--seed", "0 or more")
        require(self, self.frames is None or 1 <= self.frames <= 99999, "--frames", "1 to 99999")

    @property
    def persons(self) -> int:
        return self.clips

    @property
    def validation_videos(self) -> int:
        """At least a pair and a single video; four groups are left to train on."""
        return min(max(3, round(self.clips * self.test_fraction)), self.clips - 5)

    def as_dict(self) -> dict:
        """For ``about.json``."""
        return asdict(self)
