"""--seeds: one run per seed, mean and deviation of the scores; each clip counts once for any number of models."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.series import stored_series
from sweep.scores import number_metrics
from tests.support.affect import write_set as write_videos
from tests.support.rescored import rows_of, scores_of
from tests.support.resuming import assert_same_end, at_forward, call, one_line, resume, send, snapshot, write_small
from tests.support.tools import run_ok
from utils.runlog import QuietLog

SHORT = ["--epochs", "1", "--select-on", "last", "--lr-image-encoder", "0"]
STEPS, TESTS = 8, 5  # batches of two: 15 training clips, 10 test clips
RUNS = ["seed-3", "seed-5"]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return [*write_small(tmp_path_factory.mktemp("small") / "set"), *SHORT]


@pytest.fixture(scope="module")
def series(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds") / "run"
    return run_ok([*words, "--seeds", "3,5"], folder)


def test_every_seed_is_a_run_like_a_single_one(series, words, tmp_path):
    run_ok([*words, "--seed", "5"], tmp_path / "run")
    assert_same_end(series.folder / "seed-5", tmp_path / "run")
    assert rows_of(series.folder / "seed-3") != rows_of(series.folder / "seed-5")
    assert not [name for name in RUNS if stored_series(series.folder / name)], "a member is no series"


def test_means_and_deviations_are_over_the_seeds(series):
    by_seed = [scores_of(rows_of(series.folder / name)) for name in RUNS]
    metrics = series.metrics
    assert metrics["seeds"] == [3, 5] and list(metrics["runs"]) == RUNS
    for name in ("uar", "war", "macro_f1"):
        values = [scores[name] for scores in by_seed]
        assert metrics[name] == metrics[f"{name}_mean"] == pytest.approx(np.mean(values))
        assert metrics[f"{name}_sd"] == pytest.approx(np.std(values, ddof=1))
    assert metrics["num_clips"] == 10, "a clip counts once"
    assert not (series.folder / "predictions.csv").exists()
    assert f"UAR {metrics['uar']:6.2f} ± {metrics['uar_sd']:.2f}" in series.out
    assert "95 % intervals of the mean: UAR [" in series.out and "bootstrap over the 2 persons" in series.out
    assert "all 2 models together" in series.out


def test_recalls_and_the_ensemble(series):
    tables = [rows_of(series.folder / name) for name in RUNS]
    names = series.metrics["classes"]
    for name in names:
        recalls = [100 * np.mean([r["predicted"] == name for r in rows if r["label"] == name]) for rows in tables]
        assert series.metrics["per_class"][name]["recall"] == pytest.approx(np.mean(recalls))
    correct = 0
    for pair in zip(*tables, strict=True):
        sums = [sum(float(row[f"prob_{name}"]) for row in pair) for name in names]
        correct += names[int(np.argmax(sums))] == pair[0]["label"]
    assert series.metrics["ensemble"]["war"] == pytest.approx(100 * correct / 10)


def test_the_interval_is_over_persons(series, tmp_path):
    """One model classifies one of the two persons well: the interval of the mean covers both persons."""
    folder = shutil.copytree(series.folder, tmp_path / "run")
    rows = rows_of(folder / "seed-5")
    for row in rows[:3]:
        row[f"logit_{row['label']}"], row["predicted"] = "99", row["label"]
    with open(folder / "seed-5/predictions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    intervals = resume(folder).metrics["intervals"]
    assert intervals["resampled"] == "persons" and intervals["groups"] == 2
    rows = [row for name in RUNS for row in rows_of(folder / name)]
    persons = sorted({row["person"] for row in rows})
    war = [100 * np.mean([r["label"] == r["predicted"] for r in rows if r["person"] == name]) for name in persons]
    assert len(persons) == 2 and len(set(war)) == 2 and intervals["war"] == pytest.approx(sorted(war))


def test_a_stopped_series_can_be_resumed_with_more_seeds(series, words, tmp_path):
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        at_forward(patch, STEPS + TESTS + 3, send(15))
        stopped = call(*words, "--seeds", "3,5", "--output-dir", folder, folder=folder)
    assert stopped.status == 143 and f"--resume {folder}" in stopped.err
    first = snapshot(folder / "seed-3")
    assert resume(folder).metrics == series.metrics
    assert resume(folder, "--seeds", "3,5,6").metrics["seeds"] == [3, 5, 6]
    assert snapshot(folder / "seed-3") == first
    assert "--lr 0.5" in one_line(call("--resume", folder, "--lr", "0.5")), "other options cannot join a series"


def test_a_list_that_changed_between_seeds_gives_a_one_line_error(series, tmp_path):
    folder = shutil.copytree(series.folder, tmp_path / "run")
    before = (folder / "seed-5/predictions.csv").read_text()
    (folder / "seed-5/predictions.csv").write_text(before.rpartition("\nRAER")[0] + "\n")
    message = one_line(call("--resume", folder))
    assert "scored on other clips" in message and "remove the metrics.json" in message
    for name in RUNS:
        (folder / name / "metrics.json").unlink()
    assert resume(folder).metrics == series.metrics
    assert (folder / "seed-5/predictions.csv").read_text() == before


def test_scores_of_other_lists_are_not_those_of_this_series(series, words, tmp_path):
    """Neither of a series nor of one of its runs, and nothing is written."""
    folder, root = shutil.copytree(series.folder, tmp_path / "run"), tmp_path / "nowhere"
    before, listed = snapshot(folder), Path(words[words.index("--root-dir") + 1]) / "annotation/test.txt"
    (tmp_path / "few.txt").write_text("".join(listed.read_text().splitlines(keepends=True)[1:]))
    for resumed in (folder, folder / "seed-5"):
        message = one_line(call("--resume", resumed, "--test-annotation", tmp_path / "few.txt"))
        assert str(resumed) in message and "lists" in message and "--output-dir" in message
    auto = [*words, "--output-dir", folder / "seed-5", "--resume", "auto", "--seed", "5"]
    assert "is complete" in call(*auto).ok().out
    assert "lists" in one_line(call(*auto, "--root-dir", root))
    assert snapshot(folder) == before


def test_nested_scores_are_averaged_number_by_number(tmp_path):
    """Scores of long videos: whole numbers are counts, and intervals are not averaged."""
    runs = {
        f"seed-{seed}": {"va": {"ccc": ccc, "num_frames": 100}, "score": ccc / 2, "intervals": {"score": [0.1, 0.2]}}
        for seed, ccc in ((1, 0.25), (2, 0.5))
    }
    metrics = number_metrics(QuietLog(tmp_path), runs)
    assert metrics["runs"] == {"seed-1": {"va/ccc": 0.25, "score": 0.125}, "seed-2": {"va/ccc": 0.5, "score": 0.25}}
    assert metrics["va/ccc_mean"] == 0.375 and metrics["va/ccc_sd"] == pytest.approx(0.25 / np.sqrt(2))
    assert json.dumps(metrics)


def test_seeds_of_long_videos(tmp_path):
    """Their scores have other names, and resuming works the same."""
    flags = "--model sequence --window 20 --stride 12 --batch-size 4 --transformer-layers 1 --tcn-channels 8 --epochs 1"
    small = [*flags.split(), "--device", "cpu", *write_videos(tmp_path / "set")]
    folder = tmp_path / "run"
    metrics = run_ok([*small, "--seeds", "1,2"], folder).metrics
    values = [json.loads((folder / f"seed-{seed}/metrics.json").read_text())["va"]["ccc"] for seed in (1, 2)]
    assert metrics["va/ccc_mean"] == pytest.approx(np.mean(values))
    assert metrics["va/ccc_sd"] == pytest.approx(np.std(values, ddof=1))
    assert resume(folder).metrics == metrics
