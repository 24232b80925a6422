"""A method, an option and a loss that are defined only in this file work in the whole project without other changes."""

import json
import os
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from engine.methods.base import CLASS_SIZE_PARTS, CLIP_OPTIONS, ONE_STREAM, ClassifierTask, Method, Part
from engine.methods.clip_caer import ClipCaer, PromptTask
from engine.options import GROUPS, LossOptions, option
from engine.registry import register
from models.classifiers import Output, VideoClassifier
from models.clip_towers import ImageTower
from tests.support.serving import write_video
from tests.support.tools import error_of, run_ok

# -- a method -------------------------------------------------------------------------------------------------------


class PeakModel(VideoClassifier):
    """The largest value of every feature over the frames, and a linear layer."""

    reads_context = False

    def __init__(self, image_encoder, width, classes):
        super().__init__()
        self.image_encoder, self.readout = image_encoder, nn.Linear(width, classes)

    def head(self, face, context=None, texts=None):
        peak = face.float().amax(dim=1)
        return Output(self.readout(peak), peak, texts)


class PeakTask(ClassifierTask):
    has_texts = False

    def losses(self, out, batch, epoch):
        return {"classification": self.classification(out.logits, batch, epoch)}


class Peak(Method):
    name = "peak"
    summary = "the peak of every feature over the frames"
    task = PeakTask
    defaults = ONE_STREAM | {"optimizer": "AdamW", "lr": 0.01}
    reads = CLIP_OPTIONS | {"class losses"}
    parts = (*CLASS_SIZE_PARTS, Part("fine-tuning", {"lr_image_encoder": 0.0}))

    def build(self, config, classes, clip):
        return PeakModel(clip.visual, clip.shape.embed_dim, len(classes))

    def rebuild(self, shape, state, config):
        return PeakModel(ImageTower(shape), *state["readout.weight"].shape[::-1])


register(Peak())


@pytest.fixture(scope="module")
def flags(tiny_arguments):
    words = "--model peak --epochs 6 --milestones 5 --normalize clip --lr-image-encoder 1e-3 --label-smoothing 0.1"
    return [*tiny_arguments, "--num-segments", "2", *words.split()]


@pytest.fixture(scope="module")
def run(flags, tmp_path_factory):
    return run_ok(flags, tmp_path_factory.mktemp("peak") / "run")


def test_the_toy_method_trains_and_is_scored(run):
    assert run.metrics["uar"] > 40  # five classes: chance is 20
    assert "the peak of every feature over the frames" in (run.folder / "model_card.md").read_text()


def test_the_toy_method_is_resumed_to_the_last_bit(run, flags, tmp_path):
    shorter = run_ok([*flags, "--epochs", "2"], tmp_path / "run")
    resumed = run_ok(["--resume", str(shorter.folder), "--epochs", "6"], shorter.folder)
    assert resumed.metrics["uar"] == run.metrics["uar"] and resumed.predictions == run.predictions


def test_the_toy_method_is_evaluated_from_its_checkpoint_alone(run, tmp_path):
    scored = run_ok(["--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt")], tmp_path / "eval")
    assert scored.predictions == run.predictions


def test_the_parts_of_the_toy_method_are_left_out_in_turn(flags, tmp_path):
    ablation = run_ok(["--mode", "ablate", "--drop-one", *flags, "--epochs", "1"], tmp_path / "ablation")
    assert {"base", "without-label-smoothing", "without-fine-tuning"} <= set(os.listdir(ablation.folder))


def test_the_toy_method_recognises_emotions_in_a_video(run, tmp_path):
    video = write_video(tmp_path / "video.mp4", [(2.0, 90)])
    words = ["--mode", "predict", "--eval-checkpoint", str(run.folder / "best.pt"), "--input", str(video)]
    answered = run_ok([*words, "--no-overlay"], tmp_path / "answers")
    assert any(file.suffix == ".csv" for file in answered.folder.rglob("*"))


def test_the_toy_method_is_exported(run, tmp_path):
    pytest.importorskip("onnx")
    words = ["--mode", "export", "--eval-checkpoint", str(run.folder / "best.pt")]
    exported = run_ok(words, tmp_path / "export")
    assert list(exported.folder.glob("*.onnx"))


def test_it_refuses_what_it_does_not_read(capsys):
    assert "--slerp-weight 0.3 is not used by --model peak" in error_of(
        ["--model", "peak", "--slerp-weight", "0.3"], capsys
    )


# -- an option and a loss -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LossOptionsWithSparsity(LossOptions):
    sparsity_weight: float = option(0.0, "Weight of the mean absolute logit.", part="sparsity", minimum=0)


class SparseTask(PromptTask):
    def losses(self, out, batch, epoch):
        return super().losses(out, batch, epoch) | {"sparsity": self.loss.sparsity_weight * out.logits.abs().mean()}


class Sparse(ClipCaer):
    name = "sparse"
    task = SparseTask
    reads = ClipCaer.reads | {"sparsity"}


register(Sparse())


@pytest.fixture
def sparsity(monkeypatch):
    monkeypatch.setitem(GROUPS, "loss", LossOptionsWithSparsity)


def test_a_new_option_is_one_field_and_a_new_loss_one_line(sparsity, tiny_arguments, tmp_path, capsys):
    words = [*tiny_arguments, "--model", "sparse", "--epochs", "1", "--sparsity-weight", "0.5"]
    run = run_ok(words, tmp_path / "run")
    assert run.history[0]["train/loss_sparsity"] > 0
    assert json.loads((run.folder / "config.json").read_text())["loss"]["sparsity_weight"] == 0.5
    resumed = ["--resume", str(run.folder), "--epochs", "2"]
    assert "--sparsity-weight 0.2" in error_of([*resumed, "--sparsity-weight", "0.2"], capsys)
    assert "--sparsity-weight 0.2 is not used by --model peak" in error_of(
        ["--model", "peak", "--sparsity-weight", "0.2"], capsys
    )
    assert "must be at least 0" in error_of(["--model", "sparse", "--sparsity-weight", "-1"], capsys)


def test_the_losses_of_a_run_are_finite_numbers(run):
    assert all(torch.isfinite(torch.tensor(epoch["train/loss"])) for epoch in run.history)
