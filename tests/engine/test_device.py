"""Devices, pixels and precision."""

import numpy as np
import pytest
import torch

from engine.device import choose_amp, choose_device, seed_everything, to_device, to_pixels
from utils.errors import UserError

NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_pixels_become_unit_floats_without_normalisation():
    image = torch.arange(0, 256, dtype=torch.uint8).view(1, 1, 1, 16, 16).expand(1, 2, 3, 16, 16)
    assert torch.equal(to_pixels(image, "none"), image.double().div(255).float())


def test_or_clips_mean_and_deviation():
    image = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    for c in range(3):
        expected = (image[:, c].double() / 255 - mean[c]) / std[c]
        assert torch.allclose(to_pixels(image, "clip")[:, c].double(), expected, atol=1e-6)


def test_a_batch_moves_and_keeps_what_is_no_tensor():
    batch = {"face": torch.full((1, 1, 3, 2, 2), 255, dtype=torch.uint8), "label": torch.tensor([3]), "id": ["a"]}
    moved = to_device(batch, torch.device("cpu"), "none")
    assert moved["face"].max() == 1 and moved["label"].tolist() == [3] and moved["id"] == ["a"]
    assert batch["face"].dtype == torch.uint8


@NO_CUDA
def test_a_published_gpu_number_runs_on_the_cpu_with_a_warning():
    device, warning = choose_device("auto", "0")
    assert device.type == "cpu" and "--gpu 0" in warning


@NO_CUDA
def test_a_device_asked_for_by_name_must_be_there():
    with pytest.raises(UserError, match="--device cuda:3"):
        choose_device("cuda:3", None)


def test_auto_and_cpu_need_nothing():
    assert choose_device("cpu", None) == (torch.device("cpu"), None)
    assert choose_device("auto", None)[1] is None


def test_half_precision_needs_a_gpu_and_says_so():
    cpu = torch.device("cpu")
    assert choose_amp("off", cpu) == (None, None)
    dtype, warning = choose_amp("fp16", cpu)
    assert dtype is None and "--amp fp16" in warning
    assert choose_amp("bf16", cpu) == (torch.bfloat16, None)
    assert choose_amp("fp16", torch.device("cuda")) == (torch.float16, None)


def test_seeds_reach_torch_and_numpy():
    draws = []
    for _ in range(2):
        seed_everything(5, deterministic=False)
        draws.append((torch.rand(3).tolist(), np.random.rand(3).tolist()))
    assert draws[0] == draws[1]
