"""--seeds: which seeds are meant, a run for each, their mean and spread; a clip counts once however many answered."""

import csv
import json
import shutil

import numpy as np
import pytest

from engine.config import read_command
from sweep.folds import is_series, stored_series
from sweep.seed_scores import sum_numbers
from sweep.seeds import seeds_of
from tests.support.affect import write_set as write_videos
from tests.support.rescored import rows_of, scores_of
from tests.support.resuming import assert_same_end, at_forward, call, one_line, send, snapshot, write_small
from tests.support.tools import error_of
from utils.errors import UserError

LISTS = ["--train-annotation", "train.txt", "--test-annotation", "test.txt"]
SHORT = ["--epochs", "1", "--select-on", "last", "--lr-image-encoder", "0"]
STEPS, TESTS = 8, 5  # batches of two: 15 training clips, 10 test clips
RUNS = ["seed-3", "seed-5"]


def test_how_many_or_which():
    assert seeds_of("3", 42) == [42, 43, 44]
    assert seeds_of("1,2,7", 42) == [1, 2, 7]
    assert seeds_of("0,4294967295", 42) == [0, 4294967295]


@pytest.mark.parametrize("words", ["x", "0", "-1", "1,", ",1", "1.5", "1,1", "1 2", "1001", "4294967296,1", "²"])
def test_what_are_no_seeds(words):
    with pytest.raises(UserError, match="--seeds"):
        seeds_of(words, 42)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--seeds", "1"], ["one run has no spread"]),
        (["--seeds", "7,"], ["--seeds 7,"]),
        (["--seeds", "2", "--mode", "eval", "--eval-checkpoint", "x.pt"], ["--mode eval trains none"]),
        (["--seeds", "2", "--mode", "zero-shot"], ["--mode zero-shot"]),
        (
            ["--seeds", "2", "--fold", "all", "--bounding-box-face", "{fold}.json"],
            ["--fold all", "one series at a time"],
        ),
        (["--seeds", "2", "--model", "emoclip", "--leave-out", "all"], ["--leave-out all"]),
        (["--seeds", "2", "--model", "emoclip", "--task", "regression", "--targets", "t.csv"], ["regression"]),
        (["--seeds", "2", "--seed", "4294967295"], ["4294967296"]),
    ],
)
def test_what_seeds_cannot_be_combined_with(words, parts, capsys):
    message = error_of([*LISTS, *words], capsys)
    assert all(part in message for part in ["--seeds", *parts]), message


def test_seeds_are_a_series():
    assert is_series(read_command([*LISTS, "--seeds", "2"])[1])
    assert not is_series(read_command([*LISTS, "--seed", "2"])[1])
    assert not is_series(read_command(["--mode", "ablate", "--drop-one", "--seeds", "2"])[1])


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return [*write_small(tmp_path_factory.mktemp("small") / "set"), *SHORT]


@pytest.fixture(scope="module")
def series(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seeds") / "run"
    run = call(*words, "--seeds", "3,5", "--output-dir", folder, folder=folder)
    assert run.status == 0, run.err
    return run


def test_every_seed_is_a_run_of_its_own(series, words, tmp_path):
    single = call(*words, "--seed", "5", "--output-dir", tmp_path / "run")
    assert single.status == 0, single.err
    assert_same_end(series.folder / "seed-5", tmp_path / "run")
    assert rows_of(series.folder / "seed-3") != rows_of(series.folder / "seed-5")
    for name in RUNS:
        assert stored_series(series.folder / name) is None, "a member is no series"


def test_means_and_deviations_are_over_the_seeds(series):
    by_seed = [scores_of(rows_of(series.folder / name)) for name in RUNS]
    assert series.metrics["seeds"] == [3, 5] and list(series.metrics["runs"]) == RUNS
    for name in ("uar", "war", "macro_f1"):
        values = [scores[name] for scores in by_seed]
        assert series.metrics[name] == series.metrics[f"{name}_mean"] == pytest.approx(np.mean(values))
        assert series.metrics[f"{name}_sd"] == pytest.approx(np.std(values, ddof=1))
    assert series.metrics["num_clips"] == 10, "a clip counts once"
    assert not (series.folder / "predictions.csv").exists()


def test_the_interval_is_of_the_persons(series, tmp_path):
    """One person is read well by one of the models: the mean over both lies between the two persons' own."""
    folder = shutil.copytree(series.folder, tmp_path / "run")
    rows = rows_of(folder / "seed-5")
    for row in rows[:3]:
        row[f"logit_{row['label']}"], row["predicted"] = "99", row["label"]
    with open(folder / "seed-5/predictions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    done = call("--resume", folder, folder=folder)
    assert done.status == 0, done.err
    drawn = done.metrics["intervals"]
    assert drawn["resampled"] == "persons" and drawn["groups"] == 2
    both = [row for name in RUNS for row in rows_of(folder / name)]
    names = sorted({row["person"] for row in both})
    persons = [100 * np.mean([r["label"] == r["predicted"] for r in both if r["person"] == name]) for name in names]
    assert len(names) == 2 and len(set(persons)) == 2 and drawn["war"] == pytest.approx(sorted(persons))


def test_recalls_and_the_ensemble(series):
    both = [rows_of(series.folder / name) for name in RUNS]
    names = series.metrics["classes"]
    for name in names:
        recalls = [100 * np.mean([r["predicted"] == name for r in rows if r["label"] == name]) for rows in both]
        assert series.metrics["per_class"][name]["recall"] == pytest.approx(np.mean(recalls))
    right = 0
    for pair in zip(*both, strict=True):
        sums = [sum(float(row[f"prob_{name}"]) for row in pair) for name in names]
        right += names[int(np.argmax(sums))] == pair[0]["label"]
    assert series.metrics["ensemble"]["war"] == pytest.approx(100 * right / 10)


def test_the_screen_says_what_was_measured(series):
    got = series.metrics
    assert f"UAR {got['uar']:6.2f} ± {got['uar_sd']:.2f}" in series.out
    assert "95 % intervals of the mean: UAR [" in series.out and "2 persons drawn again" in series.out
    assert "all 2 models together" in series.out


def test_a_stopped_series_goes_on_and_takes_more_seeds(series, words, tmp_path):
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        at_forward(patch, STEPS + TESTS + 3, send(15))
        stopped = call(*words, "--seeds", "3,5", "--output-dir", folder, folder=folder)
    assert stopped.status == 143 and f"--resume {folder}" in stopped.err
    first = snapshot(folder / "seed-3")
    done = call("--resume", folder, folder=folder)
    assert done.status == 0, done.err
    assert snapshot(folder / "seed-3") == first
    assert done.metrics == series.metrics
    more = call("--resume", folder, "--seeds", "3,5,6", folder=folder)
    assert more.status == 0 and more.metrics["seeds"] == [3, 5, 6], more.err
    assert snapshot(folder / "seed-3") == first


def test_a_list_that_changed_between_seeds_is_said_and_how_to_mend_it(series, tmp_path):
    folder = shutil.copytree(series.folder, tmp_path / "run")
    before = (folder / "seed-5/predictions.csv").read_text()
    (folder / "seed-5/predictions.csv").write_text(before.rpartition("\nRAER")[0] + "\n")
    said = one_line(call("--resume", folder))
    assert "scored on other clips" in said and "remove the metrics.json" in said
    for name in RUNS:
        (folder / name / "metrics.json").unlink()
    done = call("--resume", folder, folder=folder)
    assert done.status == 0, done.err
    assert done.metrics == series.metrics and (folder / "seed-5/predictions.csv").read_text() == before


def test_a_series_over_seeds_goes_on_as_it_began(series, words, tmp_path):
    folder = shutil.copytree(series.folder, tmp_path / "run")
    assert "--lr 0.5" in one_line(call("--resume", folder, "--lr", "0.5"))


class Said:
    def __init__(self):
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_other_scores_are_summed_number_by_number():
    """Of long videos: nested, no whole numbers, no intervals."""
    runs = {
        f"seed-{seed}": {"va": {"ccc": ccc, "num_frames": 100}, "score": ccc / 2, "intervals": {"score": [0.1, 0.2]}}
        for seed, ccc in ((1, 0.25), (2, 0.5))
    }
    found = sum_numbers(Said(), runs)
    assert found["runs"] == {"seed-1": {"va/ccc": 0.25, "score": 0.125}, "seed-2": {"va/ccc": 0.5, "score": 0.25}}
    assert found["va/ccc_mean"] == 0.375 and found["va/ccc_sd"] == pytest.approx(0.25 / np.sqrt(2))
    assert json.dumps(found)


def test_seeds_of_long_videos(tmp_path):
    """Their scores have other names, and resuming works the same."""
    flags = "--model sequence --window 20 --stride 12 --batch-size 4 --transformer-layers 1 --tcn-channels 8 --epochs 1"
    small = [*flags.split(), "--device", "cpu", *write_videos(tmp_path / "set")]
    folder = tmp_path / "run"
    done = call(*small, "--seeds", "1,2", "--output-dir", folder, folder=folder)
    assert done.status == 0, done.err
    single = [json.loads((folder / f"seed-{seed}/metrics.json").read_text()) for seed in (1, 2)]
    values = [one["va"]["ccc"] for one in single]
    assert done.metrics["va/ccc_mean"] == pytest.approx(np.mean(values))
    assert done.metrics["va/ccc_sd"] == pytest.approx(np.std(values, ddof=1))
    again = call("--resume", folder, folder=folder)
    assert again.status == 0 and again.metrics == done.metrics, again.err
