"""What can go wrong under a run ends in one clear line, and the checkpoint before it is still good."""

import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import models.losses
from engine.methods.clip_caer import PromptTask
from engine.step import TrainingStep
from tests.support.resuming import (
    EPOCH,
    EPOCHS,
    STEPS,
    Crash,
    assert_same_end,
    at_forward,
    broken,
    call,
    crash,
    interrupt,
    one_line,
    read,
    resume,
    send,
)

OFTEN = ("--save-every-minutes", "1e-9")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(scope="module", name="alone")
def left_alone(alone) -> Path:
    return alone()


@pytest.fixture
def handlers() -> Iterator[list[int]]:
    """What came to our own handlers, which stand where the shell's would; they must stand there again."""
    came: list[int] = []

    def note(number: int, _: Any) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield came
        assert all(signal.getsignal(number) is note for number in SIGNALS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class TestHandlers:
    def test_are_as_before_after_a_run(self, flags, handlers, tmp_path):
        assert call(*flags, "--epochs", "1", "--output-dir", tmp_path / "run").status == 0
        assert handlers == []

    @pytest.mark.parametrize("number", SIGNALS)
    def test_are_as_before_after_a_stopped_run(self, flags, handlers, tmp_path, number):
        assert interrupt(flags, tmp_path / "run", number, 2).status == 128 + number
        assert handlers == []

    def test_are_as_before_after_a_crash(self, flags, handlers, tmp_path):
        with pytest.raises(Crash):
            broken(lambda patch: at_forward(patch, 2, crash), *flags, "--output-dir", tmp_path / "run")

    def test_are_as_before_after_a_mistake(self, halted, handlers):
        one_line(broken(lambda patch: out_of_memory_at(patch, 2), "--resume", halted))

    @pytest.mark.parametrize("first", SIGNALS)
    def test_a_second_ctrl_c_stops_at_once(self, halted, alone, first):
        def act() -> None:
            send(first)()
            send(signal.SIGINT)()
            raise AssertionError("the step went on")

        before = (halted / "last.pt").read_bytes()
        done = broken(lambda patch: at_forward(patch, 2, act), "--resume", halted)
        assert done.status == 130 and done.err.count("\n") <= 2 and "Traceback" not in done.err
        assert (halted / "last.pt").read_bytes() == before and not list(halted.glob("*.part"))
        resume(halted)
        assert_same_end(halted, alone)

    def test_a_second_sigterm_does_not_break_the_step(self, flags, alone, tmp_path):
        def act() -> None:
            send(signal.SIGINT)()
            send(signal.SIGTERM)()

        with pytest.MonkeyPatch.context() as patch:
            at_forward(patch, 3, act)
            assert call(*flags, "--output-dir", tmp_path / "run").status in (130, 143)
        resume(tmp_path / "run")
        assert_same_end(tmp_path / "run", alone)

    @pytest.mark.parametrize("number", SIGNALS)
    def test_while_the_test_list_is_scored(self, flags, handlers, alone, tmp_path, number):
        done = interrupt(flags, tmp_path / "run", number, EPOCH * EPOCHS + 2)
        assert handlers == [] and done.status == 128 + number
        assert f"--resume {tmp_path / 'run'}" in done.err
        resume(tmp_path / "run")
        assert_same_end(tmp_path / "run", alone)

    def test_the_command_in_the_message_can_be_typed(self, flags, tmp_path):
        folder = tmp_path / "my run's folder"
        done = interrupt(flags, folder, signal.SIGTERM, 2)
        words = shlex.split(done.err.strip().partition("go on with: ")[2])
        assert words == ["python", "main.py", "--resume", str(folder)]


def not_finite_at(patch: pytest.MonkeyPatch, term: str, number: int, value: float = float("nan")) -> None:
    loss, seen = getattr(models.losses, term), []

    def counted(*arguments: Any, **more: Any) -> Any:
        seen.append(None)
        return loss(*arguments, **more) * (value if len(seen) == number else 1.0)

    patch.setattr(models.losses, term, counted)


def infinite_after(patch: pytest.MonkeyPatch, number: int) -> None:
    """A weight that is infinite after the ``number``-th update."""
    update, seen = TrainingStep.update, []

    def counted(self: TrainingStep) -> None:
        update(self)
        seen.append(None)
        if len(seen) == number:
            next(iter(self.task.model.fuse.parameters())).data.view(-1)[0] = float("inf")

    patch.setattr(TrainingStep, "update", counted)


class TestNotFinite:
    @pytest.mark.parametrize(
        ("term", "name", "value"),
        [("mutual_information_loss", "mi", float("nan")), ("classification_loss", "classification", float("inf"))],
    )
    def test_names_the_term_the_step_and_the_clips(self, flags, alone, tmp_path, term, name, value):
        folder, number = tmp_path / "run", STEPS + 3
        clips: list[list[str]] = []
        losses = PromptTask.losses

        def noted(self: PromptTask, out: Any, batch: dict[str, Any], epoch: int) -> Any:
            clips.append(batch["id"])
            return losses(self, out, batch, epoch)

        def prepare(patch: pytest.MonkeyPatch) -> None:
            patch.setattr(PromptTask, "losses", noted)
            not_finite_at(patch, term, number, value)

        message = one_line(broken(prepare, *flags, "--output-dir", folder))
        assert f"the loss term {name} is not finite" in message and "epoch 2, step 3" in message
        # noticed when the next step has been launched, which nothing saves
        assert len(clips) == number + 1 and all(clip in message for clip in clips[-2])
        progress = read(folder / "last.pt")["progress"]
        assert (progress["epoch"], progress["step"]) == (1, 0)
        resume(folder)
        assert_same_end(folder, alone)

    def test_terms_that_are_finite_alone_but_not_together_are_named(self, flags, tmp_path):
        def prepare(patch: pytest.MonkeyPatch) -> None:
            for term in ("classification_loss", "mutual_information_loss"):
                patch.setattr(models.losses, term, lambda *_, **__: torch.tensor(3e38))

        lost = ("--mi-loss-weight", "1", "--output-dir", tmp_path / "run")
        message = one_line(broken(prepare, *flags, *lost))
        assert "classification" in message and "mi" in message

    @pytest.mark.parametrize("more", [OFTEN, ("--select-on", "last")])
    @pytest.mark.parametrize("update", [1, 4])
    def test_weights_that_are_infinite_are_never_saved(self, flags, tmp_path, more, update):
        folder = tmp_path / "run"
        message = one_line(broken(lambda patch: infinite_after(patch, update), *flags, *more, "--output-dir", folder))
        assert "not finite" in message
        for file in folder.glob("*.pt"):
            assert all(torch.isfinite(value).all() for value in read(file)["model"].values()), file.name

    def test_nor_when_a_signal_asks_for_it(self, flags, halted, alone):
        def prepare(patch: pytest.MonkeyPatch) -> None:
            infinite_after(patch, 1)
            at_forward(patch, 2, send(signal.SIGTERM))

        before = (halted / "last.pt").read_bytes()
        assert "not finite" in one_line(broken(prepare, "--resume", halted))
        assert (halted / "last.pt").read_bytes() == before
        resume(halted)
        assert_same_end(halted, alone)


def out_of_memory_at(patch: pytest.MonkeyPatch, number: int) -> None:
    def fail() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has a total of 1 GiB")

    at_forward(patch, number, fail)


class TestOutOfMemory:
    @pytest.mark.parametrize(
        ("size", "together", "proposed"),
        [(8, 1, (4, 2)), (8, 2, (4, 4)), (6, 1, (3, 2)), (9, 1, (3, 3)), (9, 2, (3, 6)), (7, 1, (1, 7))],
    )
    def test_proposes_the_same_effective_batch(self, flags, tmp_path, size, together, proposed):
        sizes = ("--batch-size", str(size), "--accumulate", str(together))
        folder = tmp_path / "run"
        message = one_line(broken(lambda patch: out_of_memory_at(patch, 1), *flags, *sizes, "--output-dir", folder))
        found = re.search(r"try --batch-size (\d+) --accumulate (\d+)", message)
        assert found is not None and tuple(map(int, found.groups())) == proposed, message
        assert not folder.exists()  # nothing stands in the way of that try

    def test_a_batch_of_one_gets_other_advice(self, flags, tmp_path):
        more = ("--batch-size", "1", "--output-dir", tmp_path / "run")
        message = one_line(broken(lambda patch: out_of_memory_at(patch, 1), *flags, *more))
        assert "at --batch-size 1" in message and "try --batch-size" not in message

    def test_in_validation_a_batch_passes_in_halves(self, flags, alone, tmp_path):
        more = (*flags, "--output-dir", tmp_path / "run")
        done = broken(lambda patch: out_of_memory_at(patch, EPOCH + STEPS + 1), *more)
        assert done.status == 0, done.err
        assert_same_end(tmp_path / "run", alone)

    def test_evaluation_gives_up_at_one_clip(self, flags, alone, tmp_path):
        data = flags[flags.index("--root-dir") :]
        evaluation = ("--mode", "eval", "--eval-checkpoint", alone / "best.pt", *data)

        def always(patch: pytest.MonkeyPatch) -> None:
            patch.setattr(PromptTask, "forward", fail_for_memory)

        message = one_line(broken(always, *evaluation, "--output-dir", tmp_path / "eval"))
        assert "with one clip in a pass" in message and "--batch-size" not in message


def fail_for_memory(*_: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")
