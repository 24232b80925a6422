"""``--augment``: augmentation by the device or from a pack, and how the flags reach loader and evaluation."""

from dataclasses import replace

import pytest
import torch

from dataloader import pack
from dataloader.annotation import read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views
from dataloader.loader import build_loader, collate
from dataloader.packed import Pack
from dataloader.sampling import ClipOrder
from dataloader.transforms import AugmentationLimits
from engine.config import make_config, read_command
from engine.data import training_loader
from engine.device import to_device
from engine.session import Session
from tests.support.tiny import write_set
from tests.support.tools import run_main

VIEWS = Views(segments=4, size=96)  # no boxes: the face is the whole frame of 160 x 120
CPU = torch.device("cpu")
BOXES = {"face": read_face_boxes, "body": read_body_boxes}
KEYS = ((0, 0, 0), (1, 5, 2), (7, 3, 1), (2, 4, 3))
PARTS = AugmentationLimits(random_crop=0.3, brightness=0.4)
COLOURS = AugmentationLimits(4, True, 1.0, 0.4, 0.4, 0.4, 0.2, grayscale=0.4, random_erasing=0.5)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    flags = write_set(root, clips=10, persons=4, frames=6)
    return read_annotation("annotation/train.txt", str(root), load_classes("RAER")), flags


@pytest.fixture(scope="module")
def boxed(small):
    """The clips, with views that have the boxes of faces and bodies."""
    clips, flags = small
    faces, bodies = (read(f"annotation/{kind}.json", flags["--root-dir"]) for kind, read in BOXES.items())
    return clips, replace(VIEWS, face_boxes=faces, body_boxes=bodies)


@pytest.mark.parametrize("limits", [AugmentationLimits(), PARTS])
@pytest.mark.parametrize("shared", [True, False])
def test_the_device_augments_like_the_worker(small, shared, limits):
    chance = {"training": True, "seed": 3, "shared_augmentation": shared, "limits": limits}
    worker, device = ClipDataset(small[0], VIEWS, **chance), ClipDataset(small[0], VIEWS, augment="device", **chance)
    batch = collate([device[key] for key in KEYS])
    assert batch["angle"].abs().max() <= 4 and batch["angle"].dtype == torch.float64
    assert torch.equal(batch["angle"][:, 0], batch["angle"][:, 1]) == shared
    if limits is PARTS:
        assert batch["part"].shape == (4, 2, 4) and batch["brightness"].shape == (4, 2)
        assert torch.equal(batch["part"][:, 0], batch["part"][:, 1]) == shared
    moved = to_device(batch, CPU, "none")
    assert not {"angle", "flip", "part", "brightness", "face_sizes"} & set(moved)
    tolerance = 3 if limits is PARTS else 0  # with parts it is rounded once more, then brightened
    for row, key in enumerate(KEYS):
        face, context = (
            (moved[stream][row] * 255).round() - worker[key][stream].float() for stream in ("face", "context")
        )
        assert context.abs().max() <= tolerance  # a square already
        unturned = (batch["face"][row].float() - worker[key]["face"].float()).abs().mean()
        assert face.abs().mean() < 0.7 * unturned or (limits is not PARTS and unturned < 2)


@pytest.mark.parametrize("shared", [True, False])
def test_a_context_has_the_same_colours_and_erasings_on_the_device(boxed, shared):
    chance = {"training": True, "seed": 3, "shared_augmentation": shared, "limits": COLOURS}
    worker, device = ClipDataset(*boxed, **chance), ClipDataset(*boxed, augment="device", **chance)
    batch = collate([device[key] for key in KEYS])
    for name in ("contrast", "hue", "grayscale", "erased"):
        is_equal = torch.equal(batch[name][:, 0], batch[name][:, 1])
        assert is_equal == shared, name
        assert batch[name].any(), name
    moved = to_device(batch, CPU, "none")
    for row, key in enumerate(KEYS):
        assert torch.equal((moved["context"][row] * 255).round().byte(), worker[key]["context"])
        face = (moved["face"][row] * 255).round() - worker[key]["face"].float()
        assert face.abs().mean() < 12  # rotated after it became a square


def make_pack(flags, folder, *boxes):
    names = ["--root-dir", "--train-annotation", *boxes]
    size = ["--image-size", "96", "--format", "raw", "--workers", "0"]
    words = [word for name in names for word in (name, flags[name])]
    assert pack.main(["--out", str(folder), *words, *size]) == 0
    return str(folder)


def test_a_pack_changes_colours_like_frames(boxed, small, tmp_path):
    clips, views = boxed
    folder = make_pack(small[1], tmp_path / "pack", "--bounding-box-face", "--bounding-box-body")
    chance = {"training": True, "seed": 3, "limits": COLOURS}
    packed, worker = ClipDataset(clips, views, Pack(folder), **chance), ClipDataset(clips, views, **chance)
    assert Pack(folder).check(clips, views) == 0
    for key in KEYS:
        assert torch.equal(packed[key]["context"], worker[key]["context"])
    other = replace(views, streams="context", face_boxes={})
    assert Pack(folder).check(clips, other) == 0  # face boxes do not count for the context


def test_a_pack_augments_like_the_device(small, tmp_path):
    clips, flags = small
    chance = {"training": True, "seed": 3, "limits": PARTS}
    packed = ClipDataset(clips, VIEWS, Pack(make_pack(flags, tmp_path / "pack")), **chance)
    device = ClipDataset(clips, VIEWS, augment="device", **chance)
    for key in KEYS:
        moved = to_device(collate([device[key]]), CPU, "none")
        for stream in ("face", "context"):
            assert torch.equal((moved[stream][0] * 255).round().byte(), packed[key][stream])


def test_evaluation_is_not_augmented(small):
    item = ClipDataset(small[0], VIEWS, augment="device")[0, 0, 0]
    assert "angle" not in item and "flip" not in item


def test_the_number_of_workers_does_not_change_angles(small):
    dataset = ClipDataset(small[0], Views(segments=4, size=32), training=True, seed=1, augment="device")

    def angles(workers):
        order = ClipOrder(len(small[0]), seed=1)
        order.start = 2
        return [batch["angle"] for batch in build_loader(dataset, order, batch_size=2, workers=workers)]

    assert all(map(torch.equal, angles(0), angles(2)))


def first_batch(clips, **flags):
    settings = {"clip_path": "random", "image_size": 64, "num_segments": 4, "workers": 0, "augment": "device"}
    config = make_config(settings | flags)
    loader, _ = training_loader(config, clips, Views(segments=4, size=64), 5, Session(CPU, None, None))
    return next(iter(loader))


def test_the_limits_of_the_flags_reach_the_loader(small):
    assert first_batch(small[0])["angle"].any()
    batch = first_batch(small[0], random_crop=0.4, brightness=0.3, max_angle=0.0, flip=False)
    left, top, right, bottom = batch["part"].unbind(-1)
    area = (right - left) * (bottom - top)
    assert 0.4 <= area.min() < area.max() <= 1
    assert 0.7 <= batch["brightness"].min() < batch["brightness"].max() <= 1.3
    assert not batch["angle"].any() and not batch["flip"].any()


def test_a_run_on_windows_is_evaluated_on_windows(tiny_arguments, tmp_path):
    flags = "--sampling window --downsample 3 --random-crop 0.5 --brightness 0.2 --epochs 1 --milestones"
    run = run_main([*tiny_arguments, *flags.split()], tmp_path / "run")
    assert run.status == 0, run.err
    again = ["--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt"), "--device", "cpu", "--workers", "0"]
    same = run_main(again, tmp_path / "same")
    assert same.status == 0 and same.predictions == run.predictions, same.err
    whole = run_main([*again, "--sampling", "whole"], tmp_path / "whole")
    assert whole.status == 0 and whole.predictions != run.predictions, whole.err


def test_a_run_augments_on_the_device(tiny_arguments, tmp_path):
    run = run_main([*tiny_arguments, "--epochs", "1", "--milestones", "--augment", "device"], tmp_path / "run")
    assert run.status == 0 and run.history[0]["train/loss"] > 0, run.err


def test_workers_may_be_auto():
    assert read_command(["--workers", "auto"])[1] == read_command([])[1]
    assert read_command(["--workers", "3"])[1].run.workers == 3
