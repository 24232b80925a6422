"""--votes in training: the targets of clips are shares of votes, on the command line, on resume and in ablations."""

import csv
import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from dataloader.annotation import Clip
from dataloader.classes import load_classes
from tests.support.tiny import NAMES
from tests.support.tools import call, make_task, one_line, random_batch, run_ok

RUN = ["--epochs", "2", "--milestones", "--lr", "0.01", "--no-mistake-frames"]
UNSURE = (0.6, 0.1, 0.1, 0.1, 0.1)  # shares: first the label's class, then the others in their order


def write_votes(path: Path, root: str, shares: tuple[float, ...], skip: int = 0) -> Path:
    """Write the same division of votes for every training clip but the first ``skip``; the label's class is first."""
    rows = [("clip", "label", *NAMES)]
    for line in (Path(root) / "annotation/train.txt").read_text().splitlines()[skip:]:
        clip, _, label = line.split()
        others = list(shares[1:])
        others.insert(int(label) - 1, shares[0])
        rows.append((clip, label, *others))
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture(scope="module")
def run(tiny_arguments, tiny_flags, tmp_path_factory):
    """Train with the same votes for every clip, or with labels, and return the run."""
    folder, runs = tmp_path_factory.mktemp("votes"), {}

    def of(shares: tuple[float, ...] | None, *more: str):
        key = (shares, more)
        if key not in runs:
            name, words = folder / str(len(runs)), []
            if shares is not None:
                file = write_votes(name.with_suffix(".csv"), tiny_flags["--root-dir"], shares)
                words = ["--votes", str(file)]
            runs[key] = run_ok([*tiny_arguments, *RUN, *words, *more], name)
        return runs[key]

    return of


def losses(run) -> list[float]:
    return [row["train/loss_classification"] for row in run.history]


def test_votes_for_the_label_alone_train_as_labels_do(run):
    certain = run((1, 0, 0, 0, 0))
    assert losses(certain) == pytest.approx(losses(run(None)), rel=1e-5)
    assert losses(run(UNSURE)) != pytest.approx(losses(run(None)), rel=1e-2)


def test_equal_votes_of_all_others_are_label_smoothing(run):
    """Smoothing of 0.5 leaves 0.5 + 0.1 for the true class and 0.1 for each other."""
    assert losses(run(UNSURE)) == pytest.approx(losses(run(None, "--label-smoothing", "0.5")), rel=1e-5)


def test_each_clip_of_a_batch_has_its_own_row():
    """Ids in another order than that of the training list."""
    task, batch = make_task(), random_batch(B=3)
    task.model.train()
    shares = [(0.5, 0.5, 0, 0, 0), (0, 0, 1, 0, 0), (0.2, 0.2, 0.2, 0.2, 0.2)]
    clips = [Clip(str(n), Path(), (), None, n, str(n), votes=votes) for n, votes in enumerate(shares)]
    task.prepare(clips, load_classes("RAER"), torch.device("cpu"))
    out = task.forward(batch)
    got = task.losses(out, batch | {"id": ["2", "0", "1"]}, 0)["classification"]
    expected = F.cross_entropy(out.logits, torch.tensor([shares[2], shares[0], shares[1]]))
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_run_is_resumed_with_the_same_votes_only(run, tiny_arguments, tiny_flags, tmp_path):
    file = write_votes(tmp_path / "votes.csv", tiny_flags["--root-dir"], UNSURE)
    shorter = run_ok([*tiny_arguments, *RUN, "--votes", str(file), "--epochs", "1"], tmp_path / "run")
    write_votes(file, tiny_flags["--root-dir"], (0.8, 0.2, 0, 0, 0))
    resume = ["--resume", str(shorter.folder), "--epochs", "2"]
    assert "votes are not those of its training" in one_line(call(*resume))
    write_votes(file, tiny_flags["--root-dir"], UNSURE)
    assert run_ok(resume, shorter.folder).predictions == run(UNSURE).predictions


def test_a_training_clip_without_votes_is_named(tiny_arguments, tiny_flags, tmp_path):
    file = write_votes(tmp_path / "votes.csv", tiny_flags["--root-dir"], UNSURE, skip=30)
    message = one_line(call(*tiny_arguments, *RUN, "--votes", file, "--output-dir", tmp_path / "run"))
    assert f"--votes {file}: " in message and "training clips have no votes, such as RAER/images" in message


def test_votes_are_left_out_in_an_ablation(tiny_arguments, tiny_flags, tmp_path):
    file = write_votes(tmp_path / "votes.csv", tiny_flags["--root-dir"], UNSURE)
    words = [*tiny_arguments, *RUN, "--model", "dfer-clip", "--no-tune-prompts", "--epochs", "1"]
    words = [word for word in words if word not in ("--bounding-box-body", "annotation/body.json")]
    ablation = run_ok(["--mode", "ablate", "--drop-one", *words, "--votes", str(file)], tmp_path / "ablation")
    variants = {name: ablation.folder / name / "seed-42/config.json" for name in ("base", "without-votes")}
    votes = {name: json.loads(config.read_text())["data"]["votes"] for name, config in variants.items()}
    assert votes == {"base": str(file), "without-votes": None}
