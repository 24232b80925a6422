"""python -m dataloader.audit as a command: mistakes of one line, folds in paths, recipes, Ctrl-C."""

import json
import signal
import time
from pathlib import Path

import pytest

from dataloader.audit import __main__ as command
from dataloader.audit import contents
from dataloader.audit.__main__ import main
from tests.support.auditing import Set, kinds
from tests.support.drawn import READERS, truth
from tests.support.tools import ROOT


@pytest.fixture
def clean(tmp_path):
    return Set(tmp_path / "set")


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--train-annotation", "nowhere.txt"], "set/nowhere.txt: no such file"),
        (["--bounding-box-face", "nowhere.json"], "--bounding-box-face"),
        (["--json", "/nowhere/audit.json"], "--json /nowhere/audit.json"),
        (["--json", "."], "is a folder"),
        (["--json", ""], "--json is empty"),
        (["--make-folds", "2", "--out", "train.txt/folds"], "--out"),
        (["--make-folds", "2", "--out", "."], "holds something already"),
        (["--make-folds", "2", "--out", "/proc/folds"], "--out /proc/folds"),
        (["--make-folds", "2"], "needs --out"),
        (["--out", "folds"], "--make-folds K"),
        (["--pool"], "--make-folds K"),
        (["--fold", "2"], "no path of this command holds {fold}"),
        (["--train-annotation", "{fold}.txt"], "--fold N"),
        (["--train-annotation", "{fold}.txt", "--fold", "one"], "--fold one"),
        (["--train-annotation", "{fold}.txt", "--fold", "all"], "no fold is there"),
        (["--strickt"], "did you mean --strict"),
        (["--dataset", "RAERR", "--class-texts", "nowhere.json"], "nowhere.json"),
    ],
)
def test_a_mistake_of_the_user_is_one_line_and_status_2(more, part, clean, capsys, monkeypatch):
    words = clean.arguments()
    monkeypatch.chdir(clean.root)
    assert main([*words, *more]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1 and part in shown.err, shown.err
    assert shown.out == "" and not Path("folds").exists() and not Path("audit.json").exists()


def test_without_a_list_there_is_nothing_to_audit(capsys):
    assert main([]) == 2 and "--train-annotation" in capsys.readouterr().err


@pytest.mark.parametrize("reader", [name for name in READERS if name != "mafw_captions"])
def test_recipes_of_the_published_sets_name_their_lists(reader, drawn, tmp_path, capsys):
    root = drawn(READERS[reader][0])
    fold = READERS[reader][1] if "--fold" in READERS[reader][1] else []
    words = [f"@{ROOT}/recipes/data/{reader}.args", "--root-dir", str(root), *fold]
    assert main([*words, "--json", str(tmp_path / "audit.json")]) == 0
    report = json.loads((tmp_path / "audit.json").read_text())
    assert report["summary"]["error"] == 0, report["findings"]
    assert report["splits"]["test"]["clips"] == len(truth(reader, root))
    shown = capsys.readouterr().out
    assert ("--num-segments" in shown.splitlines()[0]) == (reader == "caer_s")


def test_every_fold_has_a_report(drawn, tmp_path):
    words = [f"@{ROOT}/recipes/data/dfew.args", "--root-dir", str(drawn("dfew")), "--json", str(tmp_path / "a.json")]
    assert main(words) == 0
    folds = json.loads((tmp_path / "a.json").read_text())["folds"]
    assert list(folds) == ["1", "2", "3", "4", "5"]
    for fold, report in folds.items():
        assert report["splits"]["test"]["clips"] == len(truth("dfew", drawn("dfew"), int(fold)))
        assert "persons_unknown" in kinds(report)


@pytest.mark.parametrize("reader", [name for name in READERS if "captions" not in name])
def test_folds_are_read_again_in_every_layout(reader, drawn, tmp_path):
    """AFEW has no lists: folds are lists of the clips of its folders."""
    root, out = drawn(READERS[reader][0]), tmp_path / "folds"
    fold = READERS[reader][1] if "--fold" in READERS[reader][1] else []
    words = [f"@{ROOT}/recipes/data/{reader}.args", "--root-dir", str(root), "--quick", *fold]
    assert main([*words, "--make-folds", "3", "--out", str(out), "--pool", "--json", str(tmp_path / "a.json")]) == 0
    whole = json.loads((tmp_path / "a.json").read_text())["splits"]
    lists = [(f"--{part}-annotation", f"{out}/fold-{{fold}}/{part}.txt") for part in ("train", "val", "test")]
    again = [*words, *(word for pair in lists for word in pair), "--fold", "all", "--json", str(tmp_path / "b.json")]
    assert main(again) == 0
    folds = json.loads((tmp_path / "b.json").read_text())["folds"]
    assert len(folds) == 3 and not any(report["summary"]["error"] for report in folds.values())
    for name in whole["test"]["classes"]:
        clips = sum(split["classes"][name]["clips"] for split in whole.values())
        assert clips == sum(report["splits"]["test"]["classes"][name]["clips"] for report in folds.values())


def test_an_interrupt_is_one_line_and_leaves_nothing(clean, capsys, monkeypatch):
    """Ctrl-C reaches the main thread while others read frames."""
    looked = []

    def interrupted(clip):
        looked.append(clip)
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.05)
        return contents.ClipContent()

    monkeypatch.setattr(contents, "read_content", interrupted)
    words = [*clean.arguments(), "--json", str(clean.root / "audit.json")]
    assert main([*words, "--make-folds", "2", "--val-fraction", "0", "--out", str(clean.root / "folds")]) == 130
    shown = capsys.readouterr()
    assert shown.err.strip() == "stopped by Ctrl-C: nothing was written" and shown.out == ""
    assert len(looked) < 10, "the others are not begun"
    assert not list(clean.root.glob("audit.json*")) and not list(clean.root.glob("*folds*"))


def test_help_names_the_module(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "--make-folds" in capsys.readouterr().out
    assert "python -m dataloader.audit" in command.__doc__


def test_a_place_for_json_that_is_below_a_file(tiny_flags, tmp_path, capsys):
    (tmp_path / "file").touch()
    words = [word for flag in ("--root-dir", "--train-annotation") for word in (flag, tiny_flags[flag])]
    assert main([*words, "--json", str(tmp_path / "file/x.json")]) == 2
    assert capsys.readouterr().err.strip().endswith("x.json: not a directory")
