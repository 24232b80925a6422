"""What decides the bytes of a set in the layout of a published one, RAER's apart."""

from dataclasses import asdict, dataclass
from typing import Literal

from simulate.flags import option, require
from simulate.layouts.layout import Layout
from simulate.layouts.table import LAYOUTS

TEST_FRACTION, SCENE_SIZE = 0.3, (320, 240)


@dataclass(frozen=True)
class LayoutSettings:
    """None stands for what the layout itself decides, and is the only value where a flag means nothing to it."""

    layout: Literal["dfew", "ferv39k", "mafw", "afew", "caer", "caer-s", "daisee"] = option(
        "dfew", "the published set whose files, lists and classes are imitated"
    )
    persons: int = option(30, "how many persons")
    clips: int = option(280, "how many clips, all lists together")
    test_fraction: float | None = option(None, "0.3, and folds are always fifths")
    seed: int = option(42, "same seed, same bytes")
    width: int | None = option(None, "of whole frames alone; faces are 128")
    height: int | None = option(None, "of whole frames alone; faces are 128")
    frames: int | None = option(None, "12 to 20, mostly 16")

    def __post_init__(self):
        layout, lists = self.rules, len(self.rules.lists)
        self._reject("test_fraction", layout.has_folds, "its folds are fifths")
        self._reject("width", layout.is_cropped, "its faces are 128 pixels wide")
        self._reject("height", layout.is_cropped, "its faces are 128 pixels high")
        self._reject("frames", layout.is_still, "it holds single pictures")
        require(self, lists <= self.persons <= 999, "--persons", f"{lists} to 999, one in each list or fold")
        require(self, 0 <= self.seed, "--seed", "0 or more")
        require(self, self.test_fraction is None or 0 < self.test_fraction < 1, "--test-fraction", "between 0 and 1")
        require(self, self.width is None or 64 <= self.width <= 1920, "--width", "64 to 1920")
        require(self, self.height is None or 48 <= self.height <= 1440, "--height", "48 to 1440")
        require(self, self.frames is None or 1 <= self.frames <= 9999, "--frames", "1 to 9999")
        needed = f"enough for one of each of {len(layout.classes)} classes in each list or fold, at most 9999"
        is_enough = min(map(layout.single_clips, self.list_sizes().values())) >= len(layout.classes)
        require(self, is_enough and self.clips <= 9999, "--clips", needed)

    def _reject(self, name: str, is_meaningless: bool, reason: str) -> None:
        if is_meaningless and getattr(self, name) is not None:
            raise ValueError(f"--{name.replace('_', '-')} means nothing with --layout {self.layout}: {reason}")

    @property
    def rules(self) -> Layout:
        """What the published set fixes."""
        return LAYOUTS[self.layout]

    def list_sizes(self) -> dict[str, int]:
        """How many clips each list or fold holds."""
        return divide(self.clips, self.list_shares())

    def list_shares(self) -> dict[str, float]:
        """Folds are fifths; a validation list beside a test list is a fifth of what is not tested."""
        lists = self.rules.lists
        if self.rules.has_folds:
            return dict.fromkeys(lists, 1 / len(lists))
        tested = self.test_fraction or TEST_FRACTION
        if len(lists) == 2:
            return dict(zip(lists, (1 - tested, tested), strict=True))
        return dict(zip(lists, (0.8 * (1 - tested), 0.2 * (1 - tested), tested), strict=True))

    @property
    def scene_size(self) -> tuple[int, int]:
        """Width and height of whole frames."""
        return self.width or SCENE_SIZE[0], self.height or SCENE_SIZE[1]

    def as_dict(self) -> dict:
        """For ``about.json``."""
        return asdict(self)


def divide(total: int, shares: dict[str, float]) -> dict[str, int]:
    """``total`` things by largest remainder, but at least one for each name."""
    spare = total - len(shares)
    exact = {name: max(0.0, share * total - 1) for name, share in shares.items()}
    scale = spare / (sum(exact.values()) or 1)
    counts = {name: int(value * scale) for name, value in exact.items()}
    by_remainder = sorted(shares, key=lambda name: counts[name] - exact[name] * scale)
    for name in by_remainder[: max(0, spare - sum(counts.values()))]:
        counts[name] += 1
    return {name: count + 1 for name, count in counts.items()}
