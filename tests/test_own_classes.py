"""The user's own classes: another number of them, another label base, through training and evaluation."""

import json
from pathlib import Path

import pytest

from tests.support.tiny import as_arguments
from tests.support.tools import FAST, error_of, run_main

NAMES = ["calm", "glad", "lost"]


@pytest.fixture(scope="module")
def arguments(tiny_flags, tmp_path_factory):
    """The first three classes of the tiny set, labels counted from 0."""
    folder = tmp_path_factory.mktemp("own")
    entries = [{"name": n, "descriptive": f"a {n} face", "class_descriptor": f"a {n} student"} for n in NAMES]
    (folder / "classes.json").write_text(json.dumps({"label_base": 0, "classes": entries}))
    lists = {}
    for split in ("train", "test"):
        lines = Path(tiny_flags["--root-dir"], f"annotation/{split}.txt").read_text().splitlines()
        rows = [line.rsplit(maxsplit=1) for line in lines]
        kept = [f"{rest} {int(label) - 1}" for rest, label in rows if int(label) <= 3]
        (folder / f"{split}.txt").write_text("\n".join(kept))
        lists[f"--{split}-annotation"] = str(folder / f"{split}.txt")
    flags = as_arguments(tiny_flags | lists)
    return [*FAST, *flags, "--class-texts", str(folder / "classes.json"), "--epochs", "1", "--milestones"]


@pytest.mark.parametrize("more", [[], ["--logit-adj"], ["--class-balanced-loss", "--use-weighted-sampler"]])
def test_every_loss_works_with_any_number_of_classes(arguments, tmp_path, more):
    done = run_main([*arguments, *more], tmp_path / "run")
    assert done.status == 0, done.err
    assert done.metrics["classes"] == NAMES and len(done.metrics["confusion"]) == 3
    assert {row["label"] for row in done.predictions} == set(NAMES)


def test_evaluation_knows_the_classes_from_the_checkpoint(arguments, tmp_path):
    done = run_main(arguments, tmp_path / "run")
    again = run_main(
        ["--mode", "eval", "--eval-checkpoint", str(tmp_path / "run/best.pt"), "--workers", "0"], tmp_path / "eval"
    )
    assert again.status == 0, again.err
    assert again.metrics == done.metrics


def test_a_kind_of_text_that_the_file_lacks_is_named(arguments, capsys, tmp_path):
    message = error_of([*arguments, "--text-type", "prompt_ensemble", "--output-dir", str(tmp_path / "run")], capsys)
    assert "classes.json" in message and "prompt_ensemble" in message


def test_labels_of_the_other_base_are_refused(arguments, tiny_flags, capsys, tmp_path):
    lists = ["--train-annotation", f"{tiny_flags['--root-dir']}/annotation/train.txt"]
    assert "0..2" in error_of([*arguments, *lists, "--output-dir", str(tmp_path / "run")], capsys)
