"""Several processes give the run of one process: the same clips, losses, weights and scores, written once."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.run import main as torchrun

from dataloader.sampling import ClipOrder
from engine import session
from main import main
from tests.support.forked import Forked, run_pair
from tests.support.tiny import as_arguments, write_set
from tests.support.tools import FAST, error_of, run_main
from utils.archive import read_archive
from utils.distributed import GradientExchange, Group, chunks, join, leave

TORCHRUN = ["--standalone", "--nproc-per-node=2"]
LEARNING = "--epochs 2 --milestones 1 --lr 1e-2 --lr-image-encoder 1e-2 --lr-prompt-learner 1e-2 --accumulate 2"
LOSSES = "--class-balanced-loss --iec-text both --temperature 0.05 --use-weighted-sampler --deterministic"
LORA = "--lora-rank 2 --lora-towers both --lora-dropout 0.3 --lr-lora 1e-2 --lr-image-encoder 0 --ema 0.9"
PARTS = "--temporal-pool attention --adapter-dropout 0.3 --ldam cosine --drw-epoch 1 --class-beta 0.99 --mixup 0.5"
PARTS += " --hue 0.2 --random-erasing 0.5"


@pytest.mark.parametrize(("clips", "batch", "world"), [(10, 4, 2), (9, 4, 4), (8, 4, 2), (13, 6, 3), (3, 8, 4)])
def test_processes_divide_every_batch_and_make_the_same_number_of_steps(clips, batch, world):
    every_position = [position for _, position, _ in ClipOrder(clips, seed=3)]
    steps = -(-clips // batch)
    for rank in range(world):
        order = ClipOrder(clips, 3, share=(rank, world, batch))
        share = [position for _, position, _ in order]
        assert len(share) == len(order) and -(-len(share) // (batch // world)) == steps
        for step in range(steps):
            in_step = [p for p in every_position if p // batch == step]
            # a process without clips computes the first clip too
            assert [p for p in share if p // batch == step] == (in_step[rank::world] or in_step[:1])


def test_a_shard_resumes_inside_an_epoch_and_evaluation_is_divided_too():
    order = ClipOrder(10, 3, share=(1, 2, 4))
    epoch = list(order)
    order.start = 4
    assert list(order) == [key for key in epoch if key[1] >= 4]
    groups = [Group(rank, 3) for rank in range(3)]
    assert sorted(sum((group.shard(list(range(8))) for group in groups), [])) == list(range(8))
    assert [group.shard_size(8) for group in groups] == [3, 3, 2]


@pytest.mark.parametrize("weights", [None, np.arange(1.0, 11)])
def test_every_process_knows_the_clips_of_the_whole_step(weights):
    shared, order = ClipOrder(10, 3, weights, share=(1, 2, 4)), ClipOrder(10, 3, weights)
    for epoch in (0, 1, 0):
        shared.epoch = order.epoch = epoch
        clips = [clip for _, _, clip in order]
        assert [shared.clips_of_batch(step, 4) for step in range(3)] == [clips[:4], clips[4:8], clips[8:]]


def test_gradients_are_sent_in_buckets_of_a_fixed_size_in_order():
    parameters = [torch.nn.Parameter(torch.zeros(n)) for n in (3, 1, 9, 2, 2)]  # 4 bytes each
    assert [[p.numel() for p in bucket] for bucket in chunks(parameters, 16)] == [[3, 1], [9], [2, 2]]
    assert list(chunks([], 16)) == []


def exchange_gradients(_: list[str]) -> int:
    """Sum gradients with the other process, and compare them with those of one process."""
    group = join(torch.device("cpu"))
    torch.manual_seed(0)
    layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
    encoder, head, unused, frozen = layers
    frozen.requires_grad_(False)
    head_weights = [p for layer in (head, unused) for p in layer.parameters()]
    exchange = GradientExchange(group, encoder.parameters(), head_weights, size=32)
    assert len(exchange.buckets) > 3
    sent = []
    for bucket in exchange.buckets:
        bucket.send = lambda bucket=bucket, send=bucket.send: (sent.append(exchange.buckets.index(bucket)), send())
    for update in range(2):
        for step in range(2):  # gradients of two passes make one update
            x = torch.full((1, 4), float(1 + group.rank + 10 * step + update))
            with exchange.during_backward(step == 1):
                head(encoder(x)).sum().backward()
                while_under_way = len(sent)
            assert (while_under_way > 0) == (step == 1), while_under_way  # sent before the end of the pass
        assert sent == list(range(len(exchange.buckets))), sent
        sent.clear()
        assert all(p.grad is None for p in unused.parameters())
        expected = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        expected.load_state_dict({k: v for k, v in layers.state_dict().items() if k[0] in "01"})
        for rank in range(group.world):
            for step in range(2):
                expected[1](expected[0](torch.full((1, 4), float(1 + rank + 10 * step + update)))).sum().backward()
        for p, q in zip(encoder.parameters(), expected[0].parameters(), strict=True):
            assert torch.allclose(p.grad, q.grad), (p.grad, q.grad)
        for p, q in zip(head.parameters(), expected[1].parameters(), strict=True):
            assert torch.allclose(p.grad, q.grad / group.world)
        for p in layers.parameters():
            p.grad = None
    print("equal", group.rank)
    leave()
    return 0


def test_gradients_are_summed_over_processes_and_sent_during_the_backward_pass(tmp_path):
    outputs = run_pair(exchange_gradients, [], tmp_path / "screen")
    assert [out.strip() for out in outputs] == ["equal 0", "equal 1"]


def test_one_gpu_for_all_processes_is_refused_in_one_line(tiny_arguments, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    words = [word for word in tiny_arguments if word not in ("--device", "cpu")]
    words += ["--gpu", "0", "--output-dir", str(tmp_path / "run")]
    assert "--gpu 0: under torchrun every process would use that GPU" in error_of(words, capsys)


def test_a_batch_that_cannot_be_divided_gives_a_one_line_error(tiny_arguments, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(session, "join", lambda device: Group(0, 3))
    message = error_of([*tiny_arguments, "--output-dir", str(tmp_path / "run")], capsys)
    assert "--batch-size 4" in message and "multiple of 3" in message


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    """A run on 15 clips in steps of 4, so that the last one is odd, with 5 clips for validation and 8 for the test."""
    flags = as_arguments(write_set(tmp_path_factory.mktemp("odd"), clips=28, frames=4))
    return [*FAST, "--num-segments", "2", *flags, *LEARNING.split()]


@pytest.fixture(scope="module", params=["", LORA, PARTS], ids=["weights", "LoRA and EMA", "parts"])
def pair(request, tmp_path_factory, words) -> tuple[Path, Path, str]:
    """The run folders of one process and of two, and what the two printed."""
    base = tmp_path_factory.mktemp("processes")
    words = [*words, *LOSSES.split(), *request.param.split()]
    run_main(words, base / "single").ok()
    outputs = run_pair(main, [*words, "--output-dir", base / "shared"], base / "screen")
    return base / "single", base / "shared", "".join(outputs)


def test_two_processes_end_with_the_weights_of_one(pair):
    """Dropout is on and the last batch is odd; neither makes a difference."""
    for name in ("best.pt", "last.pt"):
        single, shared = (read_archive(folder / name)["model"] for folder in pair[:2])
        assert single.keys() == shared.keys()
        for key, value in single.items():
            assert torch.allclose(value.float(), shared[key].float(), atol=1e-6, rtol=0), key


def test_two_processes_give_the_scores_of_one(pair):
    rows = [np.genfromtxt(folder / "predictions.csv", delimiter=",", skip_header=1, dtype=str) for folder in pair[:2]]
    assert (rows[0][:, :4] == rows[1][:, :4]).all()
    logits = [row[:, 4:9].astype(float) for row in rows]
    assert np.abs(logits[0] - logits[1]).max() < 1e-4
    single, shared = (json.loads((folder / "metrics.json").read_text()) for folder in pair[:2])
    nll = [metrics.pop("calibration")["nll"] for metrics in (single, shared)]  # the last digits differ
    assert single == shared and nll[0] == pytest.approx(nll[1], rel=1e-4)


def test_only_the_first_process_prints_and_writes(pair):
    assert pair[2].count("best epoch:") == 1 and "2 processes" in pair[2]
    assert {path.name for path in pair[0].iterdir()} == {path.name for path in pair[1].iterdir()}
    assert len((pair[1] / "metrics.jsonl").read_text().splitlines()) == 2


def test_two_processes_show_the_mistakes_of_one(pair):
    """Each process has every other clip; the first one gathers the pictures of all. Ties may be in another order."""
    folders = [folder / "mistakes" for folder in pair[:2]]
    single, shared = (
        {m["clip"]: m for m in json.loads((folder / "mistakes.json").read_text())["mistakes"]} for folder in folders
    )
    assert single and {name: m["why"] for name, m in single.items()} == {name: m["why"] for name, m in shared.items()}
    for name, m in single.items():
        assert (folders[0] / m["file"]).read_bytes() == (folders[1] / shared[name]["file"]).read_bytes()


def test_a_signal_to_one_process_stops_all_after_the_same_step(words, tmp_path):
    """The process that does not write gets the signal; the other one saves, and the run continues from there."""
    folder = tmp_path / "run"
    words = [*words, "--epochs", "400", "--save-every-minutes", "0"]
    launcher = Forked(torchrun, [*TORCHRUN, "main.py", *words, "--output-dir", folder], tmp_path / "screen")
    history = folder / "metrics.jsonl"
    while launcher.poll() is None and not (history.exists() and len(history.read_text().splitlines()) > 1):
        time.sleep(0.05)
    os.kill(process_of_rank(1, launcher.process.pid), signal.SIGTERM)
    screen = "".join(launcher.communicate(timeout=300))
    assert "stopped and saved" in screen, screen[-2000:]
    progress = read_archive(folder / "last.pt")["progress"]
    assert 2 <= progress["epoch"] < 400
    run_main([*words, "--epochs", str(progress["epoch"] + 1), "--resume", "auto"], folder).ok()


def process_of_rank(rank: int, launcher: int) -> int:
    """Return the process that torchrun started with this rank."""
    children = [word for file in Path(f"/proc/{launcher}/task").glob("*/children") for word in file.read_text().split()]
    marker = f"\0LOCAL_RANK={rank}\0".encode()
    return next(int(child) for child in children if marker in Path("/proc", child, "environ").read_bytes())
