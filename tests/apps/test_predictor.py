"""A model on windows of a video: which frames it sees, how often, and what it predicts without a face."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from apps.predict.predictor import Predictor
from apps.predict.runners import FRAMES, ModelInfo, run_clips
from apps.predict.timeline import CONTEXT_ONLY, FACE, NO_FACE, NO_ONE
from apps.predict.torch_runner import TorchRunner, model_info
from apps.predict.windows import Grid, Watcher
from dataloader.affwild import Video as AffVideo
from dataloader.crops import face_square
from dataloader.detect import Detection, Detections
from dataloader.sequences import window_starts
from dataloader.track import Tracker
from engine.config import make_config
from engine.long_videos.predict import make_predictions
from engine.methods.sequence import SequenceTask
from models.sequence import SequenceModel, SequenceOutput
from tests.support.tiny import FACE as BOX
from tests.support.tools import ROOT, configure, make_task
from tests.support.watched import FPS, TWO_STREAMS, Brightness, KnownFaces, film, frames_of
from utils.errors import UserError

ONE_STREAM = ModelInfo(family="dfer-clip", model="m", names=("dark", "bright"), streams="face", frames=8, size=16)
SINGLE = replace(ONE_STREAM, family="frame-expr", frames=1)


class Frames:
    """A video in memory."""

    name, duration, damaged, width, height, fps, end = "drawn", None, None, 160, 120, FPS, 0.0

    def __init__(self, parts):
        self.frames = frames_of(parts)

    def __iter__(self):
        return iter(self.frames)


def rows_of(runner, parts, **options):
    return rows_in(Predictor(runner=runner, **options), Frames(parts))


def rows_in(predictor, video):
    return [row for step in predictor.follow(video) for rows in step.rows for row in rows]


@pytest.mark.parametrize(("setting", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_torch_is_told_not_to_spin_before_it_is_imported(setting, expected):
    """Threads that spin tripled the processor time of a script with a ``Predictor`` on a busy machine."""
    words = "import apps.predict.run, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": setting} if setting else {}
    run = subprocess.run([sys.executable, "-c", words], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.stdout.split() == [expected, "False"]


def test_each_sampled_frame_is_encoded_once(eyes):
    runner = Brightness()
    rows = rows_of(runner, [(1, 10.0)])
    assert [(r.start, r.stop) for r in rows] == [(s, s + 4.0) for s in range(7)]
    assert all(face.shape == (1, 8, 3) for face, _ in runner.calls)
    assert runner.encoded == 2 * 20  # 8 frames in 4 s, 10 s, two streams
    assert all(r.faces == r.samples == 8 and r.seen == FACE and r.person == 1 for r in rows)


def test_frames_without_a_face_are_not_chosen(eyes):
    """Half of the frames hide the face. The model sees the others in both streams, with the last one repeated."""
    runner = Brightness()
    (row,) = rows_of(runner, [(1, 2.0), ("hidden", 2.0)])
    (face, context) = runner.calls[0]
    assert (row.faces, row.samples, row.seen) == (4, 8, FACE)
    assert (face[0, :, 0] > face[0, :, 2]).all()  # yellow, the face of class 1; it is hidden by green
    assert np.array_equal(face[0, 3:], np.repeat(face[0, 3:4], 5, axis=0))
    assert len(np.unique(context[0], axis=0)) == 4


def test_predictions_without_a_face(eyes):
    """By context alone, also for a body without a person; none by a face model; an empty frame gives a row."""
    rows = rows_of(Brightness(), [(1, 4.0), ("hidden", 12.0)])
    assert rows[0].seen == FACE and rows[-1].seen == CONTEXT_ONLY
    assert rows[-1].faces == 0 and rows[-1].predicted in TWO_STREAMS.names
    rows = rows_of(Brightness(), [(1, 4.0), ("hidden", 16.0)])
    assert rows[-1].seen == NO_ONE and not rows[-1].predicted  # ten seconds after the last face
    rows = rows_of(Brightness(), [("hidden", 6.0)])
    assert {(r.person, r.seen) for r in rows} == {(None, NO_ONE)}  # a body whose face was never visible
    runner = Brightness(ONE_STREAM)
    rows = rows_of(runner, [(1, 4.0), ("hidden", 4.0)])
    assert rows[0].predicted and rows[0].seen == FACE
    assert rows[-1].seen in (NO_FACE, NO_ONE) and rows[-1].predicted == "" and rows[-1].values is None
    assert all(context is None for _, context in runner.calls)
    runner = Brightness()
    rows = rows_of(runner, [("nobody", 6.0)])
    assert [(r.person, r.seen, r.predicted, r.values) for r in rows] == 3 * [(None, NO_ONE, "", None)]
    assert not runner.calls


@pytest.mark.parametrize(
    ("logits", "temperature", "expected"),
    [
        (np.log([1.0, 3.0]), 1.0, [0.25, 0.75]),
        (2 * np.log([1.0, 3.0]), 2.0, [0.25, 0.75]),
        (np.array([1e4, -1e4]), 0.01, [1.0, 0.0]),
    ],
)
def test_probabilities_divide_logits_by_the_temperature(logits, temperature, expected, eyes):
    runner = Brightness(replace(TWO_STREAMS, temperature=temperature))
    runner.head = lambda *_: logits[None].astype(np.float32)
    (row,) = rows_of(runner, [(1, 4.0)])
    assert row.values == pytest.approx(expected)


def test_a_video_of_another_size_shows_the_same_part_of_the_head():
    frame, box = Frames([(2, 1.0)]).frames[0][1], tuple(map(float, BOX))
    large, large_box = frame.repeat(3, axis=0).repeat(3, axis=1), tuple(3 * edge for edge in box)

    def face_of(frame, box, face_width):
        info = replace(TWO_STREAMS, face_width=face_width)
        detections = Detections([Detection(*box, 1.0)], [])
        watcher = Watcher(lambda _: detections, Tracker(1, hits=1), info, Grid(1.0, FPS), 0.2)
        return watcher.look(0.0, frame).views[1].squares["face"].astype(int)

    as_trained = face_of(frame, box, 40.0)
    assert np.abs(face_of(large, large_box, 40.0) - as_trained).max() <= 3
    assert np.abs(face_of(large, large_box, None) - as_trained).max() > 30  # 20 pixels for a face three times as wide
    assert np.array_equal(as_trained, face_of(frame, box, None))


def test_the_face_width_of_the_checkpoint_is_used_unless_another_is_named(eyes):
    runner = Brightness(replace(TWO_STREAMS, face_width=40.0))
    assert Predictor(runner=runner).info.face_width == 40.0
    assert Predictor(runner=runner, face_width=80.0).info.face_width == 80.0


def test_faces_are_searched_on_sampled_frames(eyes):
    rows_of(Brightness(), [(1, 10.0)], detect_every=0.4)
    assert eyes.calls == 20  # 2 frames per second are sampled
    eyes.calls = 0
    rows_of(Brightness(), [(1, 10.0)], detect_every=2.0)
    assert eyes.calls == 5


@pytest.mark.parametrize("fps, every", [(10.0, 3.0), (0.5, 0.2)])
def test_persons_are_tracked_even_if_searches_are_rare(monkeypatch, fps, every):
    """With ``--detect-every 3``, and with one frame in two seconds, two detections still make a person."""
    monkeypatch.setattr("dataloader.detect.open_detector", lambda *_: KnownFaces())
    video = Frames([(1, 20.0)])
    video.fps, video.frames = fps, [(number / fps, frame) for number, (_, frame) in enumerate(video.frames)]
    rows = rows_in(Predictor(runner=Brightness(), detect_every=every), video)
    assert {row.person for row in rows[3:]} == {1}


def test_the_overlay_does_not_change_predictions(eyes, tmp_path):
    """Without an overlay, frames between samples are skipped; the duration of the video is the same."""
    source, options = film(tmp_path / "odd.mp4", [(1, 4.7)]), {"runner": Brightness(), "seconds": 3.0}
    plain = Predictor(overlay=False, **options)(source, out=tmp_path / "plain")
    assert plain.rows[-1].stop == pytest.approx(4.7) and not (tmp_path / "plain/overlay.mp4").exists()
    with_overlay = Predictor(**options)(source, out=tmp_path / "drawn")
    assert (tmp_path / "drawn/overlay.mp4").exists()
    assert with_overlay.rows == plain.rows == Predictor(**options)(source).rows


def test_models_of_single_frames_predict_five_times_per_second(eyes):
    assert [r.start for r in rows_of(Brightness(SINGLE), [(1, 2.0)])] == pytest.approx(np.arange(10) / 5)
    assert [r.start for r in rows_of(Brightness(SINGLE), [(1, 2.0)], every=0.5)] == [0.0, 0.5, 1.0, 1.5]


def test_models_of_consecutive_frames_get_neighbouring_frames(eyes):
    info = ModelInfo.from_json(asdict(ONE_STREAM) | {"frames": 4, "sampling": "window", "downsample": 2})
    runner = Brightness(info)
    (row,) = rows_of(runner, [(1, 4.0)])
    assert row.samples == 20 and runner.encoded == 4  # every second of 40 frames; the 4 in the middle


@pytest.mark.parametrize("streams", ["both", "face", "context"])
def test_a_checkpoint_in_half_precision_gives_the_same_model(streams):
    options = {"streams": streams, "adapter": "none" if streams == "context" else "residual"}
    config, task = configure(**options), make_task(**options)
    runner = TorchRunner(task.model, model_info(config, "clip-caer", Path("m.pt"), task.names), torch.device("cpu"))
    squares = np.random.default_rng(0).integers(0, 256, (2, 2, 4, 3, 64, 64), dtype=np.uint8)
    clips = [squares[n] if streams in ("both", name) else None for n, name in enumerate(("face", "context"))]
    task.model.eval()
    with torch.inference_mode():
        pixels = [None if clip is None else torch.from_numpy(clip).float() / 255 for clip in clips]
        expected = task.model(*pixels).logits.numpy()
    assert run_clips(runner, *clips) == pytest.approx(expected, abs=1e-4)


class Tower(torch.nn.Module):
    def forward(self, pixels):
        return torch.cat([pixels.mean(dim=(2, 3)), pixels.std(dim=(2, 3))], dim=1)


def test_every_frame_has_the_prediction_of_the_evaluation(eyes):
    """A sequence model over a video of 57 frames gives the same numbers as windows that are averaged offline."""
    torch.manual_seed(0)
    model = SequenceModel(6, channels=(8,), width=16, layers=1, heads=2, hidden=16, dropout=0.0).eval()
    numbers = ("valence", "arousal", *(f"AU{n}" for n in range(12)))
    info = replace(SINGLE, kind=FRAMES, names=tuple("abcdefgh"), numbers=numbers, window=20, stride=12)
    runner = TorchRunner(model, info, torch.device("cpu"), encoder=Tower())
    parts = [(1, 2.0), (3, 1.7), (2, 2.0)]
    rows = rows_of(runner, parts)
    task = SequenceTask(model, make_config({"model": "sequence", "window": 20, "stride": 12}))
    squares = np.stack([face_square(frame, BOX, 16) for _, frame in frames_of(parts)])
    features = torch.from_numpy(runner.encode(squares))
    sums, counts = np.zeros((len(features), task.width)), np.zeros((len(features), 1))
    for start in window_starts(len(features), 20, 12):
        part = features[None, start : start + 20]
        with torch.inference_mode():
            out = model(part)
        sums[start : start + 20] += task.numbers(out, torch.zeros(part.shape[:2], dtype=torch.bool))[0].numpy()
        counts[start : start + 20] += 1
    expected = make_predictions(task, AffVideo("v", None, (None,) * 57, {}), sums / counts, 1)
    values = np.array([row.values for row in rows])
    assert [row.start for row in rows] == pytest.approx(np.arange(57) / FPS)
    assert [row.stop for row in rows] == pytest.approx(np.arange(1, 58) / FPS)
    assert rows_of(runner, [(1, 2.0)])[-1].stop == pytest.approx(2.0)  # the last window ends with the video
    assert values[:, 8:10] == pytest.approx(expected.va, abs=1e-5)
    assert values[:, 10:] == pytest.approx(expected.au, abs=1e-5)
    assert [row.predicted for row in rows] == ["abcdefgh"[k] for k in expected.expr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": -1}, "every: must be at least 0.001, got -1"),  # windows that go backwards have no end
        ({"every": "x"}, "every: expected a number, got 'x'"),
        ({"seconds": float("nan")}, "seconds: expected a finite number, got nan"),
        ({"seconds": np.float32("inf")}, "seconds: expected a finite number, got np.float32(inf)"),
        ({"max_persons": 0}, "max_persons: must be at least 1, got 0"),
        ({"max_persons": 1.5}, "max_persons: expected a whole number, got 1.5"),
        ({"threshold": True}, "threshold: expected a number, got True"),
        ({"evry": 2}, "Predictor: no option evry; did you mean every?"),
    ],
)
def test_options_from_python_are_checked_like_flags(options, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        Predictor("none.pt", **options)


@pytest.mark.parametrize(
    ("info", "options", "message"),
    [
        (SINGLE, {"seconds": 8.0}, "--seconds"),
        (replace(ONE_STREAM, kind="numbers", names=(), numbers=("pain",)), {"threshold": 0.5}, "--threshold"),
        (TWO_STREAMS, {"encoder": "x.pt"}, "--encoder"),
        (TWO_STREAMS, {"face_model": "gone.onnx"}, "--face-model .*: no such file"),  # before any video
    ],
)
def test_options_that_mean_nothing_to_a_model_or_cannot_be_used(info, options, message):
    with pytest.raises(UserError, match=message):
        Predictor(runner=Brightness(info), **options)


def test_options_from_python_may_be_numpy_numbers():
    numbers = {"every": np.float32(0.5), "max_persons": np.int64(2), "seconds": 3, "face_width": None}
    options = Predictor(runner=Brightness(), **numbers).config.video
    assert options.every == 0.5 and json.dumps([options.every, options.max_persons]) == "[0.5, 2]"


class Failing(Brightness):
    """A model that returns ``value`` from its second prediction on."""

    def __init__(self, value, info=TWO_STREAMS):
        super().__init__(info)
        self.value = value

    def head(self, face, context):
        values = super().head(face, context)
        if self.info.kind == FRAMES:
            values = np.zeros((*face.shape[:2], 2), np.float32)
            values[:, 5:, 1] = self.value
        elif len(self.calls) > 1:
            values[0, 1] = self.value
        return values


LONG = replace(SINGLE, kind=FRAMES, names=(), numbers=("valence", "arousal"), window=20, stride=10)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "info", [TWO_STREAMS, replace(TWO_STREAMS, kind="numbers", names=(), numbers=("a", "b")), LONG]
)
def test_an_output_that_is_not_finite_is_refused_with_its_time(value, info, eyes, tmp_path):
    source = film(tmp_path / "v.mp4", [(1, 6.0)])
    time = "0.5" if info is LONG else "1.0"
    for out in (None, tmp_path / "run"):
        with pytest.raises(UserError, match=f"^m: its output at {time} s is not finite; .*--amp off"):
            Predictor(runner=Failing(value, info))(source, out=out)
    document = json.loads((tmp_path / "run/timeline.json").read_text(encoding="utf-8"))
    assert document["interrupted"] is True and all(row["to"] <= 4.0 for row in document["rows"])
    assert not (tmp_path / "run/timeline.png").exists()


def test_a_picture_whose_output_is_not_finite_gets_no_overlay(eyes, tmp_path):
    runner = Brightness()
    runner.head = lambda *_: np.full((1, 2), np.nan, np.float32)
    Image.fromarray(frames_of([(1, 1.0)])[0][1]).save(tmp_path / "p.png")
    with pytest.raises(UserError, match="output at 0.0 s is not finite"):
        Predictor(runner=runner)(tmp_path / "p.png", out=tmp_path / "run")
    assert {file.name for file in (tmp_path / "run").iterdir()} == {"timeline.csv", "timeline.json"}


def test_a_sequence_model_does_not_hide_infinite_features(eyes):
    class Overflowing(torch.nn.Module):
        def forward(self, features):
            B, L = features.shape[:2]
            return SequenceOutput(torch.full((B, L, 2), np.inf), None, torch.full((B, L, 12), -np.inf))

    units = tuple(f"AU{n}" for n in range(12))
    info = replace(LONG, numbers=("valence", "arousal", *units))
    with pytest.raises(UserError, match="output at 0.0 s is not finite"):
        rows_of(TorchRunner(Overflowing(), info, torch.device("cpu"), encoder=Tower()), [(1, 3.0)])


def test_after_a_cut_nobody_has_a_prediction_or_a_box(eyes):
    """A person for 8 s, then an empty room: a window with a cut predicts for the scene at its middle."""
    for runner in (Brightness(), Brightness(ONE_STREAM)):
        steps = list(Predictor(runner=runner).follow(Frames([(1, 8.0), ("nobody", 8.0)])))
        rows = [row for step in steps for group in step.rows for row in group]
        assert all(row.values is not None for row in rows if row.middle < 8)
        assert {row.seen for row in rows if row.middle > 8.5} == {NO_ONE}
        assert not any(step.persons for step in steps if step.seconds >= 8.25)
