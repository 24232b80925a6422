"""The rate rises in a straight line and falls by half a cosine."""

import pytest
import torch

from engine.sequence.schedule import share_of_rate, warm_cosine


def test_the_rise_is_straight_and_never_zero():
    assert [share_of_rate(step, 4, 20) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_the_fall_is_half_a_cosine_to_zero():
    assert share_of_rate(12, 4, 20) == pytest.approx(0.5)
    assert share_of_rate(20, 4, 20) == pytest.approx(0.0) == share_of_rate(99, 4, 20)
    falling = [share_of_rate(step, 4, 20) for step in range(4, 20)]
    assert falling == sorted(falling, reverse=True) and falling[-1] > 0


def test_without_a_rise_the_first_step_has_the_whole_rate():
    assert share_of_rate(0, 0, 10) == 1.0


def test_its_state_goes_on_where_it_was():
    def start():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
        return optimizer, warm_cosine(optimizer, 2, 10)

    optimizer, schedule = start()
    for _ in range(5):
        optimizer.step()
        schedule.step()
    other, again = start()
    again.load_state_dict(schedule.state_dict())
    other.load_state_dict(optimizer.state_dict())
    optimizer.step(), other.step(), schedule.step(), again.step()
    assert (
        optimizer.param_groups[0]["lr"] == other.param_groups[0]["lr"] == pytest.approx(0.5 * share_of_rate(6, 2, 10))
    )
