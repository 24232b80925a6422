"""--mode ablate: every variant is trained once per seed and compared with the base; complete runs are used again."""

import csv
import json
import shutil
import signal
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import engine.clip_predict
from analysis.intervals import make_groups
from analysis.plots import save
from analysis.results import Predictions
from engine.run_hash import stored_hash
from sweep import table
from sweep.plan import BASE, PlannedRun, Variant
from sweep.scores import FinishedRun
from tests.support.pictures import REAL, pixels_of
from tests.support.resuming import at_forward, call, crash, crash_run, one_line, resume, send, snapshot, write_small
from tests.support.tools import RANDOM_CLIP, ROOT, Run, main_arguments, run_ok
from utils.text import text_table

SHORT = ["--epochs", "1", "--select-on", "last", "--lr-image-encoder", "0", "--iec-text", "descriptive"]
ABLATE = ["--mode", "ablate", "--grid"]
GRID = [*ABLATE, "adapter=none,residual slerp_weight=0,0.5", "--seeds", "1,2"]
*_, draw_differences = REAL
VARIANTS = ["base", "adapter=none slerp_weight=0.0", "adapter=none", "slerp_weight=0.0"]
BATCHES = 8 + 5  # of a run: 15 training clips, 10 test clips, two per batch


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    return [*write_small(root / "set"), *SHORT, "--cache-dir", str(root / "features")]


@pytest.fixture(scope="module")
def ablation(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "draw_differences", draw_differences)
        patch.chdir(folder.parent)  # outputs/ does not exist here, so no run is used again
        (folder.parent / "weights").symlink_to(ROOT / "weights")
        return run_ok([*words, *GRID], folder)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for an ablation without any runs in outputs/."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "run"


@pytest.fixture
def copy(ablation, folder):
    return shutil.copytree(ablation.folder, folder)


def result_of(folder):
    return json.loads((folder / "ablation.json").read_text())


def training_times(folder):
    """{run: when its best.pt was written}."""
    return {str(f.parent.relative_to(folder)): f.stat().st_mtime_ns for f in sorted(folder.rglob("best.pt"))}


def without_pictures_of_mistakes(patch):
    patch.setattr(engine.clip_predict, "write_mistakes", lambda *_, **__: crash())


def test_every_variant_has_a_run_per_seed(ablation):
    runs = [f"{name.replace(' ', '-')}/seed-{seed}" for name in VARIANTS for seed in (1, 2)]
    assert sorted(training_times(ablation.folder)) == sorted(runs)
    config = json.loads((ablation.folder / "adapter=none/seed-2/config.json").read_text())
    assert config["model"]["adapter"] == "none" and config["model"]["slerp_weight"] == 0.5
    assert config["run"]["seed"] == 2 and config["run"]["mode"] == "train" and config["results"]["seeds"] is None
    assert "--cache-features is on" in ablation.out and config["data"]["cache_features"] is True


def test_the_table_holds_the_scores_of_the_runs(ablation):
    rows = result_of(ablation.folder)["rows"]
    assert [row["variant"] for row in rows] == VARIANTS
    for row in rows:
        runs = [Run(0, ablation.folder / folder, "", "").metrics for folder in row["runs"]]
        for name in ("uar", "war", "macro_f1"):
            assert row[name] == pytest.approx(np.mean([run[name] for run in runs]))
            assert row[f"{name}_sd"] == pytest.approx(np.std([run[name] for run in runs], ddof=1))
    for row in rows[1:]:
        assert row["difference"]["uar"]["value"] == pytest.approx(row["uar"] - rows[0]["uar"])


def test_the_table_is_written_in_all_its_forms(ablation):
    with open(ablation.folder / "ablation.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    rows = result_of(ablation.folder)["rows"]
    assert [line["variant"] for line in lines] == VARIANTS and lines[0]["difference"] == ""
    assert float(lines[2]["uar"]) == pytest.approx(rows[2]["uar"]) and lines[2]["seeds"] == "1 2"
    text = (ablation.folder / "ablation.md").read_text()
    assert all(f"| {name} |" in text for name in VARIANTS) and "| adapter=none | `--adapter none` |" in text
    assert "\n".join(text_table([table.HEADER, *map(table.cells, rows)])) in ablation.out
    assert pixels_of(ablation.folder / "ablation.png").std() > 10
    assert "8 runs trained, 0 reused" in ablation.out


def test_a_run_of_an_ablation_is_like_a_single_run(ablation, words, tmp_path):
    """Also for the last run, whose test frames another variant encoded; --mode eval gives the same scores."""
    member = ablation.folder / "slerp_weight=0.0/seed-2"
    run_ok([*words, "--seed", "2", "--slerp-weight", "0", "--cache-features"], tmp_path / "run")
    data = words[words.index("--root-dir") : words.index("--root-dir") + 10]
    evaluate = ["--mode", "eval", "--eval-checkpoint", str(member / "best.pt"), "--device", "cpu", "--workers", "0"]
    run_ok([*RANDOM_CLIP, *data, *evaluate, "--deterministic"], tmp_path / "eval")
    expected = (member / "predictions.csv").read_bytes()
    assert (tmp_path / "run/predictions.csv").read_bytes() == expected
    assert (tmp_path / "eval/predictions.csv").read_bytes() == expected
    assert (tmp_path / "run/run_hash.txt").read_text() == (member / "run_hash.txt").read_text()


def test_complete_runs_are_not_repeated(ablation, words, copy):
    before = {name: snapshot(copy / name) for name in training_times(copy)}
    again = run_ok([*words, *GRID], copy)
    assert {name: snapshot(copy / name) for name in before} == before and len(before) == 8
    assert "0 runs trained, 8 reused" in again.out
    rows = [[row | {"runs": None} for row in result_of(folder)["rows"]] for folder in (copy, ablation.folder)]
    assert rows[0] == rows[1]


def test_a_stopped_ablation_prints_how_to_resume_and_ends_the_same(ablation, words, folder):
    with pytest.MonkeyPatch.context() as patch:
        at_forward(patch, 2 * BATCHES + 3, send(signal.SIGINT))
        stopped = call(*words, *GRID, "--output-dir", folder, folder=folder)
    assert stopped.status == 130
    assert main_arguments(stopped.err.partition("continue with: ")[2]) == ["--resume", str(folder)]
    before = training_times(folder)
    assert len(before) == 2 and not (folder / "ablation.md").exists()
    resume(folder)
    assert {name: training_times(folder)[name] for name in before} == before
    for name in training_times(ablation.folder):
        expected = (ablation.folder / name / "predictions.csv").read_bytes()
        assert (folder / name / "predictions.csv").read_bytes() == expected, name


def test_a_run_that_ends_before_its_last_file_is_finished(words, folder):
    """The pictures of its mistakes are missing: the run is scored again without training."""
    crash_run(without_pictures_of_mistakes, *words, *ABLATE, "adapter=none", "--output-dir", folder)
    before = training_times(folder)
    assert list(before) == ["base/seed-0"] and not (folder / "base/seed-0/metrics.json").exists()
    assert "2 runs trained, 0 reused" in resume(folder).out
    assert {name: training_times(folder)[name] for name in before} == before
    assert all((folder / name / "mistakes/mistakes.json").exists() for name in training_times(folder))


def test_scores_of_more_epochs_are_never_those_of_fewer(words, folder):
    """A run that was killed after one more epoch is not used as the run with fewer epochs."""
    run_ok([*words], folder)
    before = stored_hash(folder)
    crash_run(without_pictures_of_mistakes, "--resume", folder, "--epochs", "2")
    assert before is not None and stored_hash(folder) is None
    run_ok(["--resume", str(folder), "--epochs", "2"], folder)
    assert stored_hash(folder) not in (None, before)


def test_seeds_and_variants_can_be_added(copy):
    before, grid = training_times(copy), ["--grid", "adapter=none,published"]
    refused = call("--resume", copy, *grid, "--seeds", "1", "--seed", "1", folder=copy)
    assert "--seed 1" in one_line(refused), "--seed is of the base"
    run = resume(copy, *grid, "--seeds", "1,2,3")
    assert [row["variant"] for row in result_of(copy)["rows"]] == ["base", "adapter=none", "adapter=published"]
    assert {name: training_times(copy)[name] for name in before} == before
    assert "5 runs trained, 4 reused" in run.out


def test_resuming_a_folder_without_an_ablation_gives_a_one_line_error(words, copy):
    assert "--lr 0.5" in one_line(call("--resume", copy, "--lr", "0.5"))
    assert "--lr 0.5" in one_line(call(*words, *GRID, "--lr", "0.5", "--output-dir", copy))
    assert "no ablation there" in one_line(call(*words, *GRID, "--resume", copy / "base/seed-1"))
    (copy / "given.json").write_text("{")
    assert "given.json, line 1" in one_line(call("--resume", copy))


def test_a_list_that_changed_gives_a_one_line_error(words, folder, tmp_path):
    number = words.index("--test-annotation") + 1
    file = tmp_path / "test.txt"
    file.write_text((Path(words[words.index("--root-dir") + 1]) / words[number]).read_text())
    words = [*words[:number], str(file), *words[number + 1 :]]
    run_ok([*words, *ABLATE, "adapter=none"], folder)
    file.write_text("\n".join(file.read_text().splitlines()[1:]) + "\n")
    message = one_line(call("--resume", folder))
    assert "base/seed-0: was trained on lists" in message and "remove it" in message


def test_runs_below_outputs_are_used_again(ablation, words, folder):
    earlier = shutil.copytree(ablation.folder / "base/seed-1", "outputs/somewhere/run")
    run = run_ok([*words, *ABLATE, "adapter=none", "--seeds", "1,2"], folder)
    assert f"already done: {earlier}" in run.out and "3 runs trained, 1 reused" in run.out
    assert not (folder / "base/seed-1").exists() and (folder / "base/seed-2").exists()
    assert result_of(folder)["rows"][0]["runs"][0] == earlier


@pytest.mark.parametrize("num_flags", [1, 6])
def test_all_text_of_the_picture_is_inside_it(num_flags):
    """Long names of variants used the space of the label and the title, which were cut."""
    name = " ".join(["class_balanced_loss=True"] * num_flags)
    base = {"variant": "base", "seeds": [1, 2], "uar": 85.2}
    difference = {"value": -13.3, "interval": [-18.6, -6.3], "identical": False}
    variants = [base | {"variant": name, "difference": {"uar": difference}, "verdict": "yes"} for _ in range(3)]
    figure = draw_differences([base, *variants], "persons")
    figure.canvas.draw()
    axes = figure.axes[0]
    texts = [*figure.texts, *axes.texts, *axes.get_yticklabels(), axes.title, axes.xaxis.label]
    assert any("95 % interval over persons and seeds" in text.get_text() for text in texts)
    assert name in {text.get_text().replace("\n", " ") for text in texts}
    for text in texts:
        box = text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1, text
    names = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert not any(first.overlaps(second) for first, second in pairwise(names))
    plt.close(figure)


def test_one_seed_has_no_verdict_and_parts_without_effect_are_identical(words, folder):
    """With the descriptive texts alone in the classifier, MI and DC train prompts that no prediction depends on."""
    out = run_ok([*words, "--mode", "ablate", "--drop-one"], folder).out
    rows = {row["variant"]: row for row in result_of(folder)["rows"]}
    save(draw_differences(list(rows.values()), "clips"), folder / "of one seed.png")
    assert rows["without MI"]["verdict"] == rows["without DC"]["verdict"] == "identical predictions"
    assert "one seed: differences cannot be distinguished from the noise of training" in out and "± " not in out
    assert {row.get("verdict") for row in rows.values()} <= {
        None,
        "identical predictions",
        "no",
        "too few differ",
        "one seed",
    }


def test_refused_combinations_are_named(words, folder):
    grid = "cache_features=on lr_image_encoder=0,1e-4"
    out = run_ok([*words, *ABLATE, grid], folder).out
    assert "needs a frozen encoder" in out and "left out, cache_features=True lr_image_encoder=0.0001" in out
    assert "needs a frozen encoder" in (folder / "ablation.md").read_text()


def test_an_impossible_base_gives_a_one_line_error(words, folder):
    base = [*words, "--mode", "ablate", "--drop-one", "--output-dir", folder]
    assert "gone.txt" in one_line(call(*base, "--train-annotation", "gone.txt"))
    assert "--cache-features" in one_line(call(*base, "--cache-features", "--lr-image-encoder", "1"))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--grid", "slerp_weight=0.5"], "that of the base"),
        (["--drop-one", "--model", "dfer-clip", "--no-tune-prompts"], "no part"),
        (["--resume", "auto"], "no ablation to continue"),
    ],
)
def test_a_base_without_variants_gives_a_one_line_error(flags, part, tiny_arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert part in one_line(call(*tiny_arguments, "--mode", "ablate", *flags))
    assert not list(tmp_path.iterdir())


def finished(variant, seed, label, wrong, score=0.0):
    """A run that misclassifies the clips in ``wrong``."""
    predicted = label.copy()
    predicted[list(wrong)] = 1 - predicted[list(wrong)]
    result = FinishedRun(PlannedRun("", {"seed": seed}, variant=variant), Path(f"{variant.name}/{seed}"))
    N = len(label)
    predictions = Predictions(("a", "b"), [str(n) for n in range(N)], [None] * N, label, np.eye(2)[predicted])
    vars(result).update(predictions=predictions, metrics=dict.fromkeys(("uar", "war", "macro_f1"), score))
    return result


def test_rows_need_no_intervals():
    label = np.array([0, 1, 0, 1])
    variant = finished(Variant("x", {"lr": 1.0}), 1, label, range(4))
    _, row = table.make_rows([finished(BASE, 1, label, [], 100.0), variant], None)
    assert row["difference"]["uar"]["value"] == -100 and row["verdict"] == "no interval"


def test_one_of_many_variants_must_differ_more():
    """p is near 0.03 for one variant; among forty variants without effect it is not significant."""
    label = np.arange(200) % 2
    groups = make_groups([str(n) for n in range(200)], "clips")

    def runs(name, wrong):
        return [finished(Variant(name, {"lr": 1.0}) if name else BASE, seed, label, wrong) for seed in (1, 2)]

    better = [*runs("", range(40)), *runs("better", range(6, 40))]  # six more clips are correct
    row = table.make_rows(better, groups)[1]
    assert row["verdict"] == "yes" and row["difference"]["uar"]["p"] < 0.05
    (single,) = table.make_rows([run for run in better if run.run.flags["seed"] == 1], groups)[1:]
    assert single["verdict"] == "one seed" and not single["difference"]["uar"]["beyond_noise"]
    no_better = [run for n in range(40, 79) for run in runs(f"other {n}", [n, *range(1, 40), 50 + n])]
    row = table.make_rows([*better, *no_better], groups)[1]
    assert row["verdict"] == "if tried alone" and row["difference"]["uar"]["p_holm"] > 0.05
