"""Augmentation at the final size, on the device or from a pack, against PIL's on the crop."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dataloader import pack
from dataloader.annotation import read_annotation
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views, collate
from dataloader.loader import build_loader
from dataloader.packed import Pack
from dataloader.sampling import ClipOrder
from dataloader.transforms import PLAIN, AugmentationLimits, to_square, turn, turn_steps
from engine.data import training_loader
from engine.device import to_device
from engine.session import Session
from engine.settings import make_config
from tests.support.tiny import write_set
from tests.support.tools import error_of, run_main

SIZE = 96
ANGLES = [-4.0, -2.71, -0.3, 0.0, 1e-9, 1.618, 3.999]
WIDE = [45.0, -90.5, 137.2, -179.0]


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Soft, and never black: black comes from outside alone."""
    coarse = np.random.default_rng(seed).integers(30, 256, (6, 6, 3), dtype=np.uint8)
    return np.maximum(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), 1)


def turned(square: np.ndarray, angle: float, flip: bool, shape=(SIZE, SIZE)) -> np.ndarray:
    steps = turn_steps(torch.tensor([angle], dtype=torch.float64), torch.tensor([[shape]]), SIZE)
    return turn(torch.from_numpy(square)[None, None], steps, torch.tensor([flip]))[0, 0].numpy()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", ANGLES + WIDE)
def test_a_square_is_turned_and_mirrored_bit_for_bit_as_pil_does(angle, flip):
    pixels = np.random.default_rng(1).integers(1, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).rotate(angle, Image.Resampling.NEAREST)
    expected = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else image
    assert np.array_equal(turned(pixels.transpose(2, 0, 1), angle, flip), np.asarray(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(160, 240), (300, 150), (60, 80), (96, 96)])
def test_a_crop_of_any_shape_is_near_what_pil_makes_of_it(shape):
    crop = picture(*shape)
    square = to_square(crop, PLAIN, SIZE)
    for angle in ANGLES:
        image = (
            Image.fromarray(crop)
            .rotate(angle, Image.Resampling.NEAREST)
            .resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        )
        expected = np.asarray(image).transpose(2, 0, 1).astype(int)
        difference = np.abs(turned(square, angle, False, shape) - expected).mean()
        unturned = np.abs(square - expected).mean()
        assert difference < max(unturned / 2, 1.5), angle
        if shape[0] >= 2 * shape[1] and abs(angle) > 1:  # the shape of the crop matters
            assert difference < np.abs(turned(square, angle, False) - expected).mean()


def test_the_corners_are_black_and_the_middle_stays():
    square = picture(SIZE, SIZE).transpose(2, 0, 1)
    made = turned(square, 4.0, False)
    assert not made[:, 0, 0].any() and not made[:, -1, -1].any()
    assert np.array_equal(made[:, 48, 48], square[:, 48, 48])


def test_a_device_gathers_what_opencv_gathers(monkeypatch):
    squares = torch.randint(1, 256, (3, 4, 3, SIZE, SIZE), dtype=torch.uint8)
    sizes = torch.randint(50, 300, (3, 4, 2))
    steps = turn_steps(torch.tensor([3.0, -4.0, 0.5], dtype=torch.float64), sizes, SIZE)
    flip = torch.tensor([True, False, True])
    by_opencv = turn(squares, steps, flip)
    other = torch.device("cuda") if torch.cuda.is_available() else None
    if other is None:  # the same code, on this processor
        from dataloader import transforms

        monkeypatch.setattr(transforms, "is_on_processor", lambda _: False)
        assert torch.equal(turn(squares, steps, flip), by_opencv)
    else:
        assert torch.equal(turn(squares.to(other), steps.to(other), flip.to(other)).cpu(), by_opencv)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    flags = write_set(root, clips=10, persons=4, frames=6)
    return read_annotation("annotation/train.txt", str(root), load_classes("RAER")), flags


def test_the_draws_are_those_of_the_worker_for_every_seed_epoch_and_position(small):
    clips, _ = small
    views = Views(segments=4, size=SIZE)  # no boxes: the face is the whole frame of 160 x 120
    for shared in (True, False):
        here = ClipDataset(clips, views, training=True, seed=3, shared_augmentation=shared)
        there = ClipDataset(clips, views, training=True, seed=3, shared_augmentation=shared, augment="device")
        for key in ((0, 0, 0), (1, 5, 2), (7, 3, 1)):
            batch = {name: value[None] for name, value in there[key].items() if isinstance(value, torch.Tensor)}
            assert batch["angle"].abs().max() <= 4 and batch["angle"].dtype == torch.float64
            assert (batch["angle"][0, 0] == batch["angle"][0, 1]) == shared
            moved, expected = to_device(batch, torch.device("cpu"), "none"), here[key]
            assert torch.equal((moved["context"][0] * 255).round().byte(), expected["context"])  # a square: bit-equal
            face = (moved["face"][0] * 255 - expected["face"].float()).abs().mean()
            unturned = (batch["face"][0].float() - expected["face"].float()).abs().mean()
            assert face < 0.7 * unturned or unturned < 2
            assert not {"angle", "flip", "face_sizes"} & set(moved)


def test_parts_and_brightness_on_the_device_are_those_of_the_worker(small):
    clips, _ = small
    views, limits = Views(segments=4, size=SIZE), AugmentationLimits(random_crop=0.3, brightness=0.4)
    for shared in (True, False):
        chance = {"training": True, "seed": 3, "shared_augmentation": shared, "limits": limits}
        here, there = ClipDataset(clips, views, **chance), ClipDataset(clips, views, augment="device", **chance)
        batch = collate([there[0, 0, 0], there[1, 5, 2], there[7, 3, 1]])
        assert batch["part"].shape == (3, 2, 4) and batch["brightness"].shape == (3, 2)
        assert torch.equal(batch["part"][:, 0], batch["part"][:, 1]) == shared
        moved = to_device(batch, torch.device("cpu"), "none")
        assert not {"part", "brightness"} & set(moved)
        for row, key in enumerate(((0, 0, 0), (1, 5, 2), (7, 3, 1))):
            context = (moved["context"][row] * 255).round() - here[key]["context"].float()
            assert context.abs().max() <= 3  # a square is the same picture: rounded once more, then brightened
            face = (moved["face"][row] * 255 - here[key]["face"].float()).abs().mean()
            unmoved = (batch["face"][row].float() - here[key]["face"].float()).abs().mean()
            assert face < 0.7 * unmoved


def test_a_pack_augments_as_the_device_does(small, tmp_path):
    clips, flags = small
    folder = tmp_path / "pack"
    lists = ["--root-dir", flags["--root-dir"], "--train-annotation", flags["--train-annotation"]]
    size = ["--image-size", str(SIZE), "--format", "raw", "--workers", "0"]
    assert pack.main(["--out", str(folder), *lists, *size]) == 0
    views, limits = Views(segments=4, size=SIZE), AugmentationLimits(random_crop=0.3, brightness=0.4)
    chance = {"training": True, "seed": 3, "limits": limits}
    packed = ClipDataset(clips, views, Pack(str(folder)), **chance)
    there = ClipDataset(clips, views, augment="device", **chance)
    for key in ((0, 0, 0), (1, 5, 2)):
        moved = to_device(collate([there[key]]), torch.device("cpu"), "none")
        for stream in ("face", "context"):
            assert torch.equal((moved[stream][0] * 255).round().byte(), packed[key][stream])


def test_evaluation_carries_no_chance(small):
    item = ClipDataset(small[0], Views(segments=4, size=SIZE), augment="device")[0, 0, 0]
    assert "angle" not in item and "flip" not in item


def test_the_number_of_workers_changes_no_angle(small):
    dataset = ClipDataset(small[0], Views(segments=4, size=32), training=True, seed=1, augment="device")

    def angles(workers):
        order = ClipOrder(len(small[0]), seed=1)
        order.start = 2
        return [batch["angle"] for batch in build_loader(dataset, order, batch_size=2, workers=workers)]

    assert all(map(torch.equal, angles(0), angles(2)))


def test_the_flag_reaches_the_loader(small):
    config = make_config(
        {"clip_path": "random", "image_size": 64, "num_segments": 4, "workers": 0, "augment": "device"}
    )
    session = Session(torch.device("cpu"), None, None)
    loader, _ = training_loader(config, small[0], Views(segments=4, size=64), 5, session)
    assert "angle" in next(iter(loader))


def test_what_the_flags_allow_reaches_the_loader(small):
    given = {"random_crop": 0.4, "brightness": 0.3, "max_angle": 0.0, "flip": False, "augment": "device"}
    config = make_config({"clip_path": "random", "image_size": 64, "num_segments": 4, "workers": 0} | given)
    session = Session(torch.device("cpu"), None, None)
    loader, _ = training_loader(config, small[0], Views(segments=4, size=64), 5, session)
    batch = next(iter(loader))
    left, top, right, bottom = batch["part"].unbind(-1)
    area = (right - left) * (bottom - top)
    assert 0.4 <= area.min() < area.max() <= 1
    assert 0.7 <= batch["brightness"].min() < batch["brightness"].max() <= 1.3
    assert not batch["angle"].any() and not batch["flip"].any()


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--random-crop 0", "--random-crop"),
        ("--brightness 1.5", "--brightness"),
        ("--max-angle 181", "--max-angle"),
        ("--downsample 4", "--downsample 4"),
        ("--sampling published --downsample 2", "--downsample 2"),
        ("--sampling window --duration 2", "--duration 2"),
        ("--sampling window --downsample 0", "--downsample"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(flags, named, capsys):
    assert named in error_of([*flags.split(), "--dry-run"], capsys)


def test_a_run_on_windows_is_evaluated_on_windows(tiny_arguments, tmp_path):
    drawn = "--sampling window --downsample 3 --random-crop 0.5 --brightness 0.2 --epochs 1 --milestones"
    run = run_main([*tiny_arguments, *drawn.split()], tmp_path / "run")
    assert run.status == 0, run.err
    again = ["--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt"), "--device", "cpu", "--workers", "0"]
    scored = run_main(again, tmp_path / "same")
    assert scored.status == 0 and scored.predictions == run.predictions, scored.err
    other = run_main([*again, "--sampling", "whole"], tmp_path / "other")
    assert other.status == 0 and other.predictions != run.predictions, other.err


def test_a_run_augments_on_the_device_and_a_cache_refuses_to(tiny_arguments, tmp_path, capsys):
    run = run_main([*tiny_arguments, "--epochs", "1", "--milestones", "--augment", "device"], tmp_path / "run")
    assert run.status == 0 and run.history[0]["train/loss"] > 0, run.err
    flags = ["--augment", "device", "--cache-features", "--lr-image-encoder", "0", "--dry-run"]
    assert "--augment device" in error_of(flags, capsys)


def test_workers_may_be_auto():
    from engine.settings import read_command

    assert read_command(["--workers", "auto"])[1] == read_command([])[1]
    assert read_command(["--workers", "3"])[1].run.workers == 3
