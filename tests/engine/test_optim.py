"""The first step and steps that the gradient scaler skips: momentum starts at zero, and nothing becomes NaN."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from engine.keep import Keeper
from engine.optim import build_optimizer, step_scaled

INFINITE = math.inf


def make(rule="SGD", momentum=0.9):
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optim = SimpleNamespace(optimizer=rule, momentum=momentum, weight_decay=1e-2)
    return layer, build_optimizer([{"params": list(layer.parameters()), "lr": 0.1}], optim)


def make_scaler():
    return torch.amp.GradScaler("cpu", init_scale=8.0)


def step(layer, optimizer, scaler, gradient, grad_clip=0.0):
    """``gradient``: as the backward pass leaves it, times the scale."""
    for p in layer.parameters():
        p.grad = torch.full_like(p, gradient) * scaler.get_scale()
        scaler.scale(torch.zeros(()))  # the scaler begins when it first scales a loss
    step_scaled(optimizer, scaler, grad_clip)


@pytest.fixture(params=[False, True], ids=["", "deterministic"])
def deterministic(request):
    """Under torch's deterministic algorithms fresh memory is NaN; without them it is whatever was there."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(request.param)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("grad_clip", [0.0, 1.0])
@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
@pytest.mark.parametrize("gradients", [[INFINITE, 1.0, 2.0], [1.0, INFINITE, 2.0], [INFINITE, INFINITE, 1.0, 2.0]])
def test_a_skipped_step_is_as_if_it_had_not_been(deterministic, rule, gradients, grad_clip):
    """The weights are those of the finite gradients alone, by torch's own optimiser without fused kernels."""
    layer, optimizer = make(rule)
    scaler = make_scaler()
    for gradient in gradients:
        step(layer, optimizer, scaler, gradient, grad_clip)
    torch.manual_seed(0)
    expected = nn.Linear(3, 2)
    settings = {"momentum": 0.9} if rule == "SGD" else {}
    plain = getattr(torch.optim, rule)(expected.parameters(), lr=0.1, weight_decay=1e-2, **settings)
    for gradient in filter(math.isfinite, gradients):
        for p in expected.parameters():
            p.grad = torch.full_like(p, gradient)
        if grad_clip:
            torch.nn.utils.clip_grad_norm_(expected.parameters(), grad_clip)
        plain.step()
    for got, want in zip(layer.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(got, want, atol=1e-6), (got, want)


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
@pytest.mark.parametrize("stored", [[INFINITE], [1.0, INFINITE]])
def test_a_run_that_goes_on_after_a_skipped_step(deterministic, rule, stored):
    whole, optimizer = make(rule)
    scaler = make_scaler()
    for gradient in stored:
        step(whole, optimizer, scaler, gradient)
    resumed, again = make(rule)
    resumed.load_state_dict(whole.state_dict())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # as from a file: loading shares tensors
    later = make_scaler()
    later.load_state_dict(scaler.state_dict())
    for one, its_optimizer, its_scaler in ((whole, optimizer, scaler), (resumed, again, later)):
        step(one, its_optimizer, its_scaler, 3.0)
    for got, want in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.isfinite(got).all() and torch.equal(got, want)


@pytest.mark.parametrize("lost", ["no state", "no buffer", "unwritten memory"])
def test_a_checkpoint_from_before_the_zeros_goes_on_from_zero(lost):
    layer, optimizer = make()
    state = optimizer.state_dict()
    if lost == "no state":
        state["state"] = {}
    else:
        buffer = None if lost == "no buffer" else torch.full((2, 3), math.nan)
        state["state"][0] = {"momentum_buffer": buffer}
    optimizer.load_state_dict(state)
    before = [p.detach().clone() for p in layer.parameters()]
    step(layer, optimizer, make_scaler(), 1.0)
    for p, start in zip(layer.parameters(), before, strict=True):
        assert torch.allclose(p, start - 0.1 * (1.0 + 1e-2 * start))


def test_without_momentum_there_is_no_buffer():
    layer, optimizer = make(momentum=0.0)
    step(layer, optimizer, make_scaler(), 1.0)
    assert not any(
        "momentum_buffer" in state and state["momentum_buffer"] is not None for state in optimizer.state.values()
    )


class TestOtherDevice:
    """A run in float16 that begins on a CPU computes in float32, without a scaler; on a GPU it goes on with one."""

    def restore(self, stored, enabled):
        scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=enabled)
        model = nn.Linear(2, 2)
        keeper = Keeper.__new__(Keeper)
        vars(keeper).update(order="lists", frozen={}, model=model, learning={"scaler": scaler})
        content = {"train_list": "lists", "left_out": {}, "model": model.state_dict(), "learning": {"scaler": stored}}
        keeper.restore(content | {"progress": {"epoch": 3}}, "last.pt")
        return scaler

    def test_from_float32_to_float16(self):
        off = torch.amp.GradScaler("cpu", enabled=False).state_dict()
        assert off == {} and self.restore(off, enabled=True).get_scale() == 4.0

    def test_from_float16_to_float32(self):
        on = torch.amp.GradScaler("cpu", init_scale=32.0).state_dict()
        assert self.restore(on, enabled=False).get_scale() == 1.0

    def test_from_float16_to_float16(self):
        on = torch.amp.GradScaler("cpu", init_scale=32.0).state_dict()
        assert self.restore(on, enabled=True).get_scale() == 32.0
