"""Training steps: accumulation, clipping, mixed precision, running losses; no step waits for the device."""

import contextlib
from functools import partial

import numpy as np
import pytest
import torch

from dataloader.transforms import AugmentationLimits, as_tensors, sample_augmentation
from engine import session
from engine.device import to_device
from engine.epoch_scores import RunningScore
from engine.methods import method_named
from engine.regress import regression_loss
from engine.step import TrainingStep
from models.losses import action_unit_loss, ccc_loss, expression_loss
from tests.support.resuming import read
from tests.support.tools import configure, make_model, run_main
from utils.errors import UserError

PLAIN = "--num-segments 2 --epochs 1 --milestones --select-on last --lr 0.05 --lr-image-encoder 0.01 --momentum 0"
PLAIN += " --weight-decay 0"
FROZEN = "--lr 0 --lr-image-encoder 0 --lr-prompt-learner 0 --lr-adapter 0".split()
META = torch.device("meta")
B, T = 3, 4


@pytest.fixture
def train(tiny_arguments, tmp_path, monkeypatch):
    """Train one epoch of 40 clips without dropout; return the weights at its end."""
    monkeypatch.setattr(torch.nn.functional, "dropout", lambda x, *_, **__: x)

    def run(*extra):
        run = run_main([*tiny_arguments, *PLAIN.split(), *extra], tmp_path / f"run{len(list(tmp_path.iterdir()))}").ok()
        return read(run.folder / "last.pt")["model"]

    return run


def distance(first, second):
    return max((first[key].float() - second[key].float()).abs().max().item() for key in first)


def test_accumulated_steps_equal_one_step_of_the_larger_batch(train):
    large, accumulated = train("--batch-size", "8"), train("--batch-size", "4", "--accumulate", "2")
    assert distance(large, accumulated) < 2e-4
    assert distance(large, train("--batch-size", "4")) > 2e-3


def test_an_incomplete_accumulation_updates_and_no_gradient_leaks_into_the_next(train, monkeypatch):
    updates, leaks, update = [], [], TrainingStep.update

    def watched(step):
        update(step)
        updates.append(1)
        leaks.extend(p.grad for p in step.task.model.parameters() if p.grad is not None and p.grad.any())

    monkeypatch.setattr(TrainingStep, "update", watched)
    train("--accumulate", "3")  # 10 steps
    assert len(updates) == 4 and leaks == []


def test_clipping_bounds_the_update_zero_rates_change_nothing_and_bf16_stays_close(train):
    start, free = train(*FROZEN), train()
    assert distance(start, free) > 1e-3
    assert 0 < distance(start, train("--grad-clip", "1e-4")) <= 10 * 0.05 * 1e-4
    assert distance(start, train(*FROZEN, "--batch-size", "8")) == 0
    assert distance(free, train("--amp", "bf16")) < 0.05


SHORT = "--amp fp16 --accumulate 1 --lr 1e-2 --lr-image-encoder 1e-3 --select-on last --no-mistake-frames"


def use_float16(patch, scale=2.0**40):
    """--amp fp16 computes in float16, and a high scale overflows at first, so that the first steps are skipped."""
    patch.setattr(session, "choose_amp", lambda *_: (torch.float16, None))
    patch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=scale))


@pytest.mark.parametrize("rule", ["--optimizer SGD", "--optimizer AdamW --lr 1e-3"])
def test_a_float16_training_whose_first_steps_overflow_ends_finite_and_learns(small_flags, tmp_path, monkeypatch, rule):
    use_float16(monkeypatch, scale=2.0**32)
    run = run_main([*small_flags, *SHORT.split(), *rule.split(), "--epochs", "4"], tmp_path / "run").ok()
    losses = [row["train/loss"] for row in run.history]
    assert losses[-1] < 0.9 * losses[0]
    last = read(run.folder / "last.pt")
    assert last["learning"]["scaler"]["scale"] < 2.0**32  # steps were skipped
    assert all(torch.isfinite(value).all() for value in last["model"].values())


def test_a_run_of_float32_continues_in_float16_and_back(small_flags, tmp_path, monkeypatch):
    """Like a run that moves from a machine without a GPU to one with a GPU."""
    folder = tmp_path / "run"

    def scaler_after(epochs, words):
        run = run_main([*words, "--epochs", str(epochs)], folder)
        assert run.status == 0 and len(run.history) == epochs, run.err
        return run, read(folder / "last.pt")["learning"]["scaler"]

    run, scaler = scaler_after(1, [*small_flags, *SHORT.split()])
    assert "warning: --amp fp16 needs a CUDA GPU" in run.out and scaler == {}
    for epochs, scale in ((2, 2.0**8), (3, 2.0**20)):
        with monkeypatch.context() as patch:
            use_float16(patch, scale)
            assert 0 < scaler_after(epochs, ["--resume", str(folder)])[1]["scale"] <= 2.0**8  # the third one: as stored
    assert scaler_after(4, ["--resume", str(folder)])[1] == {}


def batch_of(label, replaced=0):
    return {"label": torch.tensor(label), "id": [str(n) for n in label], "replaced_frames": replaced}


def terms(**values):
    return {name: torch.tensor(value) for name, value in values.items()}


def test_running_losses_are_means_over_clips_and_a_copy_continues_from_its_state():
    score = RunningScore(("a", "b", "c"))
    score.add(terms(x=1.0, y=0.5), torch.eye(3)[[0, 1, 1]], batch_of([0, 1, 0], 2), 0, 0)
    before = score.copy()
    score.add(terms(x=3.0, y=0.5), torch.eye(3)[[1]], batch_of([1], 1), 0, 1)
    values = score.values()
    assert values["loss_x"] == pytest.approx((3 * 1 + 1 * 3) / 4) and values["loss_y"] == pytest.approx(0.5)
    assert values["loss"] == pytest.approx(values["loss_x"] + values["loss_y"])
    assert values["war"] == pytest.approx(75) and values["uar"] == pytest.approx((50 + 100) / 2)  # no clip of c
    assert values["replaced_frames"] == 3
    confusion = [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert before.state() == {"clips": 3, "replaced": 2, "sums": {"x": 3.0, "y": 1.5}, "confusion": confusion}
    resumed = RunningScore(("a", "b", "c"), before.state())
    resumed.add(terms(x=3.0, y=0.5), torch.eye(3)[[1]], batch_of([1], 1), 0, 1)
    assert resumed.values() == values and resumed.state() == score.state()


def test_losses_are_read_one_step_late_and_completely_when_needed():
    losses = RunningScore()
    for step in range(4):
        losses.add(terms(x=float(step)), None, {"id": ["clip"]}, 0, step)
        losses.read(all_but=1)
        assert len(losses.unread) == 1 and losses.clips == step
    assert losses.values() == {"loss": 1.5, "loss_x": 1.5} and not losses.unread


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_term_that_is_not_finite_is_named_with_epoch_step_and_clips(value):
    losses = RunningScore()
    losses.add(terms(classification=1.0, mi=value), None, {"id": ["clip/7"]}, 2, 4)
    losses.add(terms(classification=value, mi=value), None, {"id": ["clip/8"]}, 2, 5)
    losses.read(all_but=2)
    with pytest.raises(UserError, match=r"mi is not finite in epoch 3, step 5 .*clip/7") as caught:
        losses.read(all_but=1)
    assert "classification" not in str(caught.value)
    unread = RunningScore()
    unread.add(terms(x=value), None, {"id": ["clip"]}, 0, 0)
    with pytest.raises(UserError, match="x is not finite"):
        unread.copy().state()  # nothing is saved of an epoch whose last loss is not finite


METHODS = {
    "published": {"slerp_weight": 0.0, "adapter": "none"},
    "advanced": {"logit_adj": True, "class_balanced_loss": True, "label_smoothing": 0.1, "focal_gamma": 1.0},
    "prompts around the text": {"class_token_position": "middle", "iec_text": "both", "use_weighted_sampler": True},
    "checkpointing": {"grad_checkpointing": True},
    "dfer-clip": {"model": "dfer-clip", "class_token_position": "front"},
    "captions": {"model": "emoclip", "lr_image_encoder": 1e-5, "lr_text_encoder": 1e-5},
    "frozen texts": {"model": "emoclip", "merge_positives": False},
    "class texts": {"model": "emoclip", "caption_source": "class", "lr_text_encoder": 1e-5},
    "frames": {"model": "frame-expr", "class_balanced_loss": True, "num_segments": 1},
}


def batch_with_random_numbers(streams):
    limits = AugmentationLimits(4, True, 0.5, 0.3, 0.3, 0.3, 0.2, 0.5, 0.5)
    numbers = [sample_augmentation(np.random.default_rng(i), limits) for i in range(B)]
    rows = [as_tensors([clip, clip], limits.varied) for clip in numbers]
    draws = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    pixels = {stream: torch.zeros(B, T, 3, 64, 64, dtype=torch.uint8) for stream in streams}
    about = {"label": torch.tensor([0, 1, 1]), "id": list("abc"), "replaced_frames": 0}
    return pixels | draws | about | {"face_sizes": torch.full((B, T, 2), 50)}


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_every_method_reads_nothing_back_from_the_device(name, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # it does not know meta
    config = configure(**{"normalize": "clip"} | METHODS[name])
    model, classes = make_model(config)
    model.image_encoder.transformer.checkpointing = config.optim.grad_checkpointing
    task = method_named(config.model.model).task(model.to(META).train(), classes.names, config.loss)
    if config.model.model != "emoclip":
        task.set_training_counts(np.arange(1, 1 + len(classes)), META)
    elif config.loss.caption_source == "clip":
        task.row_of, task.lengths = {"a": 0, "b": 1, "c": 1}, [7, 9]
        task.tokens = torch.zeros(2, 77, dtype=torch.int64, device=META)
        task.features = None if task.texts_learn else torch.zeros(2, 64, device=META)
    streams = ("face", "context") if config.model.streams == "both" else ("face",)
    batch = to_device(batch_with_random_numbers(streams), META, config.data.normalize)
    sum(task.losses(task.forward(batch), batch, epoch=20).values()).backward()
    assert any(p.grad is not None for p in model.parameters())


def test_the_losses_of_long_videos_and_readouts_read_nothing_back_from_the_device():
    zeros = partial(torch.zeros, device=META)
    padding, weights = zeros(2, 5, dtype=torch.bool), torch.ones(8, device=META)
    out = {K: zeros(2, 5, K, requires_grad=True) for K in (2, 8, 12)}
    of_expression = {"class_weights": weights, "label_smoothing": 0.1, "focal_gamma": 1.0}
    losses = [
        ccc_loss(out[2], zeros(2, 5, 2), padding),
        expression_loss(out[8], zeros(2, 5, dtype=torch.int64), padding, **of_expression),
        action_unit_loss(out[12], zeros(2, 5, 12), padding, positive_weights=torch.ones(12, device=META)),
    ]
    for kind in ("mse", "ccc"):
        losses.append(regression_loss(zeros(6, 2, requires_grad=True), zeros(6, 2), kind))
    sum(losses).backward()
