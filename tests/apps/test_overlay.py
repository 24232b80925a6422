"""The overlay: frames wait for their predictions, videos keep their times, and cameras are shown at once."""

import json
from collections import deque
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from apps.drawing import VideoWriter, class_colours
from apps.predict.overlay import MAX_WAITING, Overlay, Screen, draw_strip, extend_lane, free_place, row_line
from apps.predict.predictor import Predictor
from apps.predict.runners import FRAMES, ModelInfo
from apps.predict.timeline import CONTEXT_ONLY, FACE, NO_ONE, Row, Step
from dataloader.video import CameraVideo
from tests.support import watched
from tests.support.watched import Brightness, frames_of, know_faces

FPS, COUNT = 25.0, 220  # more frames than fit without compression


def test_frames_wait_for_a_model_that_reads_hundreds_of_them(tmp_path):
    info = ModelInfo("sequence", "m", kind=FRAMES, names=("calm",), streams="face", frames=1)
    video = SimpleNamespace(is_still=False, fps=FPS, width=960, height=540)
    overlay = Overlay(tmp_path, info, video, None, 1, write=False)
    frame = np.random.default_rng(0).integers(90, 110, (540, 960, 3), dtype=np.uint8)
    pictures = [overlay.add(Step(n / FPS, frame, [], [])) for n in range(COUNT)]
    assert pictures == [None] * COUNT and overlay.waiting_bytes < MAX_WAITING
    rows = [[Row(n / FPS, (n + 1) / FPS, None, FACE, (1.0,), 1, 1, "calm", 1.0)] for n in range(COUNT)]
    last = overlay.add(Step(COUNT / FPS, None, [], rows))
    assert not overlay.waiting and overlay.waiting_bytes == 0
    assert np.abs(last[200:500, 200:900].astype(int) - 100).max() < 40  # below the answer in the corner
    assert last[:60, :300].std() > 20  # the answer


@pytest.mark.parametrize("between", [0.001, 0.04, 100.0, 6 * 3600.0])
def test_frames_of_any_rate_keep_their_times(tmp_path, between):
    """Hours between dependent frames exceed the counters of the format with fine time units."""
    times = [n * between for n in range(6)]
    with VideoWriter(tmp_path / "a.mp4", 1 / between, (64, 48)) as writer:
        for number, seconds in enumerate(times):
            writer.add(seconds, np.full((48, 64, 3), 40 * number, np.uint8))
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx(times, abs=1e-4)


def test_stretches_of_one_colour_are_drawn_as_one():
    """An hour at five answers per second would otherwise be 300 areas in every frame."""
    rng, single, lane = np.random.default_rng(0), [], deque()
    for number in range(400):
        if rng.random() < 0.9:  # else a gap
            colour = ((200, 0, 0), (0, 0, 200))[int(rng.random() < 0.2)]
            single.append((number * 0.2, (number + 1) * 0.2, colour))
            extend_lane(lane, *single[-1])
    pictures = [np.zeros((100, 400, 3), np.uint8) for _ in range(2)]
    for picture, stretches in zip(pictures, (single, lane), strict=True):
        draw_strip(picture, 20, [("1", stretches)], 79.3, 12)
    assert len(lane) < 200 < len(single) and (pictures[0] == pictures[1]).all()
    assert {(200, 0, 0), (0, 0, 200)} <= set(map(tuple, pictures[0].reshape(-1, 3).tolist()))


def test_answers_and_stretches_that_are_over_are_forgotten(tmp_path):
    info = ModelInfo("clip-caer", "m", names=("calm",))
    overlay = Overlay(tmp_path, info, SimpleNamespace(is_still=False, fps=1.0, width=320, height=240), 1.0, 1)
    frame = np.zeros((240, 320, 3), np.uint8)
    with overlay:
        for second in range(300):
            is_shown = second % 10 < 5  # seen for 5 of 10 seconds
            rows = [[Row(second, second + 1, 1, FACE, (1.0,), 1, 1, "calm", 1.0)]] if is_shown else []
            overlay.add(Step(second, frame, [], rows))
    assert len(overlay.answers[1]) <= 2 and 6 <= len(overlay.lanes[1]) <= 8
    assert {round(stop - start) for start, stop, _ in overlay.lanes[1]} == {5}
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 300


def test_every_class_has_its_own_colour():
    colours = class_colours([f"class {n}" for n in range(20)] + ["Neutrality"])
    assert len(set(colours.values())) == 21 and colours["Neutrality"] == "#8C8C8C"


class FakeCamera(CameraVideo):
    """Frames of the tiny set instead of a camera, which test machines do not have."""

    def __init__(self, parts):
        self.name, self.width, self.height, self.fps = "camera 0", 160, 120, watched.FPS
        self.pictures = frames_of(parts)

    def frames(self, every=None):
        return iter(self.pictures)

    def close(self):
        pass


@pytest.fixture
def camera(monkeypatch):
    know_faces(monkeypatch)
    monkeypatch.setattr("apps.predict.predictor.open_video", lambda _: FakeCamera([(1, 7.0), ("nobody", 6.0)]))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")


def test_a_camera_prints_lines_if_there_is_no_display(camera, tmp_path):
    lines = []
    Predictor(runner=Brightness()).record(0, tmp_path, say=lines.append)
    document = json.loads((tmp_path / "timeline.json").read_text())
    answers = [line for line in lines if " s: " in line]
    assert len(answers) == document["num_rows"] == len(document["rows"]) and document["source"] == "camera 0"
    assert "no display" in lines[0] and "person 1: bright" in answers[0] and "no one" in answers[-1]
    assert (tmp_path / "overlay.mp4").stat().st_size > 1000


def test_a_window_that_is_closed_ends_a_camera(camera, tmp_path, monkeypatch):
    pictures, keys = [], iter([255] * 29 + [ord("q")])
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr("cv2.namedWindow", lambda *_: None)
    monkeypatch.setattr("cv2.imshow", lambda _, picture: pictures.append(picture))
    monkeypatch.setattr("cv2.waitKey", lambda _: next(keys))
    monkeypatch.setattr("cv2.getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr("cv2.destroyWindow", lambda _: None)
    timeline = Predictor(runner=Brightness()).record(0, tmp_path)
    assert len(pictures) == 30 and timeline.seconds == pytest.approx(3.0) and not timeline.interrupted
    assert json.loads((tmp_path / "timeline.json").read_text())["rows"][0]["to"] == pytest.approx(3.0)
    blue, _, red = pictures[-1][30:50, 70:90].reshape(-1, 3).mean(axis=0)
    assert red > 150 > blue  # OpenCV shows BGR: the yellow face has little blue


def test_an_opencv_without_windows_falls_back_to_lines(monkeypatch):
    def refuse(*_):
        raise cv2.error("not implemented")

    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr("cv2.namedWindow", refuse)
    lines = []
    with Screen("camera 0", lines.append) as screen:
        assert not screen.has_window and "no display" in lines[0]


def test_a_prediction_as_a_line():
    assert row_line(Row(1.0, 5.0, None, NO_ONE)).endswith("no one")
    row = Row(1.0, 5.0, 2, CONTEXT_ONLY, (0.25, 0.75), predicted="bright", confidence=0.75)
    assert row_line(row).strip() == "1.0 to 5.0 s: person 2: bright 75 % (context only)"


def test_plates_do_not_overlap_if_there_is_space():
    rng, plates = np.random.default_rng(0), []
    for _ in range(12):
        x, y = rng.integers(0, 500), rng.integers(0, 300)
        left, top = free_place((x, y, x + 60, y + 60), 150, 30, 2, (640, 400), plates)
        assert 0 <= left <= 640 - 150 and 0 <= top <= 400 - 30
        plates.append((left, top, left + 150, top + 30))
    covered = np.zeros((400, 640), dtype=int)
    for left, top, right, bottom in plates:
        covered[top:bottom, left:right] += 1
    assert covered.max() == 1


def test_a_model_of_simulated_people_has_a_warning_in_every_picture():
    note = "Drawings of simulated students; they support no claim about people."
    assert "drawings" in ModelInfo("clip-caer", "m.pt", trained_on=note).caution
    assert ModelInfo("clip-caer", "m.pt", trained_on="Students of one school.").caution == ""
    assert ModelInfo("clip-caer", "m.pt").caution == ""
