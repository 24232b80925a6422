"""What a run says of persons: how many, whether they are in two lists, or that nobody knows."""

from pathlib import Path
from typing import ClassVar

import pytest

from dataloader.annotation import Clip
from dataloader.classes import load_classes
from engine.lists import Splits, _check_frames, _describe


class Said:
    """Keeps what a log would print."""

    def __init__(self) -> None:
        self.lines, self.warnings = [], []
        self.say, self.warn = self.lines.append, self.warnings.append


def clips_of(names, person, listed=1):
    return [Clip(n, Path(n), ("1.jpg",), listed, i % 5, n, person(n)) for i, n in enumerate(names)]


def describe(person):
    train = clips_of([f"P{n % 4}/{n}" for n in range(100)], person)
    test = clips_of([f"P{n % 2}/t{n}" for n in range(100)], person)
    said = Said()
    _describe(Splits(train, [], test), load_classes("RAER"), said)
    return said


def test_known_persons_are_counted_and_looked_for_in_both_lists():
    said = describe(lambda name: name[:2])
    assert "100 clips of 4 persons" in said.lines[0] and "100 clips of 2 persons" in said.lines[1]
    assert any("2 of 2 test persons are in train" in warning for warning in said.warnings)
    assert not any("not known" in line for line in said.lines)


def test_unknown_persons_are_said_once_to_be_unknown():
    said = describe(lambda name: None)
    assert sum("persons are not known" in line for line in said.lines) == 1
    assert "100 clips: Neutrality 20" in said.lines[0]
    assert not any("persons" in warning for warning in said.warnings)


class NoPack:
    class data:
        pack = "a pack, so that no frame is opened"
        on_bad_frame: ClassVar = "error"


@pytest.mark.parametrize(("listed", "warnings"), [(None, 0), (1, 0), (30, 1)])
def test_a_list_that_says_no_count_cannot_differ(listed, warnings):
    said = Said()
    _check_frames(Splits(clips_of(["P1/1"], lambda name: None, listed), [], []), NoPack, said)
    assert len(said.warnings) == warnings
