"""Small simulated versions of published sets, and classes of the user: training, evaluation and zero-shot."""

import json
from pathlib import Path

import pytest

from tests.support.drawn import (
    AFFECTNET,
    ELEVEN,
    ENGAGEMENT,
    LEVELS,
    RAF_DB,
    READERS,
    SEVEN,
    classes_in_columns,
    flags,
    truth,
)
from tests.support.tiny import as_arguments
from tests.support.tools import FAST, error_of, run_main

CAER = "anger disgust fear happiness neutral sadness surprise".split()
CLASSES = {"dfew": SEVEN, "ferv39k": SEVEN, "afew": SEVEN, "mafw": ELEVEN, "mafw_captions": ELEVEN}
CLASSES |= {"caer": CAER, "caer_s": CAER, "daisee": LEVELS, "engagenet": ENGAGEMENT}
CLASSES |= {"raf_db": RAF_DB, "affectnet": AFFECTNET}
DFER_CLIP = "@recipes/dfer_clip.args"


def zero_shot(reader, root, folder):
    return run_main(["--mode", "zero-shot", *flags(reader, root)], folder).ok()


def assert_labels(run, reader, root):
    expected = truth(reader, root)
    assert len(expected) >= 7 or reader in ("daisee", "engagenet")
    assert {row["clip"]: row["label"] for row in run.predictions} == expected
    assert len(run.predictions) == len(expected) == run.metrics["num_clips"]


@pytest.fixture(scope="module")
def trained_on(drawn, tmp_path_factory):
    """The run of DFER-CLIP on a set, trained once."""
    runs = {}

    def train(reader):
        if reader not in runs:
            words = [DFER_CLIP, *flags(reader, drawn(READERS[reader][0]))]
            runs[reader] = run_main(words, tmp_path_factory.mktemp(reader) / "run").ok()
        return runs[reader]

    return train


@pytest.mark.parametrize("reader", [name for name in READERS if name != "mafw_compound"])
def test_dfer_clip_trains_and_scores_on_every_set(reader, drawn, trained_on):
    run = trained_on(reader)
    assert len(run.history) == 1 and run.history[0]["train/loss"] > 0
    assert_labels(run, reader, drawn(READERS[reader][0]))
    assert classes_in_columns(run.folder / "predictions.csv") == CLASSES[reader]


@pytest.mark.parametrize("reader", READERS)
def test_plain_clip_scores_every_set_without_training(reader, drawn, tmp_path):
    root = drawn(READERS[reader][0])
    run = zero_shot(reader, root, tmp_path / "run")
    assert_labels(run, reader, root)
    columns = classes_in_columns(run.folder / "predictions.csv")
    if reader != "mafw_compound":
        assert columns == CLASSES[reader]
        return
    lists = (root / "Train_Test_Set/compound/no_caption_new").glob("set_1/*.txt")
    names = {line.split()[1] for path in lists for line in path.read_text().splitlines()}
    compounds = {name for name in names if "_" in name}
    assert columns[:11] == ELEVEN and set(columns[11:]) <= compounds and len(columns) > 11
    assert {name for name in truth(reader, root).values() if "_" in name} <= set(columns)


def test_dfer_clip_trains_on_combinations_or_gives_a_one_line_reason(drawn, tmp_path):
    run = run_main([DFER_CLIP, *flags("mafw_compound", drawn("mafw"))], tmp_path / "run")
    if run.status:
        assert run.err.count("\n") == 1 and "--label-type compound" in run.err and "emoclip" in run.err
    else:
        assert_labels(run, "mafw_compound", drawn("mafw"))


@pytest.mark.parametrize("target", ["ferv39k", "afew", "caer", "mafw"])
def test_a_checkpoint_of_one_set_is_scored_on_another(target, drawn, trained_on, tmp_path, capsys):
    """Labels are matched by class names; a class that the model does not have is named with its line."""
    root, best = drawn(target), trained_on("dfew").folder / "best.pt"
    words = ["--mode", "eval", "--eval-checkpoint", str(best), *flags(target, root)]
    if target == "mafw":
        message = error_of([*words, "--output-dir", str(tmp_path / "run")], capsys)
        line, name = next((n, name) for n, name in enumerate(truth(target, root).values(), 1) if name not in SEVEN)
        assert f"test.txt, line {line}" in message and name in message
        return
    run = run_main(words, tmp_path / "run").ok()
    assert_labels(run, target, root)
    assert classes_in_columns(run.folder / "predictions.csv") == SEVEN


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
        first_three = [f"{rest} {int(label) - 1}" for rest, label in rows if int(label) <= 3]
        (folder / f"{split}.txt").write_text("\n".join(first_three))
        lists[f"--{split}-annotation"] = str(folder / f"{split}.txt")
    words = as_arguments(tiny_flags | lists)
    return [*FAST, *words, "--class-texts", str(folder / "classes.json"), "--epochs", "1", "--milestones"]


@pytest.mark.parametrize("extra", ["", "--logit-adj", "--class-balanced-loss --use-weighted-sampler"])
def test_every_loss_works_with_any_number_of_classes_and_evaluation_repeats_it(arguments, tmp_path, extra):
    run = run_main([*arguments, *extra.split()], tmp_path / "run").ok()
    assert run.metrics["classes"] == NAMES and len(run.metrics["confusion"]) == 3
    assert {row["label"] for row in run.predictions} == set(NAMES)
    if not extra:  # the checkpoint knows the classes
        words = ["--mode", "eval", "--eval-checkpoint", str(tmp_path / "run/best.pt"), "--workers", "0"]
        assert run_main(words, tmp_path / "eval").ok().metrics == run.metrics
