"""--mode ablate: every variant trained once, the table of them, going on where it was stopped, runs used again."""

import csv
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

import engine.evaluate
from analysis.plots import save
from engine.run_hash import stored_hash
from sweep import plot
from sweep.table import as_text
from tests.support.pictures import REAL, pixels_of
from tests.support.resuming import at_forward, call, crash, crash_run, one_line, send, snapshot, write_small
from tests.support.tools import RANDOM_CLIP, ROOT, Run

SHORT = ["--epochs", "1", "--select-on", "last", "--lr-image-encoder", "0", "--iec-text", "descriptive"]
GRID = ["--mode", "ablate", "--grid", "adapter=none,residual slerp_weight=0,0.5"]
*_, draw_differences = REAL
VARIANTS = ["base", "adapter=none slerp_weight=0.0", "adapter=none", "slerp_weight=0.0"]
RUN = 8 + 5  # batches of a run: 15 training clips, 10 test clips, two a batch


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    place = tmp_path_factory.mktemp("small")
    return [*write_small(place / "set"), *SHORT, "--cache-dir", str(place / "features")]


@pytest.fixture(scope="module")
def ablation(words, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plot, "draw_differences", draw_differences)
        patch.chdir(folder.parent)  # there is no outputs/ here, so that nothing is used again
        (folder.parent / "weights").symlink_to(ROOT / "weights")
        run = call(*words, *GRID, "--seeds", "1,2", "--output-dir", folder, folder=folder)
    assert run.status == 0, run.err
    return run


def found_in(folder):
    return json.loads((folder / "ablation.json").read_text())


def runs_in(folder):
    return sorted(str(file.parent.relative_to(folder)) for file in folder.rglob("best.pt"))


def trained_in(folder):
    return {name: (folder / name / "best.pt").stat().st_mtime_ns for name in runs_in(folder)}


def test_every_variant_has_a_run_a_seed(ablation):
    assert runs_in(ablation.folder) == sorted(f"{name.replace(' ', '-')}/seed-{s}" for name in VARIANTS for s in (1, 2))
    stored = json.loads((ablation.folder / "adapter=none/seed-2/config.json").read_text())
    assert (
        stored["model"]["adapter"] == "none" and stored["model"]["slerp_weight"] == 0.5 and stored["run"]["seed"] == 2
    )
    assert stored["run"]["mode"] == "train" and stored["results"]["seeds"] is None


def test_the_table_holds_what_the_runs_hold(ablation):
    rows = found_in(ablation.folder)["rows"]
    assert [row["variant"] for row in rows] == VARIANTS
    for row in rows:
        runs = [Run(0, ablation.folder / folder, "", "").metrics for folder in row["runs"]]
        for name in ("uar", "war", "macro_f1"):
            assert row[name] == pytest.approx(np.mean([one[name] for one in runs]))
            assert row[f"{name}_sd"] == pytest.approx(np.std([one[name] for one in runs], ddof=1))
    for row in rows[1:]:
        assert row["difference"]["uar"]["value"] == pytest.approx(row["uar"] - rows[0]["uar"])


def test_the_table_is_written_in_all_its_forms(ablation):
    with open(ablation.folder / "ablation.csv", newline="") as file:
        table = list(csv.DictReader(file))
    rows = found_in(ablation.folder)["rows"]
    assert [line["variant"] for line in table] == VARIANTS and table[0]["difference"] == ""
    assert float(table[2]["uar"]) == pytest.approx(rows[2]["uar"]) and table[2]["seeds"] == "1 2"
    text = (ablation.folder / "ablation.md").read_text()
    assert all(f"| {name} |" in text for name in VARIANTS) and "| adapter=none | `--adapter none` |" in text
    assert as_text(rows) in ablation.out
    assert pixels_of(ablation.folder / "ablation.png").std() > 10
    assert "8 runs trained, 0 done before" in ablation.out


def test_features_of_a_frozen_encoder_are_stored_without_being_asked(ablation):
    assert "--cache-features is on" in ablation.out
    stored = json.loads((ablation.folder / "base/seed-1/config.json").read_text())
    assert stored["data"]["cache_features"] is True


def test_a_run_of_it_is_the_run_alone(ablation, words, tmp_path):
    """Also the last one, whose test frames another variant had encoded; and as --mode eval sees the checkpoint."""
    member = ablation.folder / "slerp_weight=0.0/seed-2"
    alone = call(*words, "--seed", "2", "--slerp-weight", "0", "--cache-features", "--output-dir", tmp_path / "run")
    assert alone.status == 0, alone.err
    data = words[words.index("--root-dir") : words.index("--root-dir") + 10]
    evaluate = ["--mode", "eval", "--eval-checkpoint", member / "best.pt", "--device", "cpu", "--workers", "0"]
    done = call(*RANDOM_CLIP, *data, *evaluate, "--deterministic", "--output-dir", tmp_path / "eval")
    assert done.status == 0, done.err
    expected = (member / "predictions.csv").read_bytes()
    assert (tmp_path / "run/predictions.csv").read_bytes() == expected
    assert (tmp_path / "eval/predictions.csv").read_bytes() == expected
    assert (tmp_path / "run/run_hash.txt").read_text() == (member / "run_hash.txt").read_text()


def test_done_runs_are_not_repeated(ablation, words, tmp_path):
    folder = shutil.copytree(ablation.folder, tmp_path / "run")
    before = {name: snapshot(folder / name) for name in runs_in(folder)}
    again = call(*words, *GRID, "--seeds", "1,2", "--output-dir", folder, folder=folder)
    assert again.status == 0, again.err
    assert {name: snapshot(folder / name) for name in runs_in(folder)} == before
    assert "0 runs trained, 8 done before" in again.out
    same = [{k: v for k, v in row.items() if k != "runs"} for row in found_in(folder)["rows"]]
    assert same == [{k: v for k, v in row.items() if k != "runs"} for row in found_in(ablation.folder)["rows"]]


def test_a_stopped_ablation_says_how_to_go_on_and_ends_the_same(ablation, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        at_forward(patch, 2 * RUN + 3, send(signal.SIGINT))
        stopped = call(*words, *GRID, "--seeds", "1,2", "--output-dir", folder, folder=folder)
    assert stopped.status == 130 and f"--resume {folder}" in stopped.err
    assert len(trained_in(folder)) == 2 and not (folder / "ablation.md").exists()
    before = trained_in(folder)
    done = call("--resume", folder, folder=folder)
    assert done.status == 0, done.err
    assert {name: trained_in(folder)[name] for name in before} == before
    for name in runs_in(ablation.folder):
        expected = (ablation.folder / name / "predictions.csv").read_bytes()
        assert (folder / name / "predictions.csv").read_bytes() == expected, name


def test_a_run_that_ends_behind_its_scores_is_done(words, tmp_path, monkeypatch):
    """The pictures of its mistakes are lost, and the ablation goes on."""
    monkeypatch.chdir(tmp_path)
    folder, grid = tmp_path / "run", ["--mode", "ablate", "--grid", "adapter=none"]
    crash_run(lambda patch: patch.setattr(engine.evaluate, "write_mistakes", lambda *_, **__: crash()), *words, *grid,
              "--output-dir", folder)  # fmt: skip
    before = trained_in(folder)
    assert list(before) == ["base/seed-0"] and (folder / "base/seed-0/metrics.json").exists()
    done = call("--resume", folder, folder=folder)
    assert done.status == 0, done.err
    assert "1 run trained, 1 done before" in done.out
    assert {name: trained_in(folder)[name] for name in before} == before


def test_scores_of_more_epochs_are_never_those_of_fewer(words, tmp_path):
    """A run that took another epoch and ended behind its scores does not stand for the one it was before."""
    folder = tmp_path / "run"
    assert call(*words, "--output-dir", folder).status == 0
    before = stored_hash(folder)
    crash_run(lambda patch: patch.setattr(engine.evaluate, "write_mistakes", lambda *_, **__: crash()),
              "--resume", folder, "--epochs", "2")  # fmt: skip
    assert (folder / "metrics.json").exists() and stored_hash(folder) != before


def test_more_seeds_and_variants_may_come(ablation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(ablation.folder, tmp_path / "run")
    before = trained_in(folder)
    more = call("--resume", folder, "--grid", "adapter=none,published", "--seeds", "1", "--seed", "1", folder=folder)
    assert "--seed 1" in one_line(more), "--seed is of the base"
    more = call("--resume", folder, "--grid", "adapter=none,published", "--seeds", "1,2,3", folder=folder)
    assert more.status == 0, more.err
    assert [row["variant"] for row in found_in(folder)["rows"]] == ["base", "adapter=none", "adapter=published"]
    assert {name: trained_in(folder)[name] for name in before} == before
    assert "5 runs trained, 4 done before" in more.out


def test_an_ablation_goes_on_as_it_began(ablation, words, tmp_path):
    folder = shutil.copytree(ablation.folder, tmp_path / "run")
    assert "--lr 0.5" in one_line(call("--resume", folder, "--lr", "0.5"))
    assert "--lr 0.5" in one_line(call(*words, *GRID, "--lr", "0.5", "--output-dir", folder))
    member = folder / "base/seed-1"
    assert "no ablation there" in one_line(call(*words, *GRID, "--resume", member))


def test_a_damaged_folder_is_one_line(ablation, tmp_path):
    folder = shutil.copytree(ablation.folder, tmp_path / "run")
    (folder / "given.json").write_text("{")
    assert "given.json: damaged" in one_line(call("--resume", folder))


def test_a_list_that_changed_is_named_not_mixed_in(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, place = tmp_path / "run", words.index("--test-annotation") + 1
    root = Path(words[words.index("--root-dir") + 1])
    file = tmp_path / "test.txt"
    file.write_text((root / words[place]).read_text())
    own = [*words[:place], str(file), *words[place + 1 :]]
    grid = ["--mode", "ablate", "--grid", "adapter=none", "--output-dir", folder]
    assert call(*own, *grid).status == 0
    file.write_text("\n".join(file.read_text().splitlines()[1:]) + "\n")
    said = one_line(call("--resume", folder))
    assert "base/seed-0: was trained on other lists" in said and "remove it" in said


def test_runs_below_outputs_are_used_again(ablation, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = shutil.copytree(ablation.folder / "base/seed-1", tmp_path / "outputs/somewhere/run")
    folder = tmp_path / "new"
    done = call(
        *words, "--mode", "ablate", "--grid", "adapter=none", "--seeds", "1,2", "--output-dir", folder, folder=folder
    )
    assert done.status == 0, done.err
    assert "done already: outputs/somewhere/run" in done.out and "3 runs trained, 1 done before" in done.out
    assert not (folder / "base/seed-1").exists() and (folder / "base/seed-2").exists()
    assert found_in(folder)["rows"][0]["runs"][0] == str(place.relative_to(tmp_path))


def test_one_seed_tells_nothing_and_parts_without_effect_are_identical(words, tmp_path, monkeypatch):
    """With the texts of the descriptions alone in the classifier, MI and DC train prompts that no answer depends on."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    done = call(*words, "--mode", "ablate", "--drop-one", "--output-dir", folder, folder=folder)
    assert done.status == 0, done.err
    save(draw_differences(found_in(folder)["rows"], "clips"), folder / "of one seed.png")
    rows = {row["variant"]: row for row in found_in(folder)["rows"]}
    assert rows["without MI"]["verdict"] == rows["without DC"]["verdict"] == "identical predictions"
    assert "one seed: differences cannot be told from the noise of training" in done.out
    assert {row.get("verdict") for row in rows.values()} <= {None, "identical predictions", "one seed"}
    assert "± " not in as_text(list(rows.values()))


def test_refused_combinations_are_named_not_skipped(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    grid = ["--mode", "ablate", "--grid", "cache_features=on lr_image_encoder=0,1e-4"]
    done = call(*words, *grid, "--output-dir", folder, folder=folder)
    assert done.status == 0, done.err
    assert "needs a frozen encoder" in done.out and "left out, cache_features=True lr_image_encoder=0.0001" in done.out
    assert "needs a frozen encoder" in (folder / "ablation.md").read_text()


def test_a_base_that_cannot_be_is_one_line(words, tmp_path):
    base = [*words, "--mode", "ablate", "--drop-one", "--output-dir", tmp_path / "run"]
    assert "gone.txt" in one_line(call(*base, "--train-annotation", "gone.txt"))
    assert "--cache-features" in one_line(call(*base, "--cache-features", "--lr-image-encoder", "1"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (["--grid", "slerp_weight=0.5"], "the base's own"),
        (["--drop-one", "--model", "dfer-clip", "--no-tune-prompts"], "no part"),
        (["--resume", "auto"], "no ablation to go on with"),
    ],
)
def test_a_base_alone_is_no_ablation(more, part, tiny_arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert part in one_line(call(*tiny_arguments, "--mode", "ablate", *more))
    assert not list(tmp_path.iterdir())
