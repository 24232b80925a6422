"""The run folder: created once, never overwritten, with a name that is valid on every file system."""

import json
import re
from types import SimpleNamespace

import pytest

from utils.errors import UserError
from utils.runlog import open_run, progress_bar, progress_line


def test_the_config_is_written_before_anything_else(tmp_path):
    log = open_run(str(tmp_path / "deep" / "run"), "x", {"run": {"seed": 1}})
    assert json.loads((tmp_path / "deep/run/config.json").read_text()) == {"run": {"seed": 1}}
    log.close()


def test_messages_are_printed_and_logged(tmp_path, capsys):
    log = open_run(str(tmp_path / "run"), "x", {})
    log.say("plain")
    log.warn("odd")
    log.close()
    assert capsys.readouterr().out == "plain\nwarning: odd\n"
    assert (tmp_path / "run/log.txt").read_text() == "plain\nwarning: odd\n"


def test_facts_and_later_warnings_are_stored_with_the_scores(tmp_path):
    log = open_run(str(tmp_path / "run"), "x", {})
    for text in ("odd", "odd", "lone \udcff"):
        log.warn(text, "data")
    log.facts["best"] = {"epoch": 2, "epochs": 3}
    assert not (tmp_path / "run/metrics.json").exists()
    scores = {"uar": 50.0}
    log.keep_metrics(scores)
    log.warn("late")
    assert not (tmp_path / "run/metrics.json").exists()
    log.complete()
    log.close()
    content = json.loads((tmp_path / "run/metrics.json").read_text())
    warnings = [("data", "odd"), ("data", "lone \\udcff"), ("", "late")]
    assert [(warning["kind"], warning["text"]) for warning in content["facts"].pop("warnings")] == warnings
    assert content == {"uar": 50.0, "facts": {"data": {}, "best": {"epoch": 2, "epochs": 3}}} and "facts" not in scores


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    open_run(str(tmp_path / "run"), "x", {"first": {}}).close()
    with pytest.raises(UserError, match="already holds a run"):
        open_run(str(tmp_path / "run"), "x", {"second": {}})
    assert "first" in (tmp_path / "run/config.json").read_text()


def test_a_folder_in_use_is_called_busy_without_advice_to_remove_it(tmp_path):
    """Two commands in the same second: the second may start before or after the first has written its options."""
    log = open_run(str(tmp_path / "run"), "x", {})
    for rest in ("config.json", "log.txt"):
        with pytest.raises(UserError, match="another process is working on a run there; name another folder"):
            open_run(str(tmp_path / "run"), "x", {})
        (tmp_path / "run" / rest).unlink()
    log.close()


def test_two_runs_of_one_name_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logs = [open_run(None, "same", {}) for _ in range(3)]
    for log in logs:
        log.close()
    assert len({log.folder for log in logs}) == 3


@pytest.mark.parametrize("name", ["a/b", "lr:[10, 20]", "..", "", "x" * 400, "tab\there", 'q"<>|?*', "räer"])
def test_any_name_becomes_a_folder_below_outputs(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    log = open_run(None, name, {})
    log.close()
    assert log.folder.parent.name == "outputs" and (tmp_path / log.folder).is_dir()
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,120}", log.folder.name)


def test_epochs_go_to_metrics_jsonl_in_order(tmp_path):
    log = open_run(str(tmp_path / "run"), "x", {})
    assert log.history() == []
    for epoch in (1, 2):
        log.epoch({"epoch": epoch, "train/loss": 0.5 / epoch, "note": "text"})
    log.close()
    assert [line["epoch"] for line in log.history()] == [1, 2]
    assert log.history()[1] == {"epoch": 2, "train/loss": 0.25, "note": "text"}
    assert list((tmp_path / "run/tensorboard").glob("events*"))


def test_there_is_no_progress_bar_without_a_terminal(capsys):
    assert list(progress_bar(range(3), 3, "epoch 1")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_without_a_terminal_progress_is_a_line_at_intervals(capsys, monkeypatch):
    monkeypatch.setattr("utils.runlog.LINE_SECONDS", 0.0)
    assert list(progress_bar("abc", 4, "features", first=1)) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["features: 2 of 4", "features: 3 of 4, about 0 s left", "features: 4 of 4, about 0 s left"]
    list(progress_bar([60.0, 120.0], None, "v\n", position=float))
    assert capsys.readouterr().err == "v\\n: 60 s\nv\\n: 120 s\n"
    monkeypatch.setenv("RANK", "1")
    assert list(progress_bar("abc", 4, "features")) == ["a", "b", "c"] and not capsys.readouterr().err


def test_a_slow_first_item_does_not_count_in_the_estimate(capsys, monkeypatch):
    """The first item takes 50 s, the others 2 s each: 8 of 10 are left after the second."""
    clock = iter([0.0, 50.0, 52.0])
    monkeypatch.setattr("utils.runlog.LINE_SECONDS", 51.0)
    monkeypatch.setattr("utils.runlog.time", SimpleNamespace(monotonic=lambda: next(clock)))
    items = iter(progress_bar("abcdefghij", 10, "epoch 1"))
    assert [next(items) for _ in range(3)] == [*"abc"]
    assert capsys.readouterr().err == "epoch 1: 2 of 10, about 16 s left\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((720.0, 3600.0, 60.0), "12 of 60 min, about 4 min left"),
        ((35.0, 90.0, 70.0), "35 of 90 s, about 2 min left"),
        ((600.0, None, 70.0), "10 min"),
        ((0.0, 90.0, 70.0), "0 of 90 s"),
    ],
)
def test_the_time_left_is_estimated_from_the_completed_work(arguments, line):
    assert progress_line(*arguments, of_video=True) == line


def test_the_time_left_of_resumed_work_is_estimated_from_its_own_speed():
    assert progress_line(1200, 5000, 20.0, 1000) == "1,200 of 5,000, about 6 min left"


def test_on_a_terminal_a_video_is_a_bar_in_seconds(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert list(progress_bar([0.5, 1.5, 2.5], 3.0, "v.mp4", position=float)) == [0.5, 1.5, 2.5]
    assert "v.mp4:   0%" in capsys.readouterr().err
