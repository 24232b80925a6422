"""Folds: no person in two lists of a fold, every clip tested once, classes even; and a run that uses them."""

import json
import shlex
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from dataloader.audit.__main__ import main
from dataloader.audit.folds import divide, make_folds
from dataloader.paths import count_folds, folds_on_disk
from tests.support.tools import FAST, error_of, run_main

CLASSES = 5


def random_set(seed, singles=False):
    """Return (labels, clips of each person) for persons with 1 to 20 clips and different class shares."""
    rng = np.random.default_rng(seed)
    sizes = [1] * 120 if singles else rng.integers(1, 21, size=rng.integers(8, 30))
    labels, units = [], []
    for size in sizes:
        units.append(list(range(len(labels), len(labels) + size)))
        labels += rng.choice(CLASSES, size=size, p=rng.dirichlet(np.ones(CLASSES))).tolist()
    return labels, units


def unevenness(labels, parts, number):
    """Return the squared distance from an even share, with equal weight for each class."""
    counts = np.array([np.bincount([labels[i] for i in part], minlength=CLASSES) for part in parts])
    total = np.maximum(counts.sum(axis=0), 1)
    return (((counts - total / number) / total) ** 2).sum()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("number", [2, 5])
def test_every_clip_is_in_one_test_list_and_no_person_in_two_lists(seed, number):
    labels, units = random_set(seed)
    owner = {clip: person for person, clips in enumerate(units) for clip in clips}
    folds = make_folds(labels, units, number, 0.2, CLASSES, seed)
    assert sorted(clip for fold in folds for clip in fold["test"]) == list(range(len(labels)))
    for fold in folds:
        lists = (fold["train"], fold["val"], fold["test"])
        assert all(lists) and sorted(clip for clips in lists for clip in clips) == list(range(len(labels)))
        train, val, test = ({owner[clip] for clip in clips} for clips in lists)
        assert not train & val and not train & test and not val & test


@pytest.mark.parametrize("seed", range(20))
def test_folds_are_at_least_as_even_as_those_of_scikit_learn(seed):
    labels, units = random_set(seed)
    groups = np.repeat(np.arange(len(units)), [len(unit) for unit in units])
    folds = [fold["test"] for fold in make_folds(labels, units, 4, 0, CLASSES, seed)]
    reference = [test for _, test in StratifiedGroupKFold(4).split(labels, labels, groups)]
    assert unevenness(labels, folds, 4) <= unevenness(labels, reference, 4) + 1e-12


@pytest.mark.parametrize("seed", range(10))
def test_single_clips_are_even_within_one_of_each_class(seed):
    labels, units = random_set(seed, singles=True)
    counts = [Counter(labels[i] for i in fold["test"]) for fold in make_folds(labels, units, 7, 0.2, CLASSES, seed)]
    for label in range(CLASSES):
        assert max(c[label] for c in counts) - min(c[label] for c in counts) <= 1
    sizes = [c.total() for c in counts]
    assert max(sizes) - min(sizes) <= 2


def test_a_division_that_is_exactly_even_is_found():
    """Each person has clips of one class, 6 and 4 or 5 and 5: only exchanges give 10 of each class in each half."""
    vectors = np.array([[6, 0], [4, 0], [5, 0], [5, 0], [0, 7], [0, 3], [0, 6], [0, 4]])
    parts = divide(vectors, np.full((2, 2), 10), np.random.default_rng(0))
    assert [vectors[parts == part].sum(axis=0).tolist() for part in (0, 1)] == [[10, 10], [10, 10]]


def test_the_validation_share_is_the_requested_one():
    labels, units = [0, 1] * 100, [list(range(start, start + 4)) for start in range(0, 200, 4)]
    for fold in make_folds(labels, units, 5, 0.25, 2, 0):
        assert (len(fold["test"]), len(fold["val"]), len(fold["train"])) == (40, 40, 120)


def test_a_class_of_few_clips_is_in_the_validation_list_too():
    """Two clips of 100 would be less than half a clip of a fifth."""
    labels = [0] * 98 + [1] * 4
    for fold in make_folds(labels, [[clip] for clip in range(102)], 2, 0.2, 2, 0):
        train, val = (np.bincount([labels[clip] for clip in clips]) for clips in (fold["train"], fold["val"]))
        assert train[1] == val[1] == 1 and val[0] in (9, 10)


def test_the_folds_depend_only_on_the_seed():
    labels, units = random_set(3)
    first, again, second = (make_folds(labels, units, 3, 0.2, CLASSES, seed) for seed in (1, 1, 2))
    assert first == again and first != second


def write_folds(data, *more) -> None:
    """Write three folds, with two clips of further persons."""
    data.add("train", "RAER/P7/900", 1)
    data.add("train", "RAER/P8/902", 0)
    out = ["--quick", "--make-folds", "3", "--out", str(data.root / "folds")]
    assert main([*data.arguments(), *out, *more]) == 0


def lists_of(data, part) -> list[list[str]]:
    files = [next((data.root / f"folds/fold-{n}").glob(f"{part}.*")) for n in (1, 2, 3)]
    return [file.read_text().splitlines() for file in files]


def test_lists_hold_the_lines_that_were_read_without_test_clips(clean, capsys):
    clean.clips["train"][0] = clean.clips["train"][0].replace(" 3 ", "  3\t")
    write_folds(clean)
    assert sorted(sum(lists_of(clean, "test"), [])) == sorted(clean.clips["train"])
    assert json.loads((clean.root / "folds/folds.json").read_text())["folds"] == 3
    assert not list(clean.root.glob(".*"))
    assert "3 folds of 10 clips" in capsys.readouterr().out


def test_pooled_folds_include_test_clips_and_a_clip_of_two_lists_once(clean, capsys):
    clean.clips["train"].append(clean.clips["test"][0])
    write_folds(clean, "--pool")
    lines = sum(lists_of(clean, "test"), [])
    assert sorted(lines) == sorted({*clean.clips["train"], *clean.clips["test"]}) and len(lines) == 50
    assert "1 line of a repeated clip left out" in capsys.readouterr().out


def test_equal_frames_under_two_paths_stay_together_and_unknown_persons_are_reported(clean, capsys):
    clean.classes["persons"] = False
    for number in range(0, 8, 2):  # the frames of clips 0 and 1, 2 and 3, ...
        for name in ("1.png", "2.png", "3.png"):
            first, copy = (clean.folder("train", n) / name for n in (number, number + 1))
            copy.write_bytes(first.read_bytes())
    write_folds(clean, "--quick", "False")
    assert "PERSONS ARE NOT KNOWN" in capsys.readouterr().out
    for train, test in zip(lists_of(clean, "train"), lists_of(clean, "test"), strict=True):
        train, test = ({int(line.split()[0][-3:]) // 2 for line in lines} for lines in (train, test))
        assert test and not test & train


def test_a_class_that_is_missing_in_a_fold_is_named(clean, capsys):
    """The only clip of glad is in one test list."""
    clean.clips["train"] = [line for line in clean.clips["train"] if line.endswith("0")]
    write_folds(clean)
    assert capsys.readouterr().out.count(", test: no clip of glad") == 2


def test_folds_of_a_csv_have_its_columns_and_the_printed_flags_read_them(clean, capsys):
    """The clip is in the second column, so only suffix and flags tell that the lists are CSVs."""
    clean.classes |= {"csv_label_base": 0, "persons": True}
    rows = [f"{line.split()[2]},{line.split()[0]}" for line in clean.clips["train"]]
    (clean.root / "train.csv").write_text("\n".join(["emotion,file", *rows]))
    words = clean.arguments()
    words[words.index("--train-annotation") + 1] = "train.csv"
    columns = ["--clip-column", "file", "--label-column", "emotion"]
    out = ["--make-folds", "2", "--val-fraction", "0", "--out", str(clean.root / "folds")]
    assert main([*words, *columns, *out]) == 0
    assert " ".join(columns) in capsys.readouterr().out
    folds = [str(clean.root / f"folds/fold-{{fold}}/{part}.csv") for part in ("train", "test")]
    again = [
        *clean.arguments(),
        *columns,
        "--train-annotation",
        folds[0],
        "--test-annotation",
        folds[1],
        "--fold",
        "all",
    ]
    assert main([*again, "--quick"]) == 0


def test_a_csv_keeps_its_header(clean):
    clean.classes |= {"csv_label_base": 0, "persons": True}
    clean.add("train", "RAER/P9/904", 1)
    rows = [f"{line.split()[0]},{line.split()[2]}" for line in clean.clips["train"]]
    (clean.root / "train.txt").write_text("\n".join(["video_name,label", *rows]))
    assert main([*clean.arguments(), "--make-folds", "3", "--out", str(clean.root / "folds")]) == 0
    lists = lists_of(clean, "test")
    assert [lines[0] for lines in lists] == ["video_name,label"] * 3
    assert sorted(line for lines in lists for line in lines[1:]) == sorted(rows)


@pytest.mark.parametrize(
    ("number", "line", "parts"),
    [
        (3, None, ["only 2 persons"]),
        (2, None, ["fold 1 has only one person", "--val-fraction 0"]),
        (1, None, ["at least two are needed"]),
        (0, None, ["--make-folds", "at least 1"]),
        (2, "nonsense", ["train.txt", "1 line with faults"]),
        (2, "RAER/P1/000 3 1", ["two labels", "line 9"]),
    ],
)
def test_folds_that_cannot_be_made_give_a_one_line_error(number, line, parts, clean, capsys):
    clean.clips["train"] += [line] if line else []
    out = ["--out", str(clean.root / "folds")]
    assert main([*clean.arguments(), "--quick", "--make-folds", str(number), *out]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and all(part in err for part in parts), err
    assert not list(clean.root.glob("folds/*"))


def test_the_command_that_is_printed_trains_and_scores_every_fold(tiny_flags, tmp_path, capsys):
    """RAER has no official folds; each of the four training persons is tested in one of the two folds."""
    words = [word for flag, file in tiny_flags.items() for word in (flag, file)]
    assert main([*words, "--quick", "--make-folds", "2", "--out", str(tmp_path / "folds")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " main.py " in line]
    assert "weights/mini_clip.safetensors" in lines[0] and "mini_clip" not in lines[-1]
    command = shlex.split(lines[-1])
    assert shutil.which(command[0]) and command[1:3] == ["main.py", "@recipes/advanced.args"]
    run = run_main([*command[2:], *FAST, "--epochs", "1", "--milestones"], tmp_path / "run")
    assert run.status == 0, run.err
    assert sorted(run.metrics["runs"]) == ["fold-1", "fold-2"]
    train = Path(tiny_flags["--root-dir"], tiny_flags["--train-annotation"]).read_text().splitlines()
    assert sorted(row["clip"] for row in run.predictions) == sorted(line.split()[0] for line in train)
    assert "persons are in train" not in run.out


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_folds_are_refused(count, tmp_path, capsys):
    for number in range(1, count + 1):
        (tmp_path / f"fold-{number}").mkdir()
        (tmp_path / f"fold-{number}/train.txt").touch()
    file = f"{tmp_path}/fold-{{fold}}/train.txt"
    message = error_of(["--train-annotation", file, "--fold", "all", "--output-dir", str(tmp_path / "run")], capsys)
    assert "RAER has no folds" in message and f"{file} has {count}" in message and "--make-folds" in message
    assert not (tmp_path / "run").exists()


def test_existing_folds_are_counted(tmp_path):
    for number in (1, 2, 4, "x", "05", 4000):
        (tmp_path / f"a[1]/set_{number}").mkdir(parents=True)
        (tmp_path / f"a[1]/set_{number}/train_{number}.txt").touch()
    (tmp_path / "a[1]/set_7").mkdir()
    (tmp_path / "a[1]/set_7/train_1.txt").touch()
    path = "a[1]/set_{fold}/train_{fold}.txt"
    assert folds_on_disk(path, str(tmp_path)) == [1, 2, 4]
    assert count_folds([path, "no fold"], str(tmp_path), 0) == 4
    assert count_folds([path], str(tmp_path), 5) == 5
    (tmp_path / "a[1]/folds.json").write_text('{"folds": 3}')
    assert count_folds([path], str(tmp_path), 5) == 3
