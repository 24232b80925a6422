"""The messages of a run about its lists: persons, clips in two lists, few clips, different counts."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from dataloader.annotation import Clip
from dataloader.classes import load_classes
from engine.lists import Splits, _check_frames, _describe


class Messages:
    """Keeps what a log would print."""

    def __init__(self) -> None:
        self.lines, self.warnings, self.facts = [], [], {"data": {}}
        self.say = self.lines.append

    def warn(self, text, kind=None):
        self.warnings.append(text)


def clips_of(names, person=lambda name: None, listed=1):
    return [Clip(n, Path(n), ("1.jpg",), listed, i % 5, n, person(n)) for i, n in enumerate(names)]


def hundred(folder):
    return clips_of([f"{folder}/{n}" for n in range(100)])


def describe(train, test=()):
    messages = Messages()
    _describe(Splits(list(train), [], list(test)), load_classes("RAER"), messages)
    return messages


@pytest.mark.parametrize("is_known", [True, False])
def test_known_persons_are_counted_and_searched_in_both_lists(is_known):
    splits = ([f"P{n % 4}/{n}" for n in range(100)], [f"P{n % 2}/t{n}" for n in range(100)])
    messages = describe(*(clips_of(names, lambda name: name[:2] if is_known else None) for names in splits))
    assert sum("persons are not known" in line for line in messages.lines) == (0 if is_known else 1)
    if is_known:
        assert "100 clips of 4 persons" in messages.lines[0] and "100 clips of 2 persons" in messages.lines[1]
        assert any("2 of 2 test persons are in train" in warning for warning in messages.warnings)
    else:
        assert "100 clips: Neutrality 20" in messages.lines[0]
        assert not any("persons" in warning for warning in messages.warnings)


def test_clips_in_two_lists_or_twice_in_one_are_named_with_one_example():
    train, test = hundred("a"), hundred("b")
    warnings = describe([*train, train[7]], [*test, train[3]]).warnings
    assert len(warnings) == 2
    assert "1 line with a clip that is already in the list" in warnings[0] and "(a/7)" in warnings[0]
    assert "1 test clip also in train" in warnings[1] and "(a/3)" in warnings[1]
    warnings = describe([*train, replace(train[7], label=0)]).warnings
    assert len(warnings) == 1 and "1 clip with two labels (a/7 (Neutrality, before Confusion))" in warnings[0]


def test_few_clips_and_classes_without_any_are_named_for_test():
    warnings = describe([], [clip for clip in hundred("a") if clip.label != 4][:-4]).warnings
    assert warnings[0] == "test has no clip of Distraction"
    assert "Neutrality 19, Enjoyment 19" in warnings[1]


@pytest.mark.parametrize(("listed", "warnings"), [(None, 0), (1, 0), (30, 1)])
def test_a_list_without_frame_counts_does_not_contradict_the_frames(listed, warnings):
    config = SimpleNamespace(data=SimpleNamespace(pack="a pack, so that no frame is opened", on_bad_frame="error"))
    messages = Messages()
    _check_frames(Splits(clips_of(["P1/1"], listed=listed), [], []), config, messages)
    assert len(messages.warnings) == warnings
