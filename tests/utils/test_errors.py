"""The nearest known word is offered, a distant one is not."""

from utils.errors import UserError, closest


def test_a_slip_of_the_keyboard_finds_its_word():
    assert closest("--epoch", ["--lr", "--epochs"]) == "; did you mean --epochs?"
    assert closest("--qqq", ["--lr", "--epochs"]) == ""


def test_a_users_mistake_is_a_value_error():
    assert issubclass(UserError, ValueError)
