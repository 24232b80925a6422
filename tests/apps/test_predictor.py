"""A model behind windows of a video: which frames it sees, how often, and what it says where there is no face."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from apps.predict.run import Predictor
from apps.predict.runner import FRAMES, About
from apps.predict.timeline import CONTEXT_ONLY, FACE, NO_FACE, NO_ONE
from apps.predict.torch_runner import SequenceRunner, TorchRunner, describe
from apps.predict.watch import Watcher
from apps.predict.windows import Grid
from dataloader.affwild import Video as AffVideo
from dataloader.detect import Detections, Found
from dataloader.sequences import window_starts
from dataloader.squares import face_square
from dataloader.track import Tracker
from engine.config import make_config
from engine.long_videos.predict import WindowAverage, make_predictions
from engine.methods.sequence import SequenceTask
from models.sequence import SequenceModel
from tests.support.tiny import FACE as BOX
from tests.support.tools import configure, make_task
from tests.support.watched import FPS, KnownFaces, film, frames_of
from utils.errors import UserError

ABOUT = About(family="clip-caer", model="m", names=("dark", "bright"), frames=8, size=16, crop_body=True)


VIEWS = ("face", "context")


class Frames:
    """A video in memory."""

    name, duration, damaged, width, height, fps, end = "drawn", None, None, 160, 120, FPS, 0.0

    def __init__(self, parts):
        self.shown = frames_of(parts)

    def __iter__(self):
        return iter(self.shown)


class Brightness:
    """Features are mean colours; the logit of "bright" is how bright the face's red is. Notes what it is asked."""

    def __init__(self, about=ABOUT):
        self.about, self.encoded, self.heads = about, 0, []

    def encode(self, squares):
        self.encoded += len(squares)
        return squares.mean(axis=(2, 3), dtype=np.float32)

    def head(self, face, context):
        self.heads.append((face, context))
        seen = context if face is None else face
        bright = seen[..., 0].mean(axis=1) / 25.5 - 5
        return np.stack([-bright, bright], axis=1).astype(np.float32)


def rows_of(runner, parts, **options):
    predictor = Predictor(runner=runner, **options)
    return [row for step in predictor.follow(Frames(parts)) for rows in step.rows for row in rows]


def test_each_sampled_frame_is_encoded_once(eyes):
    runner = Brightness()
    rows = rows_of(runner, [(1, 10.0)])
    assert [(r.start, r.stop) for r in rows] == [(s, s + 4.0) for s in range(7)]
    assert all(face.shape == (1, 8, 3) for face, _ in runner.heads)
    assert runner.encoded == 2 * 20  # 8 frames in 4 s, 10 s, two streams
    assert all(r.faces == r.samples == 8 and r.seen == FACE and r.person == 1 for r in rows)


def test_frames_without_a_face_are_not_chosen(eyes):
    """Of the window's frames half hide the face; the model sees the others, in both streams, the last repeated."""
    runner = Brightness()
    (row,) = rows_of(runner, [(1, 2.0), ("hidden", 2.0)])
    (face, context) = runner.heads[0]
    assert (row.faces, row.samples, row.seen) == (4, 8, FACE)
    assert (face[0, :, 0] > face[0, :, 2]).all()  # yellow, the face of class 1; what hides it is green
    assert np.array_equal(face[0, 3:], np.repeat(face[0, 3:4], 5, axis=0))
    assert len(np.unique(context[0], axis=0)) == 4


def test_context_alone_is_marked(eyes):
    rows = rows_of(Brightness(), [(1, 4.0), ("hidden", 12.0)])
    assert rows[0].seen == FACE and rows[-1].seen == CONTEXT_ONLY
    assert rows[-1].faces == 0 and rows[-1].predicted in ABOUT.names


def test_a_body_without_a_known_person_is_judged_by_context(eyes):
    rows = rows_of(Brightness(), [("hidden", 6.0)])
    assert {(r.person, r.seen) for r in rows} == {(None, CONTEXT_ONLY)} and all(r.predicted for r in rows)


def test_a_model_of_faces_gives_no_answer_without_one(eyes):
    runner = Brightness(
        About(family="dfer-clip", model="m", names=("dark", "bright"), streams="face", frames=8, size=16)
    )
    rows = rows_of(runner, [(1, 4.0), ("hidden", 4.0)])
    assert rows[0].predicted and rows[0].seen == FACE
    assert rows[-1].seen in (NO_FACE, NO_ONE) and rows[-1].predicted == "" and rows[-1].values is None
    assert all(context is None for _, context in runner.heads)


def test_a_video_of_another_size_shows_as_much_of_the_head():
    frame, box = next(iter(Frames([(2, 1.0)])))[1], tuple(map(float, BOX))
    large, grown = frame.repeat(3, axis=0).repeat(3, axis=1), tuple(3 * edge for edge in box)

    def seen(frame, box, face_width):
        detector, about = lambda _: Detections([Found(*box, 1.0)], []), replace(ABOUT, face_width=face_width)
        sample = Watcher(detector, Tracker(1, hits=1), about, Grid(1.0, FPS), 0.2).look(0.0, frame)
        return sample.views[1].squares["face"].astype(int)

    as_trained = seen(frame, box, 40.0)
    assert np.abs(seen(large, grown, 40.0) - as_trained).max() <= 3
    assert np.abs(seen(large, grown, None) - as_trained).max() > 30  # 20 pixels of a face three times as wide
    assert np.array_equal(as_trained, seen(frame, box, None))


def test_the_width_of_a_checkpoint_holds_unless_another_is_named(eyes):
    knows = Brightness(replace(ABOUT, face_width=40.0))
    assert Predictor(runner=knows).about.face_width == 40.0
    assert Predictor(runner=knows, face_width=80.0).about.face_width == 80.0


def test_nobody_is_a_row_too(eyes):
    runner = Brightness()
    rows = rows_of(runner, [("nobody", 6.0)])
    assert {(r.person, r.seen, r.predicted, r.values) for r in rows} == {(None, NO_ONE, "", None)}
    assert len(rows) == 3 and not runner.heads


def test_a_detector_that_cannot_be_used_is_refused_before_any_video(tmp_path):
    with pytest.raises(UserError, match="--face-model .*: no such file"):
        Predictor(runner=Brightness(), face_model=str(tmp_path / "gone.onnx"))


def test_searches_are_made_on_sampled_frames(eyes):
    rows_of(Brightness(), [(1, 10.0)], detect_every=0.4)
    assert eyes.calls == 20  # 2 frames a second are sampled
    eyes.calls = 0
    rows_of(Brightness(), [(1, 10.0)], detect_every=2.0)
    assert eyes.calls == 5


@pytest.mark.parametrize("fps, every", [(10.0, 3.0), (0.5, 0.2)])
def test_persons_are_known_however_rare_searches_are(monkeypatch, fps, every):
    """``--detect-every 3``, and a video of a frame in two seconds: two sightings still make a person."""
    monkeypatch.setattr("dataloader.detect.open_detector", lambda *_: KnownFaces())
    video = Frames([(1, 20.0)])
    video.fps, video.shown = fps, [(number / fps, frame) for number, (_, frame) in enumerate(video.shown)]
    predictor = Predictor(runner=Brightness(), detect_every=every)
    rows = [row for step in predictor.follow(video) for rows in step.rows for row in rows]
    assert {row.person for row in rows[3:]} == {1}


def test_what_is_drawn_changes_no_answer(eyes, tmp_path):
    """Without an overlay frames between samples are passed over; the video lasts as long."""
    source, options = film(tmp_path / "odd.mp4", [(1, 4.7)]), {"runner": Brightness(), "seconds": 3.0}
    told = Predictor(overlay=False, **options)(source, out=tmp_path / "plain")
    assert told.rows[-1].stop == pytest.approx(4.7)
    assert not (tmp_path / "plain/overlay.mp4").exists()
    drawn = Predictor(**options)(source, out=tmp_path / "drawn")
    assert (tmp_path / "drawn/overlay.mp4").exists()
    assert drawn.rows == told.rows == Predictor(**options)(source).rows


def test_models_of_single_frames_answer_five_times_a_second(eyes):
    about = About(family="frame-expr", model="m", names=("dark", "bright"), streams="face", frames=1, size=16)
    rows = rows_of(Brightness(about), [(1, 2.0)])
    assert [r.start for r in rows] == pytest.approx(np.arange(10) / 5)
    rows = rows_of(Brightness(about), [(1, 2.0)], every=0.5)
    assert [r.start for r in rows] == [0.0, 0.5, 1.0, 1.5]


def test_flags_that_mean_nothing_to_a_model_are_refused(eyes):
    single = About(family="frame-expr", model="m", names=("dark", "bright"), streams="face", frames=1, size=16)
    numbers = About(family="dfer-clip", model="m", kind="numbers", numbers=("pain",), streams="face", size=16)
    for about, option in ((single, {"seconds": 8.0}), (numbers, {"threshold": 0.5}), (ABOUT, {"encoder": "x.pt"})):
        with pytest.raises(UserError, match=f"--{next(iter(option))}"):
            Predictor(runner=Brightness(about), **option)


def test_neighbouring_frames_where_the_model_reads_those(eyes):
    about = About(family="emoclip", model="m", names=("dark", "bright"), streams="face", frames=4, size=16)
    runner = Brightness(About.from_json(about.as_json() | {"sampling": "window", "downsample": 2}))
    (row,) = rows_of(runner, [(1, 4.0)])
    assert row.samples == 20 and runner.encoded == 4  # every second of 40 frames; the 4 in the middle


@pytest.mark.parametrize("streams", ["both", "face", "context"])
def test_a_checkpoint_in_halves_is_the_model_itself(streams):
    config = configure(streams=streams, adapter="none" if streams == "context" else "residual")
    task = make_task(streams=streams, adapter="none" if streams == "context" else "residual")
    runner = TorchRunner(task.model, describe(config, "clip-caer", Path("m.pt"), task.names), torch.device("cpu"))
    squares = np.random.default_rng(0).integers(0, 256, (2, 2, 4, 3, 64, 64), dtype=np.uint8)
    face, context = (part if streams in ("both", name) else None for part, name in zip(squares, VIEWS, strict=True))
    task.model.eval()
    with torch.inference_mode():
        given = [None if part is None else torch.from_numpy(part).float() / 255 for part in (face, context)]
        expected = task.model(*given).logits.numpy()
    assert runner(face, context) == pytest.approx(expected, abs=1e-4)


def test_a_model_that_cannot_be_halved_gets_pixels(eyes):
    class Pixels:
        about = ABOUT

        def __call__(self, face, context):
            assert face.shape == context.shape == (1, 8, 3, 16, 16) and face.dtype == np.uint8
            return np.array([[0.0, 1.0]], dtype=np.float32)

    rows = rows_of(Pixels(), [(1, 5.0)])
    assert len(rows) == 2 and all(r.predicted == "bright" for r in rows)


class Tower(torch.nn.Module):
    def forward(self, pixels):
        return torch.cat([pixels.mean(dim=(2, 3)), pixels.std(dim=(2, 3))], dim=1)


def test_every_frame_as_evaluation_answers(eyes):
    """A sequence model over a video of 57 frames: the same numbers as windows that are cut and averaged offline."""
    torch.manual_seed(0)
    model = SequenceModel(6, channels=(8,), width=16, layers=1, heads=2, hidden=16, dropout=0.0).eval()
    numbers = ("valence", "arousal", *(f"AU{n}" for n in range(12)))
    about = About(
        family="sequence", model="m", kind=FRAMES, names=tuple("abcdefgh"), numbers=numbers, streams="face", size=16,
        frames=1, window=20, stride=12,
    )  # fmt: skip
    runner = SequenceRunner(model, Tower(), about, torch.device("cpu"))
    parts = [(1, 2.0), (3, 1.7), (2, 2.0)]
    rows = rows_of(runner, parts)
    config = make_config({"model": "sequence", "window": 20, "stride": 12})
    task = SequenceTask(model, config)
    squares = np.stack([face_square(frame, BOX, 16) for _, frame in frames_of(parts)])
    features = torch.from_numpy(runner.encode(squares))
    average = WindowAverage(len(features), task.width)
    for start in window_starts(len(features), 20, 12):
        part = features[None, start : start + 20]
        with torch.inference_mode():
            out = model(part)
        average.add(int(start), task.numbers(out, torch.zeros(part.shape[:2], dtype=torch.bool))[0].numpy())
    expected = make_predictions(task, AffVideo("v", None, (None,) * 57, {}), average.mean(), 1)
    told = np.array([row.values for row in rows])
    assert [row.start for row in rows] == pytest.approx(np.arange(57) / FPS)
    assert [row.stop for row in rows] == pytest.approx(np.arange(1, 58) / FPS)
    assert rows_of(runner, [(1, 2.0)])[-1].stop == pytest.approx(2.0)  # the last window ends with the video
    assert told[:, 8:10] == pytest.approx(expected.va, abs=1e-5)
    assert told[:, 10:] == pytest.approx(expected.au, abs=1e-5)
    assert [row.predicted for row in rows] == ["abcdefgh"[k] for k in expected.expr]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"every": -1}, "every: must be at least 0.001, got -1"),
        ({"every": "x"}, "every: expected a number, got 'x'"),
        ({"seconds": float("nan")}, "seconds: expected a finite number, got nan"),
        ({"seconds": np.float32("inf")}, "seconds: expected a finite number, got np.float32(inf)"),
        ({"max_persons": 0}, "max_persons: must be at least 1, got 0"),
        ({"max_persons": 1.5}, "max_persons: expected a whole number, got 1.5"),
        ({"threshold": True}, "threshold: expected a number, got True"),
    ],
)
def test_numbers_from_python_are_held_to_the_ranges_of_the_flags(option, told):
    """Windows that go backwards have no end."""
    with pytest.raises(UserError) as caught:
        Predictor("none.pt", **option)
    assert str(caught.value) == told


def test_numbers_from_python_may_be_of_numpy():
    given = {"every": np.float32(0.5), "max_persons": np.int64(2), "seconds": 3, "face_width": None}
    options = Predictor(runner=SimpleNamespace(about=ABOUT, encode=None), **given).config.video
    assert options.every == 0.5 and json.dumps([options.every, options.max_persons]) == "[0.5, 2]"
