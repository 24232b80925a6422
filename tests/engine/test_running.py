"""An epoch so far, and the guard against losses that are not finite."""

import pytest
import torch

from engine.running import RunningScore, sum_finite
from utils.errors import UserError


def batch(label, replaced=0):
    return {"label": torch.tensor(label), "replaced_frames": replaced}


def test_losses_are_means_over_clips_and_scores_are_over_all_of_them():
    seen = RunningScore(("a", "b", "c"))
    seen.add({"x": torch.tensor(1.0), "y": torch.tensor(0.5)}, torch.eye(3)[[0, 1, 1]], batch([0, 1, 0], 2))
    seen.add({"x": torch.tensor(3.0), "y": torch.tensor(0.5)}, torch.eye(3)[[1]], batch([1], 1))
    got = seen.values()
    assert got["loss_x"] == pytest.approx((3 * 1 + 1 * 3) / 4) and got["loss_y"] == pytest.approx(0.5)
    assert got["loss"] == pytest.approx(got["loss_x"] + got["loss_y"])
    assert got["war"] == pytest.approx(75) and got["uar"] == pytest.approx((50 + 100) / 2)  # no clip of c
    assert got["replaced_frames"] == 3


def test_the_total_is_the_sum_of_the_terms():
    total = sum_finite({"a": torch.tensor(1.5), "b": torch.tensor(2.0)}, 0, 0, ["x"])
    assert total.item() == 3.5


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_term_that_is_not_finite_is_named_with_epoch_step_and_clips(value):
    losses = {"classification": torch.tensor(1.0), "mi": torch.tensor(value)}
    with pytest.raises(UserError, match=r"mi is not finite in epoch 3, step 5 .*clip/7") as caught:
        sum_finite(losses, 2, 4, ["clip/7"])
    assert "classification" not in str(caught.value)
