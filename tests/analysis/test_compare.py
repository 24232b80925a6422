"""--mode compare on run folders written by hand: what is printed, written and refused."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import binomtest

from analysis.compare import verdict
from analysis.intervals import make_groups
from analysis.paired import Pair
from main import main
from tests.support.tools import error_of

NAMES = ("calm", "glad", "sad")
CLIPS = [(f"clip {n:03d}", f"person {n % 15:02d}", NAMES[n % 3]) for n in range(120)]


def write_run(folder, wrong=(), *, clips=CLIPS, names=NAMES, persons=True, options=None, **metrics):
    """Write a run that classifies all clips correctly except those with the numbers in ``wrong``."""
    folder.mkdir(parents=True)
    rows = []
    for row, (clip, person, label) in enumerate(clips):
        answer = (names.index(label) + (row in wrong)) % len(names)
        values = {"clip": clip, "label": label, "predicted": names[answer]} | ({"person": person} if persons else {})
        values |= {f"logit_{name}": 2.0 * (c == answer) for c, name in enumerate(names)}
        rows.append(values | {f"prob_{name}": 1.0 * (c == answer) for c, name in enumerate(names)})
    with open(folder / "predictions.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    scores = {"uar": 1.0, "war": 1.0, "macro_f1": 1.0, "split": "test", "selected_on": "val"}
    (folder / "metrics.json").write_text(json.dumps(scores | metrics))
    config = {"run": {"seed": 42, "workers": len(wrong)}, "model": {"adapter": "none"} | (options or {})}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_seeds(folder, wrong_by_seed):
    for seed, wrong in wrong_by_seed.items():
        write_run(folder / f"seed-{seed}", wrong)
    scores = {"uar": 1.0, "seeds": list(wrong_by_seed), "runs": {f"seed-{s}": {} for s in wrong_by_seed}}
    (folder / "metrics.json").write_text(json.dumps(scores | {"split": "test", "selected_on": "val"}))
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def compare(tmp_path, capsys):
    def run(a, b, *flags):
        capsys.readouterr()
        assert main(["--mode", "compare", str(a), str(b), "--output-dir", str(tmp_path / "out"), *flags]) == 0
        return json.loads((tmp_path / "out/comparison.json").read_text()), capsys.readouterr().out

    return run


def refused(capsys, a, b):
    return error_of(["--mode", "compare", str(a), str(b)], capsys)


def test_scores_differences_and_flips(tmp_path, compare):
    a = write_run(tmp_path / "a", range(0, 30))
    b = write_run(tmp_path / "b", [*range(0, 6), 100, 101], options={"slerp_weight": 0.5})
    result, out = compare(a, b)
    war = result["scores"]["war"]
    assert (war["a"], war["b"]) == (pytest.approx(75), pytest.approx(100 * 112 / 120))
    assert war["value"] == pytest.approx(100 * 22 / 120)
    assert result["clips"] == 120 and result["resampled"] == "persons" and result["groups"] == 15
    p = pytest.approx(binomtest(2, 26).pvalue)
    assert result["mcnemar"] == {"a_alone_right": 2, "b_alone_right": 24, "p": p}
    assert result["verdict"].startswith(
        "The difference of +18.3 UAR holds for these two trained models on other persons"
    )
    assert "one seed of each" in result["verdict"] and "beyond noise" not in out
    assert not any(values["beyond_noise"] for values in [*result["scores"].values(), *result["per_class"].values()])
    assert result["verdict"] in out and "only A has 2 clips right, only B 24" in out
    assert result["options"] == {"--slerp-weight": ["(not set)", "0.5"]}  # no result depends on --workers
    # every flipped clip is in the file, and twenty are on the screen
    with open(tmp_path / "out/flips.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["clip"] for row in rows} == {f"clip {n:03d}" for n in (*range(6, 30), 100, 101)}
    assert rows[0] == {"clip": "clip 100", "label": "glad", "a": "glad", "b": "sad", "flip": "right to wrong"}
    assert [row["flip"] for row in rows] == ["right to wrong"] * 2 + ["wrong to right"] * 24
    assert sum(line.startswith(("clip 0", "clip 1")) for line in out.splitlines()) == 20
    assert "6 more in flips.csv" in out and "6 more in flips.csv" in (tmp_path / "out/comparison.md").read_text()


def test_recalls_change_by_class(tmp_path, compare):
    glad = [row for row, clip in enumerate(CLIPS) if clip[2] == "glad"]
    result, out = compare(write_run(tmp_path / "a"), write_run(tmp_path / "b", glad[:10]))
    assert result["per_class"]["glad"]["value"] == pytest.approx(-25) and result["per_class"]["glad"]["support"] == 40
    assert result["per_class"]["calm"]["value"] == 0 and "recall of glad (40)" in out


def test_identical_runs_and_small_differences(tmp_path, compare):
    a = write_run(tmp_path / "a", [4, 5, 6])
    result, _ = compare(a, write_run(tmp_path / "same", [4, 5, 6]))
    assert result["scores"]["uar"]["p"] == 1 and result["scores"]["uar"]["interval"] == [0, 0]
    assert result["identical"] and result["flips"] == [] and result["mcnemar"]["p"] == 1
    assert "identical predictions" in result["verdict"]
    (tmp_path / "out").rename(tmp_path / "first")
    result, _ = compare(a, write_run(tmp_path / "b", [5, 6]))
    assert "within noise" in result["verdict"] and not result["scores"]["uar"]["beyond_noise"]


def test_changed_predictions_without_a_change_of_scores_are_reported():
    """Two models predict one class each: UAR is 1/3 in every sample, and no prediction agrees."""
    label = np.tile([0, 1, 2], 10)
    groups = make_groups([f"person {n // 3}" for n in range(30)], "persons")
    uar = Pair(label, np.full((1, 30), 1), np.full((1, 30), 2), groups, 3).difference("uar")
    assert verdict(uar, groups).startswith("UAR is the same in every bootstrap sample") and not uar.identical


def test_older_folders_without_persons_resample_clips(tmp_path, compare):
    runs = [write_run(tmp_path / name, range(count), persons=False) for name, count in (("a", 9), ("b", 3))]
    result, _ = compare(*runs)
    assert result["resampled"] == "clips" and result["groups"] == 120


@pytest.mark.parametrize(
    ("a", "b", "clips", "flips", "text"),
    [
        (([0, 1], CLIPS), ([118, 119], CLIPS[::-1]), 120, 0, "120 clips"),  # matched by name, not by row
        (([0], [*CLIPS, CLIPS[0]]), ([120], [*CLIPS, CLIPS[0]]), 121, 2, "121 clips"),  # one clip is listed twice
        (([], CLIPS), ([0], CLIPS[20:]), 100, 1, "100 clips in both runs; left out: 20 of A, 0 of B"),
    ],
)
def test_clips_are_matched(tmp_path, compare, a, b, clips, flips, text):
    runs = [write_run(tmp_path / name, wrong, clips=list_) for name, (wrong, list_) in (("a", a), ("b", b))]
    result, out = compare(*runs)
    assert result["clips"] == clips and len(result["flips"]) == flips and text in out


def test_doubts_about_the_comparison_are_printed(tmp_path, compare):
    a = write_run(tmp_path / "a", [1], selected_on="test: optimistic", split="test")
    b = write_run(tmp_path / "b", split="val", calibration={"temperature": 1.7})
    _, out = compare(a, b)
    warnings = [line for line in out.splitlines() if line.startswith("warning:")]
    assert any("A (" in line and "optimistic" in line for line in warnings)
    for text in ("test clips, B on val clips", "only B is calibrated", "one seed of each"):
        assert sum(text in line for line in warnings) == 1


def test_series_over_seeds_are_compared_by_their_means(tmp_path, compare):
    a = write_seeds(tmp_path / "a", {1: range(0, 12), 2: range(0, 24), 3: range(0, 36)})
    b = write_seeds(tmp_path / "b", {1: range(0, 6), 2: range(0, 18), 3: range(0, 30)})
    result, out = compare(a, b)
    war = result["scores"]["war"]
    assert war["a"] == pytest.approx(80) and war["b"] == pytest.approx(85)
    assert result["mcnemar"] is None and not (tmp_path / "out/flips.csv").exists()
    assert "bootstrap over the 15 persons and over seeds" in out and "one seed of" not in out
    assert result["per_class"]["calm"]["a"] == pytest.approx(80)
    (tmp_path / "out").rename(tmp_path / "first")
    result, out = compare(a, write_run(tmp_path / "single"))
    assert "warning: one seed of B:" in out and "but different seeds" in out
    assert "beyond noise" not in result["verdict"] and not result["scores"]["uar"]["beyond_noise"]


@pytest.mark.parametrize("is_finished", [True, False])
def test_variants_of_an_ablation_are_compared_over_all_their_seeds(tmp_path, compare, is_finished):
    """One run of the base is in another folder, which only the table of the ablation names."""
    errors = {"base": {1: range(0, 60), 2: range(0, 54)}, "adapter=none": {1: range(0, 6), 2: range(0, 12)}}
    runs = {}
    for variant, by_seed in errors.items():
        for seed, rows in by_seed.items():
            folder = tmp_path / "ablation" / variant / f"seed-{seed}"
            if is_finished and (variant, seed) == ("base", 2):
                folder = tmp_path / "elsewhere"
            runs[str(write_run(folder, rows))] = {"variant": variant, "folder": variant, "seed": seed, "reused": False}
    if is_finished:
        (tmp_path / "ablation/ablation.json").write_text(json.dumps({"runs": runs}))
    result, out = compare(tmp_path / "ablation/base", tmp_path / "ablation/adapter=none")
    war = result["scores"]["war"]
    assert (war["a"], war["b"]) == (pytest.approx(100 * 63 / 120), pytest.approx(100 * 111 / 120))
    assert result["seeds"] == [["seed-1", "seed-2"]] * 2 and "one seed of" not in out
    assert "is beyond noise at 95 %" in result["verdict"] and result["scores"]["uar"]["beyond_noise"]


SAD_IS_MAD = [(clip, person, "mad" if label == "sad" else label) for clip, person, label in CLIPS]


@pytest.mark.parametrize(
    ("clips", "names", "texts"),
    [
        (SAD_IS_MAD, ("calm", "glad", "mad"), ["mad, sad"]),
        (CLIPS, ("sad", "glad", "calm"), ["in different orders"]),
        ([(f"b {n}", *clip[1:]) if n >= 50 else clip for n, clip in enumerate(CLIPS)], NAMES, ["50 of 120 and 120"]),
        ([(*CLIPS[0][:2], "sad"), *CLIPS[1:]], NAMES, ["1 shared clips have another label", "clip 000"]),
    ],
)
def test_other_classes_clips_or_labels_are_refused(tmp_path, capsys, clips, names, texts):
    message = refused(capsys, write_run(tmp_path / "a"), write_run(tmp_path / "b", clips=clips, names=names))
    assert all(text in message for text in texts)


def test_a_folder_without_a_run_gives_a_one_line_error(tmp_path, capsys):
    a = write_run(tmp_path / "a")
    assert "RUN_A RUN_B" in error_of(["--mode", "compare", str(a)], capsys)
    assert "no such folder" in refused(capsys, a, tmp_path / "b")
    (tmp_path / "empty").mkdir()
    assert "metrics.json" in refused(capsys, a, tmp_path / "empty")
    assert "named twice" in refused(capsys, a, tmp_path / "a/../a")
    bare = write_run(tmp_path / "bare")
    (bare / "predictions.csv").unlink()
    assert "predictions" in refused(capsys, a, bare)
    (bare / "predictions.csv").write_text("clip,label\nx,calm\n")
    assert "holds no predictions of classes" in refused(capsys, a, bare)
    frames = write_run(tmp_path / "frames")
    (frames / "metrics.json").write_text(json.dumps({"score": 0.5}))
    assert "no predictions of classes of clips" in refused(capsys, a, frames)
    assert not (tmp_path / "outputs").exists()
