"""Trainings in float16 with the gradient scaler, as on a GPU, computed on the CPU, whose autocast knows the type."""

from functools import partial

import pytest
import torch

from engine import session
from tests.support.resuming import read
from tests.support.tools import run_main

SHORT = "--exper-name half --amp fp16 --lr 1e-2 --lr-image-encoder 1e-3 --lr-prompt-learner 1e-2 --temperature 0.02"
SHORT += " --normalize clip --mi-loss-weight 0.1 --epochs 6 --milestones 5 --select-on last --no-mistake-frames"


@pytest.fixture
def half(monkeypatch):
    """``--amp fp16`` is what it says, and the scale overflows at first, so that the first steps are skipped."""

    def begin(scale=2.0**40):
        monkeypatch.setattr(session, "choose_amp", lambda *_: (torch.float16, None))
        monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=scale))

    return begin


@pytest.mark.parametrize(
    "rule", [["--optimizer", "SGD"], ["--optimizer", "AdamW", "--lr", "1e-3"]], ids=["SGD", "AdamW"]
)
def test_a_training_whose_first_steps_overflow_ends_finite_and_learns(tiny_arguments, tmp_path, half, rule):
    half()
    run = run_main([*tiny_arguments, *SHORT.split(), *rule, "--deterministic"], tmp_path / "run")
    assert run.status == 0, run.err
    losses = [row["train/loss"] for row in run.history]
    assert losses[-1] < 0.9 * losses[0]
    last = read(run.folder / "last.pt")
    assert last["learning"]["scaler"]["scale"] < 2.0**40  # steps were skipped
    assert all(torch.isfinite(value).all() for value in last["model"].values())


def test_a_run_of_float32_goes_on_in_float16_and_back(tiny_arguments, tmp_path, half, monkeypatch):
    """As a run that moves from a machine without a GPU to one that has one."""
    words = [*tiny_arguments, *SHORT.split()]
    short = [*words[: words.index("--epochs")], "--epochs", "1", *words[words.index("--epochs") + 2 :]]
    first = run_main(short, tmp_path / "run")
    assert first.status == 0 and "needs a CUDA GPU" in first.out, first.err
    assert read(first.folder / "last.pt")["learning"]["scaler"] == {}
    with monkeypatch.context():
        half(scale=2.0**8)
        second = run_main(["--resume", str(first.folder), "--epochs", "2"], first.folder)
        assert second.status == 0 and read(first.folder / "last.pt")["learning"]["scaler"]["scale"] > 0, second.err
    monkeypatch.undo()
    third = run_main(["--resume", str(first.folder), "--epochs", "3"], first.folder)
    assert third.status == 0 and len(third.history) == 3, third.err
