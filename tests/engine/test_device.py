"""Devices, pixels, precision and random states."""

import numpy as np
import pytest
import torch

from engine.device import (
    HostCopy,
    choose_amp,
    choose_device,
    clip_statistics,
    random_state,
    seed_epoch,
    seed_everything,
    to_device,
    to_pixels,
    use_device,
)
from utils.errors import UserError

CPU = torch.device("cpu")
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_pixels_are_between_0_and_1_or_normalised_with_clips_mean_and_deviation():
    image = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 16, 16).expand(1, 2, 3, 16, 16)
    assert torch.equal(to_pixels(image, "none"), image.double().div(255).float())
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    for c in range(3):
        expected = (image[:, :, c].double() / 255 - mean[c]) / std[c]
        assert torch.allclose(to_pixels(image, "clip")[:, :, c].double(), expected, atol=1e-6)


def test_clips_statistics_are_copied_to_a_device_once():
    before = clip_statistics(CPU)
    with torch.inference_mode():
        to_pixels(torch.zeros(3, 2, 2, dtype=torch.uint8), "clip")
    assert all(first is second for first, second in zip(before, clip_statistics(CPU), strict=True))
    assert not any(values.is_inference() for values in before)  # a later step may take gradients through them


def test_a_batch_is_moved_and_entries_that_are_not_tensors_stay():
    batch = {"face": torch.full((1, 1, 3, 2, 2), 255, dtype=torch.uint8), "label": torch.tensor([3]), "id": ["a"]}
    moved = to_device(batch, CPU, "none")
    assert moved["face"].max() == 1 and moved["label"].tolist() == [3] and moved["id"] == ["a"]
    assert batch["face"].dtype == torch.uint8


def test_a_host_copy_keeps_the_values_at_the_time_of_copying():
    value = torch.tensor([1.5], requires_grad=True)
    copy = HostCopy(value)
    with torch.no_grad():
        value.fill_(2.5)
    assert copy.read().tolist() == [1.5] and not copy.read().requires_grad


def test_seeds_reach_torch_and_numpy():
    numbers = []
    for _ in range(2):
        seed_everything(5, deterministic=False)
        numbers.append((torch.rand(3).tolist(), np.random.rand(3).tolist()))
    assert numbers[0] == numbers[1]


@NO_CUDA
def test_without_a_gpu_the_published_flag_uses_the_cpu_and_a_named_device_is_an_error():
    device, warning = choose_device("auto", "0")
    assert device.type == "cpu" and "--gpu 0" in warning
    with pytest.raises(UserError, match="--device cuda:3"):
        choose_device("cuda:3", None)


def test_auto_and_cpu_give_no_warning():
    assert choose_device("cpu", None) == (CPU, None)
    assert choose_device("auto", None)[1] is None


def test_half_precision_needs_a_gpu():
    assert choose_amp("off", CPU) == (None, None)
    dtype, warning = choose_amp("fp16", CPU)
    assert dtype is None and "--amp fp16" in warning
    assert choose_amp("bf16", CPU) == (torch.bfloat16, None)
    assert choose_amp("fp16", torch.device("cuda")) == (torch.float16, None)


@pytest.fixture
def two_gpus(monkeypatch) -> list:
    """Two fake GPUs; the calls that they receive."""
    calls: list = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(("set", str(device))))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: calls.append(("random", str(device))))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.full((1,), device.index, dtype=torch.uint8))
    return calls


@pytest.mark.parametrize(
    ("flag", "gpu", "expected"),
    [
        ("auto", None, "cuda:0"), ("cuda", None, "cuda:0"), ("cuda:1", None, "cuda:1"), ("auto", "1", "cuda:1"),
        ("cpu", None, "cpu"),
    ],
)  # fmt: skip
def test_a_gpu_is_selected_by_number_and_becomes_the_current_one(two_gpus, flag, gpu, expected):
    device, warning = choose_device(flag, gpu)
    use_device(device)
    assert (str(device), warning) == (expected, None)
    assert two_gpus == ([] if expected == "cpu" else [("set", expected)])  # a run on the CPU opens no GPU


@pytest.mark.parametrize("rank", [0, 1])
def test_each_process_of_torchrun_uses_its_own_gpu(two_gpus, rank):
    for device in ("auto", "cuda"):
        assert str(choose_device(device, None, rank)[0]) == f"cuda:{rank}"
    for device, gpu, flag in (("auto", "1", "--gpu 1"), ("cuda:1", None, "--device cuda:1")):
        with pytest.raises(UserError, match=f"^{flag}: under torchrun every process would use that GPU; leave it out"):
            choose_device(device, gpu, rank)


def test_more_processes_than_gpus_are_refused(two_gpus):
    with pytest.raises(UserError, match="3 processes on a machine with 2 GPUs"):
        choose_device("auto", None, 2)


def test_the_random_state_is_that_of_the_gpu_in_use(two_gpus):
    state = random_state(torch.device("cuda:1"))
    assert state["cuda"].tolist() == [1]
    assert "cuda" not in random_state(CPU)  # asking a GPU would open it
    seed_epoch(1, 2, torch.device("cuda:1"), state)
    seed_epoch(1, 2, CPU, state)  # a run that continues without a GPU
    assert two_gpus == [("random", "cuda:1")]


def test_float32_products_are_exact_on_a_gpu_without_tf32(two_gpus, monkeypatch):
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda name: two_gpus.append(name))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    use_device(torch.device("cuda:0"))
    assert two_gpus[-1] == "highest" and not torch.backends.cudnn.allow_tf32
    use_device(torch.device("cuda:0"), tf32=True)
    assert two_gpus[-1] == "high" and torch.backends.cudnn.allow_tf32
    assert "--tf32" in use_device(CPU, tf32=True) and use_device(CPU) is None  # a warning: it has no effect
