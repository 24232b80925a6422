"""Several processes make the run of one: the same clips, losses, weights and scores, written once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dataloader.sampling import ClipOrder
from tests.tools import ROOT, error_of, run_main
from utils.archive import read_archive
from utils.distributed import Group

LEARNING = "--epochs 2 --milestones 1 --lr 1e-2 --lr-image-encoder 1e-2 --lr-prompt-learner 1e-2 --accumulate 2"
LOSSES = "--class-balanced-loss --iec-text both --temperature 0.05 --use-weighted-sampler --deterministic"


@pytest.mark.parametrize(("clips", "batch", "world"), [(10, 4, 2), (9, 4, 4), (8, 4, 2), (13, 6, 3), (3, 8, 4)])
def test_processes_share_every_batch_and_make_equally_many_steps(clips, batch, world):
    whole = [position for _, position, _ in ClipOrder(clips, seed=3)]
    shares = [list(ClipOrder(clips, 3, share=(rank, world, batch))) for rank in range(world)]
    steps = -(-clips // batch)
    for rank, share in enumerate(shares):
        order = ClipOrder(clips, 3, share=(rank, world, batch))
        assert len(share) == len(order)
        assert -(-len(share) // (batch // world)) == steps
    for step in range(steps):
        in_step = [p for p in whole if p // batch == step]
        held = [[p for _, p, _ in share if p // batch == step] for share in shares]
        for rank, positions in enumerate(held):
            assert positions == (in_step[rank::world] or in_step[:1])  # nothing of its own: one for company


def test_a_share_goes_on_inside_an_epoch():
    order = ClipOrder(10, 3, share=(1, 2, 4))
    everything = list(order)
    order.start = 4
    assert list(order) == [key for key in everything if key[1] >= 4]


def test_rows_of_evaluation_come_back_in_order():
    groups = [Group(rank, 3) for rank in range(3)]
    clips = list(range(8))
    assert sorted(sum((group.own(clips) for group in groups), [])) == clips
    assert [group.own_count(8) for group in groups] == [3, 3, 2]


def launch_two(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*start, "main.py", *arguments, "--output-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory, tiny_arguments) -> tuple[Path, Path, str]:
    """The run folders of one process and of two, and what the two said."""
    base = tmp_path_factory.mktemp("processes")
    arguments = [*tiny_arguments, *LEARNING.split(), *LOSSES.split()]
    alone, both = run_main(arguments, base / "alone"), launch_two(arguments, base / "both")
    assert alone.status == 0, alone.err
    assert both.returncode == 0, both.stderr
    return base / "alone", base / "both", both.stdout


def test_two_processes_end_in_the_weights_of_one(pair):
    """Dropout is on and the last batch is odd: both are shared without a difference."""
    for name in ("best.pt", "last.pt"):
        one, two = (read_archive(folder / name)["model"] for folder in pair[:2])
        assert one.keys() == two.keys()
        for key, value in one.items():
            assert torch.allclose(value.float(), two[key].float(), atol=1e-6, rtol=0), key


def test_two_processes_give_the_scores_of_one(pair):
    rows = [np.genfromtxt(folder / "predictions.csv", delimiter=",", skip_header=1, dtype=str) for folder in pair[:2]]
    assert (rows[0][:, :4] == rows[1][:, :4]).all()
    logits = [row[:, 4:9].astype(float) for row in rows]
    assert np.abs(logits[0] - logits[1]).max() < 1e-4
    one, two = (json.loads((folder / "metrics.json").read_text()) for folder in pair[:2])
    smooth = [found.pop("calibration") for found in (one, two)]  # of probabilities, whose last digits differ
    assert one == two and smooth[0]["nll"] == pytest.approx(smooth[1]["nll"], rel=1e-4)


def test_the_first_process_alone_speaks_and_writes(pair):
    assert pair[2].count("best epoch:") == 1 and "2 processes" in pair[2]
    assert {path.name for path in pair[0].iterdir()} == {path.name for path in pair[1].iterdir()}
    assert len((pair[1] / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_batch_that_cannot_be_shared_is_one_line(tiny_arguments, monkeypatch, capsys, tmp_path):
    from engine import session

    monkeypatch.setattr(session, "join", lambda device: Group(0, 3))
    message = error_of([*tiny_arguments, "--output-dir", str(tmp_path / "run")], capsys)
    assert "--batch-size 4" in message and "multiple of 3" in message


def test_two_processes_show_the_mistakes_of_one(pair):
    """Each holds every other clip; the first one gathers the pictures of all."""
    one, two = (json.loads((folder / "mistakes/mistakes.json").read_text())["mistakes"] for folder in pair[:2])
    assert one and [(m["clip"], m["file"], m["why"]) for m in one] == [(m["clip"], m["file"], m["why"]) for m in two]
    for m in one:
        pictures = [(folder / "mistakes" / m["file"]).read_bytes() for folder in pair[:2]]
        assert pictures[0] == pictures[1]
