"""Speed: passes that fit the memory, batches that are joined, waiting for data, workers and shared memory."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import Dataset

from benchmarks.subject import make_subject, small_shape
from dataloader.annotation import read_annotation
from dataloader.classes import load_classes
from dataloader.clips import Views
from dataloader.loader import Loader, lacks_shared_memory
from engine import clip_predict, waiting
from engine.clip_predict import passes
from engine.config import read_command
from engine.data import evaluation_loader
from engine.device import join_batches
from engine.session import Session, plain_words
from engine.waiting import TimedLoader, WaitingAdvice, seconds_left
from models.clip_towers import Clip, UninitialisedWeights
from tests.support.tools import configure, run_main
from utils import processes
from utils.errors import UserError
from utils.processes import processor_quota

CPU = Session(torch.device("cpu"), None, None)


@pytest.fixture
def subject():
    subject = make_subject(small_shape(), "clip_caer", [])
    subject.task.model.eval()
    with torch.inference_mode():
        yield subject


def limit_memory(task, monkeypatch, room):
    """Limit the device to a number of clips; return the list of the sizes of all passes."""
    sizes, forward = [], task.forward

    def limited(batch):
        sizes.append(len(batch["label"]))
        if sizes[-1] > room:
            raise torch.OutOfMemoryError("out of memory")
        return forward(batch)

    monkeypatch.setattr(task, "forward", limited)
    return sizes


def test_a_pass_that_does_not_fit_is_halved_and_the_size_that_fits_is_kept(subject, monkeypatch):
    task, batches = subject.task, [subject.pixels(clips) for clips in (5, 3, 1)]
    expected = torch.cat(passes(task, batches, subject.config, CPU))
    assert task.clips_that_fit is None
    sizes = limit_memory(task, monkeypatch, room=2)
    logits = torch.cat(passes(task, batches, subject.config, CPU))
    assert sizes == [9, 4, 2, 2, 2, 2, 1] and task.clips_that_fit == 2
    assert torch.allclose(logits, expected, atol=1e-4)
    sizes.clear()
    assert torch.allclose(torch.cat(passes(task, batches[:1], subject.config, CPU)), expected[:5], atol=1e-4)
    assert sizes == [2, 2, 1]  # no larger pass is tried again


def test_one_clip_that_does_not_fit_is_out_of_memory(subject, monkeypatch):
    limit_memory(subject.task, monkeypatch, room=0)
    with pytest.raises(torch.OutOfMemoryError):
        passes(subject.task, [subject.pixels(2)], subject.config, CPU)


def test_the_copy_to_the_device_is_halved_as_well(subject, monkeypatch):
    sizes = []

    def copy(batches, device):
        sizes.append(sum(len(batch["label"]) for batch in batches))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("out of memory")
        return join_batches(batches, device)

    monkeypatch.setattr(clip_predict, "join_batches", copy)
    passes(subject.task, [subject.pixels(4)], subject.config, CPU)
    assert sizes == [4, 2, 2]


@pytest.mark.parametrize(
    ("device", "asked", "decoded", "joined"),
    [
        ("mps", None, 4, 4),
        ("cpu", None, 2, 2),
        ("cpu", "6", 6, 6),
        ("cpu", "20", 5, 20),
        ("cpu", "13", 1, 13),
        ("cuda", None, 8, 64),
    ],
)
def test_few_clips_are_decoded_per_task_and_many_are_predicted_together(tiny_arguments, device, asked, decoded, joined):
    _, config = read_command([*tiny_arguments, *(["--eval-batch-size", asked] if asked else [])])
    clips = read_annotation(config.data.train_annotation, config.data.root_dir, load_classes("RAER"))
    views = Views(root=config.data.root_dir, segments=4, size=64)
    loader = evaluation_loader(config, clips, views, Session(torch.device(device), None, None))
    assert loader.loader.batch_size == decoded and loader.count * decoded == joined
    assert len(loader) == -(-len(clips) // joined)
    if device == "cpu":  # a GPU's would pin memory
        sizes = [[len(batch["label"]) for batch in group] for group in loader]
        assert sum(map(sum, sizes)) == len(clips) and {n for group in sizes for n in group[:-1]} <= {decoded}
        assert [sum(group) for group in sizes[:-1]] == [joined] * (len(sizes) - 1)


def test_texts_converted_once_are_bit_equal_to_autocast():
    model = make_subject(small_shape(), "clip_caer", []).task.model
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = model.encode_texts().soft
        model.lay_out_texts(torch.bfloat16)
        assert torch.equal(model.encode_texts().soft, before)
        model.laid_out["text"].text_projection.data.zero_()
        assert not torch.equal(model.encode_texts().soft, before)  # the converted copy is used for computing
    with torch.no_grad():
        assert model.encode_texts().soft.dtype == torch.float32


def test_uninitialised_weights_use_no_random_numbers_and_are_loaded_from_a_file():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with UninitialisedWeights():
        empty = Clip(small_shape())
    assert torch.equal(torch.rand(1), expected)
    full = Clip(small_shape())
    empty.load_openai(full.openai_state())
    assert all(torch.equal(value, full.state_dict()[name]) for name, value in empty.state_dict().items())


class SlowLoader:
    """Waits before every batch, on a clock of its own."""

    def __init__(self, *pauses):
        self.pauses, self.clock = pauses, 0.0

    def __len__(self):
        return len(self.pauses)

    def __iter__(self):
        for number, pause in enumerate(self.pauses):
            self.clock += pause
            yield number


def test_waiting_time_includes_every_batch_except_the_first_and_no_step(monkeypatch):
    slow = SlowLoader(4.0, 0.5, 0.25)
    monkeypatch.setattr("engine.waiting.time", SimpleNamespace(perf_counter=lambda: slow.clock))
    loader = TimedLoader(slow)
    assert len(loader) == 3
    for _ in loader:
        slow.clock += 2.0
    assert loader.seconds_waiting == 0.75


MORE_WORKERS = "30 of the 60 s of this epoch were spent waiting for frames: more --workers (now 4, of 8 cores)"


@pytest.mark.parametrize(
    ("cores", "processes_here", "device", "options", "advice", "no_advice"),
    [
        (8, 1, "cpu", {}, [MORE_WORKERS, "dataloader.pack"], ["--augment device"]),
        (4, 1, "cuda", {"pack": "crops"}, ["--augment device"], ["--workers", "dataloader.pack"]),
        (8, 2, "cpu", {}, ["dataloader.pack"], ["--workers"]),  # the cores of the other process are in use
    ],
)
def test_an_epoch_that_waits_for_frames_gets_advice_once(
    monkeypatch, cores, processes_here, device, options, advice, no_advice
):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes_here))
    (line,) = warnings_of_epochs(monkeypatch, 60.0, 30.0, cores, device=device, **options)
    assert all(words in line for words in advice) and not any(words in line for words in no_advice)


@pytest.mark.parametrize(("seconds", "wait", "decodes"), [(60.0, 5.0, True), (2.0, 0.9, True), (60.0, 30.0, False)])
def test_little_waiting_and_cached_features_get_no_advice(monkeypatch, seconds, wait, decodes):
    assert warnings_of_epochs(monkeypatch, seconds, wait, 8, decodes) == []


def warnings_of_epochs(monkeypatch, seconds, wait, cores, decodes=True, device="cpu", **options):
    """Return the warnings of three epochs with these durations and waiting times."""
    warnings = []
    monkeypatch.setattr(processes, "usable_cores", lambda: cores)
    session = SimpleNamespace(log=SimpleNamespace(say=warnings.append), device=torch.device(device))
    advice = WaitingAdvice(configure(workers=4, **options), session, decodes)
    for _ in range(3):
        advice.after_epoch(seconds, wait)
    return warnings


def test_every_epoch_records_its_waiting_time_and_long_waits_are_reported(small_flags, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "SHARE", -1.0)
    monkeypatch.setattr(waiting, "SECONDS", -1.0)
    run = run_main([*small_flags, "--epochs", "2"], tmp_path / "run")
    assert run.status == 0 and run.out.count("were spent waiting for frames") == 1
    assert "waiting for frames" not in (tmp_path / "run/metrics.json").read_text()  # which equal runs have in common
    assert all(0 <= row["seconds_waiting"] <= row["seconds"] for row in run.history)


@pytest.mark.parametrize(("cores", "launched", "workers"), [(6, 1, 6), (6, 4, 1), (8, 2, 4), (1, 1, 1), (200, 1, 32)])
def test_there_is_one_worker_per_core_of_this_process(monkeypatch, cores, launched, workers):
    monkeypatch.setattr(processes, "usable_cores", lambda: cores)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(launched))
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
def test_the_quota_of_a_container_is_read(tmp_path, files, quota):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    assert processor_quota(tmp_path) == quota


@pytest.mark.parametrize(("quota", "cores"), [(None, 4), (2.5, 2), (0.5, 1), (64.0, 4)])
def test_usable_cores_are_the_fewer_of_affinity_and_quota(monkeypatch, quota, cores):
    monkeypatch.setattr(processes.os, "sched_getaffinity", lambda _: {1, 3, 5, 7}, raising=False)
    monkeypatch.setattr(processes, "processor_quota", lambda _: quota)
    assert processes.usable_cores() == cores


KILLED = "DataLoader worker (pid 71) is killed by signal: "
NO_SHARED_MEMORY = [
    f"{KILLED}Bus error. It is possible that dataloader's workers are out of shared memory. Please try to raise your "
    "shared memory limit.",
    "Caught RuntimeError in DataLoader worker process 0.\nRuntimeError: unable to write to file </torch_1_2_0>: "
    "No space left on device (28)",
    "unable to mmap 38535168 bytes from file </torch_71_0>: Cannot allocate memory (12)",
]


@pytest.mark.parametrize("message", NO_SHARED_MEMORY)
def test_too_little_shared_memory_gives_a_one_line_error_with_the_remedy(message):
    with pytest.raises(UserError, match="shared memory.*16 decoding processes.*--shm-size 8g.*--workers 0") as caught:
        with plain_words(configure(workers=16)):
            raise RuntimeError(message)
    assert "\n" not in str(caught.value)
    assert ("/dev/shm, " in str(caught.value)) == Path("/dev/shm").is_dir()


def test_a_worker_that_died_for_another_reason_gives_a_one_line_error():
    assert not lacks_shared_memory(f"{KILLED}Killed.")
    with pytest.raises(UserError, match="a decoding process died"), plain_words(configure(workers=2)):
        raise RuntimeError(f"{KILLED}Killed.")


class Items(Dataset):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {"x": torch.full((5,), index), "name": str(index)}


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_item_arrives_once_and_in_order(batch_size, workers):
    loader = Loader(Items(), batch_size=batch_size, num_workers=workers)
    assert [n for item in loader for n in item["x"].reshape(-1, 5)[:, 0].tolist()] == list(range(6))


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_worker_without_shared_memory_ends_the_pass(monkeypatch, batch_size):
    """torch sends tensors in a thread, which prints its error and drops the batch, so the pass would wait forever."""

    def no_room(*_):
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", no_room)  # the workers are forked from here
    with pytest.raises(UserError, match="the batches of 1 decoding processes"):
        list(Loader(Items(), batch_size=batch_size, num_workers=1))
    assert len(list(Loader(Items(), batch_size=batch_size, num_workers=0)))  # needs no shared memory


HISTORIES = {  # (seconds of epochs or runs in order, extra seconds of the first one)
    "features of a sweep cached first": ([74.0, 15.2, 14.8, 16.1, 9.5, 15.0], 58.0),  # one variant has one stream
    "first epoch compiles": ([190.0, 41.0, 40.2, 40.6, 42.0, 40.9, 41.3], 149.0),
    "equal epochs": ([12.0, 12.1, 11.8, 12.4, 12.0], 0.0),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_the_time_left_is_right_within_a_third(name):
    """After each epoch or run except the last two, where a single different one is left."""
    durations, once = HISTORIES[name]
    for done in range(1, len(durations) - 1):
        left = durations[done:]
        assert seconds_left(durations[:done], len(left), once) == pytest.approx(sum(left), rel=1 / 3)
