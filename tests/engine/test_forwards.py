"""How often the towers run and frames are decoded, counted by hooks over whole runs through main."""

from collections import Counter

import pytest
from torch.nn.modules.module import register_module_forward_hook

from dataloader import clips as clips_module
from models.clip_towers import ImageTower, TextTower
from tests.support.tools import run_main

TRAIN, VAL, TEST, FRAMES = 30, 10, 20, 4  # clips of the tiny set: one of its four training persons is held out
STEPS, CHECKS, FINALS = 8, 5, 10  # batches of 4, the last one short; two clips in each pass of an evaluation


@pytest.fixture
def count(monkeypatch, tiny_arguments, tmp_path):
    """Return a function that runs main on the tiny set and returns the counts of each event."""

    def run(flags: str, folder="run") -> Counter:
        counts, decode_frame = Counter(), clips_module.decode_frame

        def hook(module, args, out):
            for kind, tower, items in (("image", ImageTower, "pictures"), ("text", TextTower, "texts")):
                if isinstance(module, tower):
                    counts.update({kind: 1, items: len(args[0])})

        def counting(*args):
            counts["decoded"] += 1
            return decode_frame(*args)

        monkeypatch.setattr(clips_module, "decode_frame", counting)
        handle = register_module_forward_hook(hook)
        try:
            finished = run_main([*tiny_arguments, *flags.split()], tmp_path / folder)
        finally:
            handle.remove()
            monkeypatch.setattr(clips_module, "decode_frame", decode_frame)
        assert finished.status == 0, finished.err
        return counts

    return run


def test_each_step_has_one_image_pass_for_both_streams_and_decodes_each_frame_once(count):
    counts, clips = count("--epochs 2 --milestones --no-mistake-frames"), 2 * (TRAIN + VAL) + TEST
    assert counts["image"] == 2 * (STEPS + CHECKS) + FINALS
    assert counts["decoded"] == clips * FRAMES and counts["pictures"] == clips * FRAMES * 2
    # IEC, MI and DC are on: learnable texts are encoded once per step, descriptive texts once per run
    assert counts["text"] == 1 + 2 * STEPS and counts["texts"] == 5 * (1 + 2 * STEPS)


def test_an_evaluation_encodes_its_texts_once_for_any_number_of_batches(count, tmp_path):
    counts = count("--slerp-weight 0 --epochs 1 --milestones")
    assert counts["text"] == 1 + STEPS + 1 + 1  # descriptive, steps, validation, test
    again = count(f"--mode eval --eval-checkpoint {tmp_path}/run/best.pt", "eval")
    assert again["text"] == 1 and again["image"] == FINALS


@pytest.mark.parametrize(
    ("flags", "passes", "texts"),
    [
        ("--mi-loss-weight 0 --dc-loss-weight 0", 1, 5),  # nothing needs the learnable texts
        ("--text-type prompt_ensemble", 1 + STEPS, 5 + 15 * STEPS),  # an ensemble is one pass of all its texts
    ],
)
def test_texts_are_encoded_only_if_they_are_needed(count, flags, passes, texts):
    counts = count(f"{flags} --epochs 1 --milestones")
    assert counts["text"] == passes and counts["texts"] == texts
