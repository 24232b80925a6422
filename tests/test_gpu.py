"""On a GPU, for its owner: ``bash test.sh -m gpu`` trains, resumes, evaluates, predicts and exports there in about two
minutes, in float16 and bfloat16, compiled and deterministic, and compares with the CPU.

Without a GPU these tests are skipped, and the same checks run on the CPU.
"""

import csv
import gc
import json
import signal

import numpy as np
import pytest
import torch

from engine.device import random_state, seed_everything, use_device
from engine.step import TrainingStep
from main import main
from tests.support.resuming import interrupt, read, resume
from tests.support.tools import configure, make_task, run_main
from tests.support.watched import film

HAS_GPU = torch.cuda.is_available()
ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="no CUDA GPU here")]
GPU = pytest.param("cuda", marks=ON_GPU)
LEARN = "--lr-image-encoder 1e-3 --lr-prompt-learner 3e-3 --temperature 0.02 --normalize clip --no-mistake-frames"
RULES = {"SGD": "--optimizer SGD --lr 1e-2", "AdamW": "--optimizer AdamW --lr 1e-3"}


@pytest.fixture(params=[GPU, "cpu"])
def device(request):
    return request.param


@pytest.fixture
def train(tiny_arguments, tmp_path, device):
    """Call main on the device; ``--workers 1`` fills its memory as a user's run does."""

    def call(folder, *words):
        return run_main([*tiny_arguments, "--device", device, "--workers", "1", *words], tmp_path / folder).ok()

    return call


def logits_of(run):
    return np.array([[float(v) for k, v in row.items() if k.startswith("logit_")] for row in run.predictions])


@pytest.mark.parametrize(
    ("device", "amp", "rule"),
    [pytest.param("cuda", amp, rule, marks=ON_GPU) for amp in ("off", "fp16", "bf16") for rule in RULES]
    + [("cpu", "bf16", "AdamW")],
    indirect=["device"],
)
def test_training_on_the_gpu_learns_and_its_checkpoint_has_the_same_score(train, amp, rule):
    run = train("run", *LEARN.split(), *RULES[rule].split(), "--amp", amp, "--epochs", "5", "--milestones")
    losses = [row["train/loss"] for row in run.history]
    assert losses[-1] < 0.9 * losses[0]
    again = train("again", "--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt"), "--amp", amp)
    np.testing.assert_allclose(logits_of(again), logits_of(run), atol=0.1 if amp != "off" else 1e-3)


@pytest.mark.parametrize(
    ("device", "batch"),
    [pytest.param("cuda", 3, marks=ON_GPU), pytest.param("cuda", 14, marks=ON_GPU), ("cpu", 14)],
    indirect=["device"],
)
def test_an_interrupted_run_ends_with_the_same_bits(tiny_arguments, tmp_path, device, batch):
    """Dropout uses the random state of the device, and float16 has a scale."""
    words = [*tiny_arguments, "--device", device, *LEARN.split(), *RULES["SGD"].split(), "--amp", "fp16"]
    words += ["--deterministic", "--epochs", "3", "--milestones", "--ema", "0.9"]
    uninterrupted = run_main(words, tmp_path / "uninterrupted").ok()
    stopped = interrupt(words, tmp_path / "stopped", signal.SIGTERM, batch)
    assert stopped.status == 143, stopped.err
    assert "resumed from" in resume(stopped.folder).out
    expected, last = (read(run.folder / "last.pt") for run in (uninterrupted, stopped))
    assert all(torch.equal(value, last["model"][name]) for name, value in expected["model"].items())
    assert expected["learning"]["scaler"] == last["learning"]["scaler"]
    averages, resumed = (content["learning"]["average"]["tensors"] for content in (expected, last))
    assert all(torch.equal(value, resumed[name]) for name, value in averages.items())


def test_logits_are_those_of_the_cpu(train, trained):
    words = ["--mode", "eval", "--eval-checkpoint", str(trained.folder / "best.pt")]
    runs = [train("here", *words), train("cpu", *words, "--device", "cpu")]
    np.testing.assert_allclose(*map(logits_of, runs), atol=2e-3)


def test_features_are_cached_and_augmented_on_the_device(train, tmp_path):
    frozen = "--lr-image-encoder 0 --cache-features --epochs 1 --milestones --amp bf16".split()
    train("cached", *frozen, "--cache-dir", str(tmp_path / "features"))
    augmented = "--augment device --random-crop 0.5 --brightness 0.2 --epochs 1 --milestones --grad-checkpointing"
    augmented += " --contrast 0.3 --saturation 0.3 --hue 0.2 --grayscale 0.3 --random-erasing 0.5"
    augmented += " --mixup 0.3"
    train("augmented", *augmented.split(), "--lr-image-encoder", "1e-5", "--tf32")


def test_a_video_has_the_same_predictions_as_on_the_cpu(trained, device, tmp_path, eyes):
    words = ["--mode", "predict", "--eval-checkpoint", str(trained.folder / "best.pt"), "--seconds", "2"]
    words += ["--input", str(film(tmp_path / "lesson.mp4", [(1, 4.0)]))]
    tables = []
    for folder, name in ((tmp_path / "here", device), (tmp_path / "cpu", "cpu")):
        assert main([*words, "--device", name, "--output-dir", str(folder)]) == 0
        with open(folder / "timeline.csv", newline="", encoding="utf-8") as file:
            tables.append([[float(v) for k, v in row.items() if k.startswith("prob_")] for row in csv.DictReader(file)])
    np.testing.assert_allclose(*tables, atol=2e-3)


def test_an_export_is_compared_with_its_checkpoint(trained, device, tmp_path):
    words = ["--mode", "export", "--eval-checkpoint", str(trained.folder / "best.pt"), "--device", device]
    assert main([*words, "--output-dir", str(tmp_path)]) == 0
    assert (tmp_path / "best.onnx").stat().st_size > 0


def batch_of_bytes(T):
    face, context = torch.randint(0, 256, (2, 3, T, 3, 64, 64), dtype=torch.uint8)
    return {"face": face, "context": context, "label": torch.arange(3), "id": list("abc"), "replaced_frames": 0}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("amp", [None, torch.float16, torch.bfloat16], ids=["off", "fp16", "bf16"])
def test_no_step_waits_for_the_device(device, amp, rule):
    """CUDA's sync debug mode raises if the CPU waits. The first step may wait: it allocates and selects kernels."""
    given = {"optimizer": rule, "lr_image_encoder": 1e-5, "grad_clip": 1.0, "logit_adj": True}
    here = torch.device(device, 0) if device == "cuda" else torch.device(device)
    use_device(here)
    seed_everything(0, deterministic=False)
    task = make_task(**given)
    task.model.to(here).train()
    task.log_priors = task.log_priors.to(here)
    step = TrainingStep(task, configure(**given), here, amp)
    step(batch_of_bytes(4), 0)
    set_watch = torch.cuda.set_sync_debug_mode if device == "cuda" else lambda _: None
    set_watch("error")
    try:
        step(batch_of_bytes(4), 0)
    finally:
        set_watch("default")


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no CUDA GPU here")
def test_a_compiled_model_learns_the_same(tiny_arguments, tmp_path):
    words = [*tiny_arguments, *f"--device cuda {LEARN} {RULES['SGD']} --epochs 2 --milestones".split()]
    plain, compiled = (run_main([*words, *extra], tmp_path / f"run{len(extra)}") for extra in ([], ["--compile"]))
    assert plain.status == compiled.status == 0, compiled.err
    assert compiled.history[-1]["train/loss"] == pytest.approx(plain.history[-1]["train/loss"], rel=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="fewer than two GPUs here")
def test_only_the_second_gpu_is_used(tiny_arguments, tmp_path):
    gc.collect()
    before = torch.cuda.memory_allocated(0)
    words = [word for word in tiny_arguments if word not in ("--device", "cpu")]
    run = run_main([*words, "--gpu", "1", "--epochs", "1", "--milestones"], tmp_path / "run").ok()
    assert "training on cuda:1" in run.out and torch.cuda.memory_allocated(0) <= before
    assert random_state(torch.device("cuda:1"))["cuda"].numel()


def test_log_and_config_name_the_device(train, device):
    run = train("run", "--epochs", "1", "--milestones")
    assert f"training on {device}" in run.out
    assert json.loads((run.folder / "config.json").read_text(encoding="utf-8"))["run"]["device"] == device
