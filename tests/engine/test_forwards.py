"""How often the towers run and frames are decoded, counted by hooks over whole runs through main."""

from collections import Counter

import pytest
from torch.nn.modules.module import register_module_forward_hook

from dataloader import clips as clips_module
from models.clip_towers import ImageTower, TextTower
from tests.support.tools import run_main

TRAIN, VAL, TEST, FRAMES = 30, 10, 20, 4  # clips of the tiny set: one of its four training persons is held out
STEPS, CHECKS, FINALS = 8, 3, 5  # batches of 4, the last one short


@pytest.fixture
def count(monkeypatch):
    """A function that runs main and returns how often each thing happened."""

    def run(arguments, folder) -> Counter:
        seen, read = Counter(), clips_module.decode_frame

        def hook(module, args, out):
            if isinstance(module, ImageTower):
                seen["image"] += 1
                seen["pictures"] += len(args[0])
            if isinstance(module, TextTower):
                seen["text"] += 1
                seen["texts"] += len(args[0])

        def counting(path, *choose):
            seen["decoded"] += 1
            return read(path, *choose)

        monkeypatch.setattr(clips_module, "decode_frame", counting)
        handle = register_module_forward_hook(hook)
        try:
            finished = run_main(arguments, folder)
        finally:
            handle.remove()
        assert finished.status == 0, finished.err
        return seen

    return run


def test_one_image_pass_a_step_for_both_streams_and_each_frame_decoded_once(count, tiny_arguments, tmp_path):
    words = [*tiny_arguments, "--epochs", "2", "--milestones", "--no-mistake-frames"]
    seen = count(words, tmp_path / "run")
    assert seen["image"] == 2 * (STEPS + CHECKS) + FINALS
    clips = 2 * (TRAIN + VAL) + TEST
    assert seen["decoded"] == clips * FRAMES
    assert seen["pictures"] == clips * FRAMES * 2


def test_learnable_texts_pass_once_a_step_and_descriptive_ones_once_a_run(count, tiny_arguments, tmp_path):
    seen = count([*tiny_arguments, "--epochs", "2", "--milestones"], tmp_path / "run")  # IEC, MI and DC on
    assert seen["text"] == 1 + 2 * STEPS
    assert seen["texts"] == 5 * (1 + 2 * STEPS)


def test_an_evaluation_encodes_its_texts_once_whatever_its_batches(count, tiny_arguments, tmp_path):
    arguments = [*tiny_arguments, "--slerp-weight", "0", "--epochs", "1", "--milestones"]
    seen = count(arguments, tmp_path / "run")
    assert seen["text"] == 1 + STEPS + 1 + 1  # descriptive, steps, validation, test
    again = count(
        [*tiny_arguments, "--mode", "eval", "--eval-checkpoint", str(tmp_path / "run/best.pt")], tmp_path / "eval"
    )
    assert again["text"] == 1 and again["image"] == FINALS


def test_no_text_passes_where_nothing_needs_it(count, tiny_arguments, tmp_path):
    arguments = [*tiny_arguments, "--mi-loss-weight", "0", "--dc-loss-weight", "0", "--epochs", "1", "--milestones"]
    assert count(arguments, tmp_path / "run")["text"] == 1


def test_an_ensemble_is_one_pass_of_all_its_texts(count, tiny_arguments, tmp_path):
    arguments = [*tiny_arguments, "--text-type", "prompt_ensemble", "--epochs", "1", "--milestones"]
    seen = count(arguments, tmp_path / "run")
    assert seen["text"] == 1 + STEPS and seen["texts"] == 5 + 15 * STEPS
