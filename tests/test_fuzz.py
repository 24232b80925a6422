"""A short form of benchmarks/fuzz.py: no hurt file ends in anything but an answer or one line that names it."""

import pytest

from benchmarks.fuzz import CRASHED, KINDS, UNNAMED, fuzz, names_file_and_line, table, time_limit
from benchmarks.mutations import Sound

CASES = {"checkpoint": 20, "stored options": 40, "stored tensors": 30, "safetensors": 30, "clip": 20}


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Sound:
    return Sound(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("kind", KINDS)
def test_hurt_files_are_read_or_refused_in_one_line(kind, sound):
    counts, bad = fuzz([kind], CASES.get(kind, 60), 0, sound)
    assert sum(counts.values()) >= 20
    assert not bad, "\n".join([*bad, table([kind], counts)])


def test_most_hurt_files_are_refused_and_some_are_not(sound):
    """Else the fuzzer would only show that nothing is ever read, or nothing ever hurt."""
    counts, _ = fuzz(["annotation"], 200, 0, sound)
    refused = sum(count for (_, outcome), count in counts.items() if outcome not in (CRASHED, UNNAMED))
    assert counts["annotation", "accepted"] > 10 and refused > 100


def test_the_fuzzer_knows_a_good_line_from_a_bad_one(tmp_path):
    file = tmp_path / "list.txt"
    assert names_file_and_line(f"{file}, line 3: no folder x", file, "annotation")
    assert not names_file_and_line(f"{file}: no folder x", file, "annotation")
    assert not names_file_and_line("line 3: no folder x", file, "annotation")
    assert not names_file_and_line(f"{file}, line 3: no folder \x1b[2J", file, "annotation")
    assert not names_file_and_line(f"{file}: broken JSON (x)", file, "classes")
    assert names_file_and_line(f"{file}, line 1: broken JSON (x)", file, "classes")


def test_the_fuzzer_ends_a_case_that_hangs():
    with pytest.raises(BaseException, match="longer than"), time_limit(0.05):
        while True:
            pass
