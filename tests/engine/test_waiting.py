"""Data that comes too late is measured, and the flags that mend it are named; so is too small a shared memory."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from dataloader.loader import Loader, lacks_shared_memory
from engine import waiting
from engine.session import plain_words
from engine.waiting import TimedLoader, WaitingAdvice
from tests.support.tools import configure, run_main
from utils import processes
from utils.errors import UserError
from utils.processes import processor_quota


class SlowLoader:
    def __init__(self, first, later):
        self.pauses = [first, later, later]

    def __len__(self):
        return len(self.pauses)

    def __iter__(self):
        for number, pause in enumerate(self.pauses):
            time.sleep(pause)
            yield number


def test_seconds_are_those_until_each_batch_but_the_first_and_none_of_the_step():
    loader = TimedLoader(SlowLoader(0.3, 0.05))
    assert len(loader) == 3
    for _ in loader:
        time.sleep(0.2)
    assert 0.1 <= loader.seconds_waiting < 0.2


def advise(monkeypatch, seconds, wait, cores=8, decodes=True, device="cpu", **options):
    said = []
    monkeypatch.setattr(processes, "usable_cores", lambda: cores)
    session = SimpleNamespace(log=SimpleNamespace(warn=said.append), device=torch.device(device))
    advice = WaitingAdvice(configure(workers=4, **options), session, decodes)
    for _ in range(3):
        advice.after_epoch(seconds, wait)
    return said


def test_what_an_epoch_waits_for_is_said_once_with_what_mends_it(monkeypatch):
    (line,) = advise(monkeypatch, 60.0, 30.0)
    assert line.startswith(
        "30 of the 60 s of this epoch were spent waiting for frames: more --workers (now 4, of 8 cores)"
    )
    assert "dataloader.pack" in line and "--augment device" not in line


def test_what_is_done_already_is_not_advised(monkeypatch):
    (line,) = advise(monkeypatch, 60.0, 30.0, cores=4, device="cuda", pack="crops")
    assert "--workers" not in line and "dataloader.pack" not in line and "--augment device" in line


def test_cores_of_other_processes_are_not_advised(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    (line,) = advise(monkeypatch, 60.0, 30.0, cores=8)
    assert "--workers" not in line and "dataloader.pack" in line


@pytest.mark.parametrize(("seconds", "wait", "decodes"), [(60.0, 5.0, True), (2.0, 0.9, True), (60.0, 30.0, False)])
def test_little_waiting_and_features_from_a_cache_are_nothing_to_say(monkeypatch, seconds, wait, decodes):
    assert advise(monkeypatch, seconds, wait, decodes=decodes) == []


def test_every_epoch_says_how_long_it_waited(trained):
    assert all(0 <= row["seconds_waiting"] <= row["seconds"] for row in trained.history)


@pytest.mark.parametrize(("cores", "beside", "workers"), [(6, 1, 6), (6, 4, 1), (8, 2, 4), (1, 1, 1), (200, 1, 32)])
def test_workers_are_one_a_core_of_this_process(monkeypatch, cores, beside, workers):
    monkeypatch.setattr(processes, "usable_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(beside))
    assert configure().run.workers == workers


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "250000 100000\n"}, 2.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "what\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container_counts(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    assert processor_quota(tmp_path) == quota


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (2.5, 2), (0.5, 1), (64.0, 4)])
def test_cores_are_the_fewer_of_affinity_and_quota(monkeypatch, quota, cores):
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: {1, 3, 5, 7}, raising=False)
    monkeypatch.setattr(processes, "processor_quota", lambda _: quota)
    assert processes.usable_cores() == cores


TOO_SMALL = [
    "DataLoader worker (pid 71) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
    "shared memory. Please try to raise your shared memory limit.",
    "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: unable to write to file </torch_1_2_0>: "
    "No space left on device (28)",
    "unable to mmap 38535168 bytes from file </torch_71_0>: Cannot allocate memory (12)",
]


@pytest.mark.parametrize("message", TOO_SMALL)
def test_shared_memory_that_is_too_small_is_named_with_its_mend(message):
    with pytest.raises(UserError, match="shared memory.*16 decoding processes.*--shm-size 8g.*--workers 0") as caught:
        with plain_words(configure(workers=16)):
            raise RuntimeError(message)
    assert "\n" not in str(caught.value)
    assert ("/dev/shm, " in str(caught.value)) == Path("/dev/shm").is_dir()


class Items(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"x": torch.full((5,), index), "name": str(index)}


def no_room(*_):
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)")


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_items_arrive_whole(batch_size, workers):
    loader = Loader(Items(), batch_size=batch_size, num_workers=workers)
    rows = [item["x"].reshape(-1, 5)[:, 0].tolist() for item in loader]
    assert sum(rows, []) == list(range(6))


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_worker_without_room_ends_the_pass_instead_of_leaving_it_waiting(monkeypatch, batch_size):
    """By itself torch hands tensors over in a thread, which prints its error and drops the batch."""
    monkeypatch.setattr(torch.Tensor, "share_memory_", no_room)  # the workers are forked from here
    with pytest.raises(UserError, match="the batches of 1 decoding processes"):
        list(Loader(Items(), batch_size=batch_size, num_workers=1))
    assert len(list(Loader(Items(), batch_size=batch_size, num_workers=0)))  # needs none


def test_other_errors_of_a_worker_keep_their_words():
    message = "DataLoader worker (pid 71) is killed by signal: Killed."
    assert not lacks_shared_memory(message)
    with pytest.raises(UserError, match="a decoding process died"), plain_words(configure(workers=2)):
        raise RuntimeError(message)


def test_a_run_that_waits_says_so(tiny_arguments, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "SHARE", -1.0)
    monkeypatch.setattr(waiting, "SECONDS", -1.0)
    run = run_main([*tiny_arguments, "--epochs", "2", "--milestones"], tmp_path / "run")
    assert run.status == 0 and run.out.count("were spent waiting for frames") == 1
