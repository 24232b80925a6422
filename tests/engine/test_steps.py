"""Steps and updates: accumulation equals a larger batch, clipping bounds an update, mixed precision runs."""

import pytest
import torch

from engine.step import TrainingStep
from tests.support.tools import run_main

PLAIN = "--epochs 1 --milestones --select-on last --lr 0.05 --lr-image-encoder 0.01 --weight-decay 0 --momentum 0"


@pytest.fixture
def train(tiny_arguments, tmp_path, monkeypatch):
    """Train one epoch of 40 clips without dropout; returns the weights at its end."""
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *_, **__: x)

    def run(*more):
        done = run_main([*tiny_arguments, *PLAIN.split(), *more], tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        assert done.status == 0, done.err
        return torch.load(done.folder / "last.pt", weights_only=True)["model"]

    return run


def distance(one, two):
    return max((one[key].float() - two[key].float()).abs().max().item() for key in one)


def test_accumulated_steps_are_one_step_of_the_larger_batch(train):
    whole, parts = train("--batch-size", "8"), train("--batch-size", "4", "--accumulate", "2")
    assert distance(whole, parts) < 2e-4
    assert distance(whole, train("--batch-size", "4")) > 2e-3


def test_an_unfinished_window_is_an_update_too(train, monkeypatch):
    updates, update = [], TrainingStep.update
    monkeypatch.setattr(TrainingStep, "update", lambda self: (updates.append(1), update(self)))
    train("--accumulate", "3")  # 10 steps
    assert len(updates) == 4


def test_gradients_do_not_leak_into_the_next_update(train, monkeypatch):
    left, update = [], TrainingStep.update

    def spying(self):
        update(self)
        left.extend(p.grad for p in self.task.model.parameters() if p.grad is not None and p.grad.any())

    monkeypatch.setattr(TrainingStep, "update", spying)
    train()
    assert left == []


def test_clipping_bounds_the_whole_update_and_0_is_off(train):
    start, free = (
        train("--lr", "0", "--lr-image-encoder", "0", "--lr-prompt-learner", "0", "--lr-adapter", "0"),
        train(),
    )
    assert distance(start, free) > 1e-3
    assert 0 < distance(start, train("--grad-clip", "1e-4")) <= 10 * 0.05 * 1e-4


def test_bf16_runs_and_learns_the_same_way(train):
    assert distance(train(), train("--amp", "bf16")) < 0.05


def test_fp16_without_a_gpu_is_float32_with_a_warning(tiny_arguments, train, tmp_path):
    done = run_main([*tiny_arguments, *PLAIN.split(), "--use-amp"], tmp_path / "amp")
    assert done.status == 0 and "warning: --amp fp16 needs a CUDA GPU" in done.out


def test_rates_of_zero_change_nothing(train):
    frozen = ["--lr", "0", "--lr-image-encoder", "0", "--lr-prompt-learner", "0", "--lr-adapter", "0"]
    assert distance(train(*frozen), train(*frozen, "--batch-size", "8")) == 0
