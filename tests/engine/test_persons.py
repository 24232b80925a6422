"""What a run says of persons: how many, whether they are in two lists, or that nobody knows."""

from dataclasses import replace
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


def test_what_is_in_two_lists_or_twice_in_one_is_said_with_one_example():
    train, test = (clips_of([f"{split}/{n}" for n in range(100)], lambda name: None) for split in ("a", "b"))
    said = Said()
    _describe(Splits([*train, train[7]], [], [*test, train[3]]), load_classes("RAER"), said)
    assert len(said.warnings) == 2
    assert "1 line of a clip that the list has already" in said.warnings[0] and "(a/7)" in said.warnings[0]
    assert "1 test clip also in train" in said.warnings[1] and "(a/3)" in said.warnings[1]


def test_a_clip_with_two_labels_is_said():
    train = clips_of([f"a/{n}" for n in range(100)], lambda name: None)
    said = Said()
    _describe(Splits([*train, replace(train[7], label=0)], [], []), load_classes("RAER"), said)
    assert len(said.warnings) == 1 and "1 clip with two labels (a/7 (Neutrality, before Confusion))" in said.warnings[0]


def test_few_clips_and_classes_without_any_are_said_of_test():
    test = [clip for clip in clips_of([f"a/{n}" for n in range(100)], lambda name: None) if clip.label != 4][:-4]
    said = Said()
    _describe(Splits([], [], test), load_classes("RAER"), said)
    assert said.warnings[0] == "test has no clip of Distraction"
    assert "Neutrality 19 (1.32), Enjoyment 19 (1.32)" in said.warnings[1]


class NoPack:
    class data:
        pack = "a pack, so that no frame is opened"
        on_bad_frame: ClassVar = "error"


@pytest.mark.parametrize(("listed", "warnings"), [(None, 0), (1, 0), (30, 1)])
def test_a_list_that_says_no_count_cannot_differ(listed, warnings):
    said = Said()
    _check_frames(Splits(clips_of(["P1/1"], lambda name: None, listed), [], []), NoPack, said)
    assert len(said.warnings) == warnings
