"""``--corrupt``: what each corruption does to pixels, and the table of scores. ``--test-views``: the same of views."""

import csv
import math
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import recall_score

from dataloader.annotation import read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views
from engine import clip_predict
from engine.checkpoints import open_checkpoint, rebuild
from engine.clip_predict import enlarged, mirrored
from engine.device import to_pixels
from engine.methods.clip_caer import PromptTask
from engine.robustness import LEVELS, corrupt, table, variants_of
from tests.support.tools import configure, error_of, run_main, run_ok
from utils.errors import UserError

BOXES = {"face": read_face_boxes, "body": read_body_boxes}

T, S = 16, 64


@pytest.fixture
def clip():
    """Frames that all differ, smooth enough that a blur keeps their mean."""
    coarse = np.random.default_rng(0).integers(60, 200, (T * 3, 8, 8), dtype=np.uint8)
    planes = [cv2.resize(plane, (S, S), interpolation=cv2.INTER_CUBIC) for plane in coarse]
    return np.stack(planes).reshape(T, 3, S, S)


def corrupted(clip, kind, strength):
    return corrupt(clip, kind, LEVELS[kind][strength - 1], np.random.default_rng(1))


@pytest.mark.parametrize("strength", [1, 2, 3])
def test_each_kind_changes_pixels_by_its_formula(clip, strength):
    change = corrupted(clip, "noise", strength).astype(float) - clip
    assert abs(change.std() - LEVELS["noise"][strength - 1]) < 0.5 and abs(change.mean()) < 0.3
    assert np.array_equal(corrupted(clip, "dark", strength), (clip * 0.5**strength).round())
    blurred = corrupted(clip, "blur", strength)
    expected = cv2.GaussianBlur(clip[3, 1], (0, 0), S * LEVELS["blur"][strength - 1])
    assert np.abs(blurred[3, 1].astype(int) - expected).max() <= 1 and blurred.std() < clip.std()
    hidden = corrupted(clip, "occlusion", strength) == 0
    rows, columns = np.flatnonzero(hidden[0, 0].any(axis=1)), np.flatnonzero(hidden[0, 0].any(axis=0))
    assert len(rows) == len(columns) == S * strength // 4 and (hidden == hidden[0, 0]).all()
    assert np.ptp(rows) == np.ptp(columns) == S * strength // 4 - 1


@pytest.mark.parametrize(("strength", "left"), [(1, 8), (2, 4), (3, 1)])
def test_lost_frames_repeat_the_frame_before_them(clip, strength, left):
    sources = [
        int(np.flatnonzero((clip == frame).all(axis=(1, 2, 3)))[0]) for frame in corrupted(clip, "frames", strength)
    ]
    assert len(set(sources)) == left and sources == sorted(sources)
    first = sources[0]
    assert all(source == first or source <= frame for frame, source in enumerate(sources))


@pytest.mark.parametrize("kind", ["no-face", "no-context"])
@pytest.mark.parametrize(("strength", "black"), [(1, 4), (2, 8), (3, 16)])
def test_all_pixels_of_lost_frames_of_a_stream_are_black(clip, kind, strength, black):
    frames = corrupted(clip, kind, strength)
    is_black = (frames == 0).all(axis=(1, 2, 3))
    assert is_black.sum() == black and np.array_equal(frames[~is_black], clip[~is_black])


@pytest.mark.parametrize("frames", [1, 2, 3, 16])
def test_strengths_that_change_no_frame_are_left_out(clip, frames):
    config = configure(num_segments=frames, mode="eval", eval_checkpoint="best.pt", corrupt=("all",))
    scored, few = variants_of(config), clip[:frames]
    for kind in LEVELS:
        for strength in (1, 2, 3):
            changes = not np.array_equal(corrupted(few, kind, strength), few)
            assert ((kind, strength) in scored) == changes, (kind, strength)
    rows = [{"strength": 0, "uar": 50.0, "interval": None}, {"strength": 3, "uar": 20.0, "interval": None}]
    assert table({"no-face": rows}).splitlines()[1].split() == ["no-face", "50.00", "-", "-", "20.00"]


def test_an_evaluation_scores_every_kind_at_three_strengths(trained, tmp_path, real_figures):
    words = [
        "--mode",
        "eval",
        "--eval-checkpoint",
        str(trained.folder / "best.pt"),
        "--workers",
        "0",
        "--device",
        "cpu",
    ]
    plain = run_main(words, tmp_path / "plain").ok()
    run = run_main([*words, "--corrupt", "dark", "no-context"], tmp_path / "run").ok()
    again = run_main([*words, "--corrupt", "no-context", "--batch-size", "3"], tmp_path / "again").ok()
    metrics = run.metrics
    measured = metrics.pop("robustness")
    assert metrics == plain.metrics and (run.folder / "robustness.png").stat().st_size > 1000
    assert list(measured) == ["dark", "no-context"]
    for rows in measured.values():
        assert [row["strength"] for row in rows] == [0, 1, 2, 3] and rows[0]["uar"] == plain.metrics["uar"]
    assert again.metrics["robustness"]["no-context"] == measured["no-context"]
    assert "no-context" in run.out and "strong" in run.out


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ("--corrupt fog", "--corrupt"),
        ("--corrupt", "--corrupt"),
    ],
)
def test_unknown_kinds_of_corruption_are_refused(trained, flags, part, capsys):
    words = ["--mode", "eval", "--eval-checkpoint", str(trained.folder / "best.pt"), *flags.split()]
    assert part in error_of(words, capsys)


# --test-views


EVAL = "--mode eval --workers 0 --device cpu".split()


def test_views_of_a_batch_are_its_mirror_and_its_enlarged_middle():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 1, 3, 80, 80), dtype=np.uint8)
    batch = {"face": torch.from_numpy(pixels), "label": torch.zeros(2), "id": ["a", "b"]}
    assert np.array_equal(mirrored(batch)["face"], pixels[..., ::-1])
    for scale, box in ((0.9, (4, 4, 76, 76)), (0.8, (8, 8, 72, 72))):
        image = Image.fromarray(pixels[1, 0].transpose(1, 2, 0)).crop(box).resize((80, 80), Image.Resampling.BILINEAR)
        middle = enlarged(batch, scale)["face"][1, 0].numpy().transpose(1, 2, 0)
        assert np.abs(middle.astype(int) - np.asarray(image)).max() <= 1
    assert "context" not in mirrored(batch) | enlarged(batch, 0.8)


def view_rows(run):
    return {row["view"]: row for row in run.metrics["test_views"]}


@pytest.fixture(scope="module")
def viewed(trained, tmp_path_factory):
    """An evaluation without other views and one with all of them."""
    words, folder = [*EVAL, "--eval-checkpoint", str(trained.folder / "best.pt")], tmp_path_factory.mktemp("views")
    plain = run_ok([*words, "--ci", "clips"], folder / "plain")
    return plain, run_ok([*words, "--ci", "clips", "--test-views", "flip", "scales", "offsets"], folder / "views")


def test_other_views_are_printed_beside_the_single_view_and_replace_nothing(viewed):
    plain, run = viewed
    assert (run.folder / "predictions.csv").read_bytes() == (plain.folder / "predictions.csv").read_bytes()
    scores = dict(run.metrics)
    rows = {row["view"]: row for row in scores.pop("test_views")}
    assert scores == plain.metrics
    assert list(rows) == [
        "single view", "mirrored", "middle 90%", "middle 80%", "frames 25%", "frames 75%", "mean of all"
    ]  # fmt: skip
    assert rows["single view"]["uar"] == scores["uar"] and rows["mean of all"]["interval"] is not None
    line = next(line for line in run.out.splitlines() if line.startswith("mean of all"))
    assert line.split()[3:6] == [f"{rows['mean of all'][name]:.2f}" for name in ("uar", "war", "macro_f1")]


def test_the_mean_is_that_of_the_probabilities_of_all_views(viewed, trained):
    _, config, task, dataset = model_and_clips(trained)
    sums, labels = torch.zeros(len(dataset.clips), 5, dtype=torch.float64), []
    for view in ("plain", "mirror", 0.9, 0.8, 0.25, 0.75):
        offset = view if view in (0.25, 0.75) else 0.5
        clips = ClipDataset(dataset.clips, replace(dataset.views, offset=offset))
        for number in range(len(clips)):
            item, pixels = clips[0, 0, number], {}
            for stream in ("face", "context"):
                frames = item[stream]
                if view in (0.9, 0.8):
                    edge = round(32 * (1 - view))
                    images = [Image.fromarray(f.numpy().transpose(1, 2, 0)) for f in frames]
                    images = [i.crop((edge, edge, 64 - edge, 64 - edge)).resize((64, 64), 2) for i in images]
                    frames = torch.from_numpy(np.stack([np.asarray(image).transpose(2, 0, 1) for image in images]))
                frames = frames.flip(-1) if view == "mirror" else frames
                pixels[stream] = to_pixels(frames, config.data.normalize)[None]
            with torch.no_grad():
                logits = task.forward(pixels).logits[0].double()
            sums[number] += logits.softmax(dim=0)
            labels += [item["label"]] if view == "plain" else []
    mean, run = (sums / 6).numpy(), viewed[1]
    with open(run.folder / "predictions_views.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    probabilities = np.array([[float(row[f"prob_{name}"]) for name in task.names] for row in rows])
    assert np.abs(probabilities - mean).max() < 0.01  # enlarged pixels may be rounded differently
    logits = np.array([[float(row[f"logit_{name}"]) for name in task.names] for row in rows])
    assert np.allclose(np.exp(logits), probabilities, atol=1e-6)
    recalls = recall_score(labels, probabilities.argmax(axis=1), average=None)
    assert view_rows(run)["mean of all"]["uar"] == pytest.approx(100 * recalls.mean())


def model_and_clips(trained):
    """The model of a run, ready for evaluation, and its test clips with the views of the run."""
    opened = open_checkpoint(trained.folder / "best.pt", {})
    config, model = opened.config, rebuild(opened.content, opened.config).eval()
    data, classes = config.data, load_classes("RAER")
    faces, bodies = (read(f"annotation/{kind}.json", data.root_dir) for kind, read in BOXES.items())
    settings = {"segments": data.num_segments, "size": data.image_size, "root": data.root_dir}
    views = Views(**settings, face_boxes=faces, body_boxes=bodies)
    clips = read_annotation("annotation/test.txt", data.root_dir, classes)
    return opened, config, PromptTask(model, classes.names, config.loss), ClipDataset(clips, views)


def test_a_view_with_predictions_that_are_not_finite_gives_a_one_line_error(monkeypatch):
    monkeypatch.setattr(clip_predict, "passes", lambda task, batches, *rest: [batch["logits"] for batch in batches])
    batch = {"id": ["a", "b"], "label": torch.zeros(2), "replaced_frames": 0, "logits": torch.zeros(2, 5)}
    broken = torch.tensor([[0.0] * 5, [0.0, math.nan, 0.0, 0.0, 0.0]])
    changes = {"single view": lambda batch: batch, "mirrored": lambda batch: batch | {"logits": broken}}
    group = SimpleNamespace(sum=list, gather_list=lambda rows, count: rows)
    session = SimpleNamespace(device=torch.device("cpu"), group=group)
    message = "^test views: 1 of 2 predictions are not finite, first that of b; try --amp off$"
    with pytest.raises(UserError, match=message):
        clip_predict.predict_changed(MagicMock(), [[batch]], changes, None, session, "test views")


def test_a_training_scores_the_views_of_its_test_clips_from_pixels(small_flags, tmp_path):
    words = "--epochs 1 --milestones --lr-image-encoder 0 --cache-features --test-views flip offsets --ci off"
    run = run_ok([*small_flags, *words.split(), "--cache-dir", str(tmp_path / "cache")], tmp_path / "run")
    again = [*EVAL, "--eval-checkpoint", str(run.folder / "best.pt"), "--test-views", "flip", "offsets", "--ci", "off"]
    same = run_ok(again, tmp_path / "same")
    assert list(view_rows(run)) == ["single view", "mirrored", "frames 25%", "frames 75%", "mean of all"]
    assert same.metrics["test_views"] == run.metrics["test_views"]
    name = "predictions_views.csv"
    assert (same.folder / name).read_bytes() == (run.folder / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--test-views zoom", "--test-views|flip"),
        ("--mode cache --test-views flip", "--test-views belongs to --mode train"),
        ("--model sequence --test-views flip", "--test-views flip is not used by --model sequence"),
    ],
)
def test_other_views_are_refused_where_they_mean_nothing(words, message, capsys):
    error = error_of(words.split(), capsys)
    assert all(part in error for part in message.split("|"))
