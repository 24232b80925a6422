"""Devices, pixels and precision."""

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


@pytest.fixture
def two_gpus(monkeypatch) -> list:
    """A machine that says it has two GPUs; what is done to them is noted."""
    done: list = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: done.append(("set", str(device))))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: done.append(("random", str(device))))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.full((1,), device.index, dtype=torch.uint8))
    return done


@pytest.mark.parametrize(
    ("device", "gpu", "chosen"),
    [
        ("auto", None, "cuda:0"),
        ("cuda", None, "cuda:0"),
        ("cuda:1", None, "cuda:1"),
        ("auto", "1", "cuda:1"),
        ("cpu", None, "cpu"),
    ],
)
def test_a_gpu_has_its_number_and_is_made_the_current_one(two_gpus, device, gpu, chosen):
    found, warning = choose_device(device, gpu)
    use_device(found)
    assert (str(found), warning) == (chosen, None)
    assert two_gpus == ([] if chosen == "cpu" else [("set", chosen)])  # a run on the CPU opens no GPU


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_each_process_of_torchrun_takes_a_gpu_of_its_own(two_gpus, place, device):
    assert str(choose_device(device, None, place)[0]) == f"cuda:{place}"


@pytest.mark.parametrize(("device", "gpu", "named"), [("auto", "1", "--gpu 1"), ("cuda:1", None, "--device cuda:1")])
@pytest.mark.parametrize("place", [0, 1])
def test_processes_are_not_all_put_on_one_gpu(two_gpus, device, gpu, named, place):
    with pytest.raises(UserError, match=f"^{named}: torchrun would put every process on that one; leave it out"):
        choose_device(device, gpu, place)


def test_more_processes_than_gpus_are_refused(two_gpus):
    with pytest.raises(UserError, match="3 processes on a machine with 2 GPUs"):
        choose_device("auto", None, 2)


def test_the_random_state_is_that_of_the_gpu_that_computes(two_gpus):
    state = random_state(torch.device("cuda:1"))
    assert state["cuda"].tolist() == [1]
    assert "cuda" not in random_state(torch.device("cpu"))  # nothing of a GPU is asked: that would open it
    seed_epoch(1, 2, torch.device("cuda:1"), state)
    seed_epoch(1, 2, torch.device("cpu"), state)  # a run that goes on without a GPU
    assert two_gpus == [("random", "cuda:1")]


def test_float32_products_are_exact_on_a_gpu_unless_asked_for(two_gpus, monkeypatch):
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda name: two_gpus.append(name))
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    use_device(torch.device("cuda:0"))
    assert two_gpus[-1] == "highest" and not torch.backends.cudnn.allow_tf32
    use_device(torch.device("cuda:0"), tf32=True)
    assert two_gpus[-1] == "high" and torch.backends.cudnn.allow_tf32


def test_shorter_products_are_a_gpus_matter():
    assert "--tf32" in use_device(torch.device("cpu"), tf32=True) and use_device(torch.device("cpu")) is None


def test_clips_statistics_are_copied_to_a_device_once():
    before = clip_statistics(torch.device("cpu"))
    with torch.inference_mode():
        to_pixels(torch.zeros(3, 2, 2, dtype=torch.uint8), "clip")
    assert all(one is other for one, other in zip(before, clip_statistics(torch.device("cpu")), strict=True))
    assert not any(values.is_inference() for values in before)  # a later step may take gradients through them


def test_a_copy_holds_the_values_of_its_moment():
    value = torch.tensor([1.5], requires_grad=True)
    copy = HostCopy(value)
    with torch.no_grad():
        value.fill_(2.5)
    assert copy.read().tolist() == [1.5] and not copy.read().requires_grad
