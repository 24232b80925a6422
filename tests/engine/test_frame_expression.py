"""--model frame-expr through the command line: trained on single frames, scored again, its tower cached for videos."""

import numpy as np
import pytest

from engine.config import read_command
from tests.support.affect import VIDEOS, write_frames, write_set
from tests.support.tools import RANDOM_CLIP, error_of, run_ok

QUICK = ["--model", "frame-expr", *RANDOM_CLIP, "--device", "cpu", "--workers", "0", "--batch-size", "16"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames") / "set"
    write_set(root)
    write_frames(root)
    return root


@pytest.fixture(scope="module")
def arguments(root) -> list[str]:
    return [*QUICK, "--root-dir", str(root)]


@pytest.fixture(scope="module")
def run(arguments, tmp_path_factory):
    return run_ok([*arguments, "--epochs", "3", "--lr-image-encoder", "1e-3"], tmp_path_factory.mktemp("runs") / "run")


def test_the_method_learns_expressions_of_frames_and_its_checkpoint_is_scored(run, root, tmp_path):
    assert run.history[-1]["train/loss_expr"] < run.history[0]["train/loss_expr"]
    assert max(values["val/macro_f1"] for values in run.history) == pytest.approx(run.metrics["macro_f1"])
    names = {row["clip"] for row in run.predictions}
    assert names and all((root / "cropped_aligned" / name).exists() for name in names)
    assert {name.split("/")[0] for name in names} == set(VIDEOS["validation"])
    again = run_ok(["--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt")], tmp_path / "eval")
    assert (again.folder / "predictions.csv").read_bytes() == (run.folder / "predictions.csv").read_bytes()


def cache_with(run, root, folder) -> list[str]:
    flags = ["--mode", "cache", "--eval-checkpoint", str(run.folder / "best.pt"), "--root-dir", str(root)]
    return [*flags, "--device", "cpu", "--workers", "0", "--cache-dir", str(folder)]


def test_the_tuned_tower_encodes_the_frames_of_videos(run, root, tmp_path, capsys):
    run_ok(cache_with(run, root, tmp_path / "features"), tmp_path / "cache")
    assert np.load(tmp_path / "features/a.npy").shape == (VIDEOS["train"]["a"], 64)
    flags = "--model sequence --task va --window 20 --stride 20 --transformer-layers 1 --tcn-channels 8 --epochs 1"
    data = ["--root-dir", str(root), "--features", str(root / "features"), "--device", "cpu"]
    sequence = run_ok([*flags.split(), *data], tmp_path / "run")
    assert "it has no image encoder" in error_of(cache_with(sequence, root, tmp_path / "none"), capsys)


def test_patience_ends_a_run(arguments, tmp_path):
    flags = "--epochs 9 --patience 2 --lr 0 --lr-image-encoder 0 --frame-step 4"
    run = run_ok([*arguments, *flags.split()], tmp_path / "run")
    assert len(run.history) == 3  # nothing is trained, so no epoch is better than the first


def test_pictures_of_people_can_be_left_out(arguments):
    assert not read_command([*arguments, "--no-mistake-frames"])[1].results.mistake_frames


REFUSED = {
    "--window 9": "--window 9 is not used by --model frame-expr",
    "--task va": "--task va is not used by --model frame-expr",
    "--fold 5": "--fold 5: expected 0 to 4",
    "--fold all": "one fold at a time",
    "--select-on test": "--select-on test",
    "--image-size 32": "--image-size 32 does not fit",
    "--cache-features --lr-image-encoder 0": "--cache-features True is not used by --model frame-expr on long videos",
    "--dataset RAF-DB": "--dataset RAF-DB is not used by --model frame-expr on long videos",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_mistakes_give_a_one_line_error(arguments, tmp_path, capsys, flags):
    assert REFUSED[flags] in error_of([*arguments, "--output-dir", str(tmp_path / "r"), *flags.split()], capsys)


def test_the_set_must_be_named_and_patience_needs_a_score(capsys):
    assert "--model frame-expr needs --root-dir" in error_of(QUICK, capsys)
    message = error_of(["--patience", "2", "--select-on", "last"], capsys)
    assert "--patience 2 is not used with --select-on last" in message and "or pass --select-on val" in message
