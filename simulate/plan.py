"""Which clips a set has: how many of each class in each list, who is in them and where they lie. No drawing here."""

from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import numpy as np

from simulate.behaviour import EMOTIONS
from simulate.flags import option, require
from simulate.place import PLACES

TRAIN_PRIORS = {
    "raer": (0.6171, 0.0576, 0.0669, 0.0701, 0.1883),  # of RAER's train list
    "uniform": (0.2, 0.2, 0.2, 0.2, 0.2),
}


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bytes of a set in RAER's layout."""

    layout: ClassVar[str] = "raer"
    persons: int = option(40, "how many persons")
    clips: int = option(700, "how many clips, all lists together")
    imbalance: Literal["raer", "uniform"] = option(
        "uniform", "class shares of the train list (raer: as published); the test list is uniform"
    )
    split: Literal["persons-apart", "published-like"] = option(
        "persons-apart", "no student in both lists, or every test student also in the train list, as published for RAER"
    )
    test_fraction: float = option(0.3, "share of the clips in the test list")
    seed: int = option(42, "same seed, same bytes")
    width: int = option(320, "pixels")
    height: int = option(240, "pixels")
    frames: int | None = option(None, "frames in every clip (default: 30 to 36, mostly 30)")

    def __post_init__(self):
        require(self, 0 < self.test_fraction < 1, "--test-fraction", "a share between 0 and 1")
        require(
            self,
            self.clips >= 10 and self.train_clips >= 5,
            "--clips",
            "enough for one clip of each class in each list, 10 or more",
        )
        fewest = 2 if self.split == "persons-apart" else 1
        require(self, fewest <= self.persons <= 999, "--persons", f"{fewest} to 999 with --split {self.split}")
        require(self, self.clips <= 999 * self.persons, "--clips", "at most 999 for each of --persons")
        require(self, self.seed >= 0, "--seed", "0 or more")
        require(self, 64 <= self.width <= 1920, "--width", "64 to 1920")
        require(self, 48 <= self.height <= 1440, "--height", "48 to 1440")
        require(self, self.frames is None or 1 <= self.frames <= 9999, "--frames", "1 to 9999")

    @property
    def test_clips_per_class(self) -> int:
        return max(1, round(self.clips * self.test_fraction / len(EMOTIONS)))

    @property
    def train_clips(self) -> int:
        return self.clips - len(EMOTIONS) * self.test_clips_per_class

    def as_dict(self) -> dict:
        """For ``about.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Slot:
    """One clip to be drawn."""

    number: int  # over the whole set
    list_name: str  # train or test; with folds the fold, "1" to "5", whose test list it is in
    person: int  # 0-based
    place: str
    label: int  # 0-based; in RAER's layout what the annotators must agree on
    folder: str  # relative to the set
    blend: int | None = None  # the label of a second emotion that is shown at the same time


def plan_set(settings: Settings) -> list[Slot]:
    """The slots of both lists; a pure function of the settings."""
    rng = np.random.default_rng((settings.seed, 0))
    labels = {"train": _shuffled(_train_counts(settings), rng)}
    labels["test"] = _shuffled([settings.test_clips_per_class] * len(EMOTIONS), rng)
    persons = _share_persons(settings, len(labels["train"]), rng)
    places = rng.permutation(PLACES).tolist()
    clips_of, slots = dict.fromkeys(range(settings.persons), 0), []
    for name in ("train", "test"):
        for turn, label in enumerate(labels[name]):
            person = persons[name][turn % len(persons[name])]
            place = places[person % len(places)]
            clips_of[person] += 1
            folder = f"RAER/images/SelfStudy/{place}/P{person + 1:03d}/{clips_of[person]:03d}"
            slots.append(Slot(len(slots), name, person, place, label, folder))
    return slots


def _train_counts(settings: Settings) -> list[int]:
    """Clips of each class in the train list: the priors by largest remainder, but at least one each."""
    spare = settings.train_clips - len(EMOTIONS)
    exact = np.array(TRAIN_PRIORS[settings.imbalance]) * settings.train_clips - 1
    exact = np.maximum(exact, 0) / np.maximum(exact, 0).sum() * spare if spare else np.zeros(len(EMOTIONS))
    counts = np.floor(exact).astype(int)
    for label in np.argsort(counts - exact, kind="stable")[: spare - counts.sum()]:
        counts[label] += 1
    return (counts + 1).tolist()


def _shuffled(counts: list[int], rng: np.random.Generator) -> list[int]:
    return rng.permutation(np.repeat(np.arange(len(counts)), counts)).tolist()


def _share_persons(settings: Settings, train_clips: int, rng: np.random.Generator) -> dict[str, list[int]]:
    """Who is in which list."""
    order = rng.permutation(settings.persons).tolist()
    if settings.split == "published-like":
        return {"train": order, "test": order[:train_clips]}  # with few clips some students have none at all
    tested = min(settings.persons - 1, max(1, round(settings.persons * settings.test_fraction)))
    return {"train": order[tested:], "test": order[:tested]}
