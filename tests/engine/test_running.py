"""An epoch so far, and the guard against losses that are not finite."""

import pytest
import torch

from engine.running import RunningLosses, RunningScore
from utils.errors import UserError


def batch(label, replaced=0):
    return {"label": torch.tensor(label), "id": [str(n) for n in label], "replaced_frames": replaced}


def two_steps():
    seen = RunningScore(("a", "b", "c"))
    first = {"x": torch.tensor(1.0), "y": torch.tensor(0.5)}
    seen.add(first, torch.eye(3)[[0, 1, 1]], batch([0, 1, 0], 2), 0, 0)
    before = seen.copy()
    seen.add({"x": torch.tensor(3.0), "y": torch.tensor(0.5)}, torch.eye(3)[[1]], batch([1], 1), 0, 1)
    return seen, before


def test_losses_are_means_over_clips_and_scores_are_over_all_of_them():
    got = two_steps()[0].values()
    assert got["loss_x"] == pytest.approx((3 * 1 + 1 * 3) / 4) and got["loss_y"] == pytest.approx(0.5)
    assert got["loss"] == pytest.approx(got["loss_x"] + got["loss_y"])
    assert got["war"] == pytest.approx(75) and got["uar"] == pytest.approx((50 + 100) / 2)  # no clip of c
    assert got["replaced_frames"] == 3


def test_a_copy_is_the_epoch_as_it_was_and_goes_on_from_its_state():
    seen, before = two_steps()
    assert before.state() == {
        "clips": 3,
        "replaced": 2,
        "sums": {"x": 3.0, "y": 1.5},
        "confusion": [[1, 1, 0], [0, 1, 0], [0] * 3],
    }
    again = RunningScore(("a", "b", "c"), before.state())
    again.add({"x": torch.tensor(3.0), "y": torch.tensor(0.5)}, torch.eye(3)[[1]], batch([1], 1), 0, 1)
    assert again.values() == seen.values() and again.state() == seen.state()


def test_numbers_are_read_late_and_all_of_them_where_they_are_asked_for():
    seen = RunningLosses()
    for step in range(4):
        seen.add({"x": torch.tensor(float(step))}, ["clip"], 0, step)
        seen.read(all_but=1)
        assert len(seen.unread) == 1 and seen.clips == step
    assert seen.values() == {"loss": 1.5, "loss_x": 1.5} and not seen.unread


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_term_that_is_not_finite_is_named_with_epoch_step_and_clips(value):
    seen = RunningLosses()
    seen.add({"classification": torch.tensor(1.0), "mi": torch.tensor(value)}, ["clip/7"], 2, 4)
    seen.add({"classification": torch.tensor(value), "mi": torch.tensor(value)}, ["clip/8"], 2, 5)
    seen.read(all_but=2)
    with pytest.raises(UserError, match=r"mi is not finite in epoch 3, step 5 .*clip/7") as caught:
        seen.read(all_but=1)
    assert "classification" not in str(caught.value)


def test_nothing_is_saved_of_an_epoch_whose_last_loss_is_not_finite():
    seen = RunningLosses()
    seen.add({"x": torch.tensor(float("nan"))}, ["clip"], 0, 0)
    with pytest.raises(UserError, match="x is not finite"):
        seen.copy().state()
