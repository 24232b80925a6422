"""Every published set, drawn small: each recipe of it trains, evaluates and runs zero-shot on the clips of its list."""

import pytest

from tests.support.drawn import ELEVEN, FOLDERS, LEVELS, READERS, SEVEN, classes_in_columns, flags, truth
from tests.support.tools import error_of, run_main

CAER = "anger disgust fear happiness neutral sadness surprise".split()
CLASSES = {"dfew": SEVEN, "ferv39k": SEVEN, "afew": SEVEN, "mafw": ELEVEN, "mafw_captions": ELEVEN}
CLASSES |= {"caer": CAER, "caer_s": CAER, "daisee": LEVELS}


def assert_labels(run, reader, root):
    expected = truth(reader, root)
    assert len(expected) >= 7 or reader == "daisee"
    assert {row["clip"]: row["label"] for row in run.predictions} == expected
    assert len(run.predictions) == len(expected) == run.metrics["num_clips"]


def compounds_of(root):
    lines = (root / "Train_Test_Set/compound/no_caption_new").glob("set_1/*.txt")
    names = {line.split()[1] for path in lines for line in path.read_text().splitlines()}
    return {name for name in names if "_" in name}


@pytest.mark.parametrize("reader", [name for name in READERS if name != "mafw_compound"])
def test_dfer_clip_trains_and_scores_on_every_set(reader, drawn, tmp_path):
    root = drawn(READERS[reader][0])
    run = run_main(["@recipes/dfer_clip.args", *flags(reader, root)], tmp_path / "run")
    assert run.status == 0, run.err
    assert len(run.history) == 1 and run.history[0]["train/loss"] > 0
    assert_labels(run, reader, root)
    assert classes_in_columns(run.folder / "predictions.csv") == CLASSES[reader]


@pytest.mark.parametrize("reader", READERS)
def test_plain_clip_scores_every_set_without_training(reader, drawn, tmp_path):
    root = drawn(READERS[reader][0])
    run = run_main(["--mode", "zero-shot", *flags(reader, root)], tmp_path / "run")
    assert run.status == 0, run.err
    assert_labels(run, reader, root)
    columns = classes_in_columns(run.folder / "predictions.csv")
    if reader == "mafw_compound":
        assert columns[:11] == ELEVEN and set(columns[11:]) <= compounds_of(root) and len(columns) > 11
        assert {name for name in truth(reader, root).values() if "_" in name} <= set(columns)
    else:
        assert columns == CLASSES[reader]


def test_dfer_clip_takes_combinations_or_says_in_one_line_why_not(drawn, tmp_path):
    run = run_main(["@recipes/dfer_clip.args", *flags("mafw_compound", drawn("mafw"))], tmp_path / "run")
    if run.status:
        assert run.err.count("\n") == 1 and "--label-type compound" in run.err and "emoclip" in run.err
    else:
        assert_labels(run, "mafw_compound", drawn("mafw"))


@pytest.mark.parametrize("reader", ["caer_s", "daisee"])
def test_the_other_columns_of_a_set_give_the_same_labels(reader, drawn, tmp_path):
    root = drawn(READERS[reader][0])
    other = {"caer_s": "annotation/two_columns/test.txt", "daisee": "annotation/six_columns/test.txt"}[reader]
    run = run_main(["--mode", "zero-shot", *flags(reader, root), "--test-annotation", other], tmp_path / "run")
    assert_labels(run, reader, root)


def test_a_folder_in_place_of_a_list(drawn, tmp_path):
    """The folders of FERV39k name the classes below each scene; those of AFEW are what its recipe reads."""
    root = drawn("ferv39k")
    more = ["--test-annotation", "2_ClipsforFaceCrop/Classroom"]
    run = run_main(["--mode", "zero-shot", *flags("ferv39k", root), *more], tmp_path / "run")
    assert run.status == 0, run.err
    folders = (root / more[1]).glob("*/*")
    expected = {folder.relative_to(root).as_posix(): FOLDERS[folder.parent.name] for folder in folders}
    assert {row["clip"]: row["label"] for row in run.predictions} == expected


@pytest.mark.parametrize("target", ["ferv39k", "afew", "caer", "mafw"])
def test_a_checkpoint_of_one_set_is_scored_on_another(target, drawn, dfew_run, tmp_path, capsys):
    """Labels go by the names of the classes; a class that the model lacks is named with its line."""
    root = drawn(target)
    words = ["--mode", "eval", "--eval-checkpoint", str(dfew_run.folder / "best.pt"), *flags(target, root)]
    if target == "mafw":
        message = error_of([*words, "--output-dir", str(tmp_path / "run")], capsys)
        first = next(n for n, name in enumerate(truth(target, root).values(), 1) if name not in SEVEN)
        assert f"test.txt, line {first}" in message
        assert list(truth(target, root).values())[first - 1] in message
        return
    run = run_main(words, tmp_path / "run")
    assert run.status == 0, run.err
    assert_labels(run, target, root)
    assert classes_in_columns(run.folder / "predictions.csv") == SEVEN


@pytest.fixture(scope="module")
def dfew_run(drawn, tmp_path_factory):
    run = run_main(["@recipes/dfer_clip.args", *flags("dfew", drawn("dfew"))], tmp_path_factory.mktemp("dfew") / "run")
    assert run.status == 0, run.err
    return run
