"""A camera, a fake one since machines that test have none: lines where there is no display, else a window."""

import json

import numpy as np
import pytest

from apps.predict.camera import Screen, line_of
from apps.predict.outputs import record
from apps.predict.run import Predictor
from apps.predict.timeline import CONTEXT_ONLY, NO_ONE, Row
from dataloader.video import CameraVideo
from tests.apps.test_predictor import Brightness
from tests.support.watched import FPS, frames_of, know_faces


class FakeCamera(CameraVideo):
    """Frames of the tiny set in place of what a lens sees."""

    def __init__(self, parts):
        self.name, self.width, self.height, self.fps, self.shown = "camera 0", 160, 120, FPS, frames_of(parts)

    def frames(self, every=None):
        return iter(self.shown)

    def close(self):
        pass


@pytest.fixture
def camera(monkeypatch):
    know_faces(monkeypatch)
    monkeypatch.setattr("apps.predict.outputs.open_video", lambda _: FakeCamera([(1, 7.0), ("nobody", 6.0)]))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")


def test_lines_where_there_is_no_display(camera, tmp_path):
    said = []
    record(Predictor(runner=Brightness()), 0, tmp_path, say=said.append)
    document = json.loads((tmp_path / "timeline.json").read_text())
    answers = [line for line in said if " s: " in line]
    assert len(answers) == document["num_rows"] == len(document["rows"]) and document["source"] == "camera 0"
    assert "no display" in said[0] and "person 1: bright" in answers[0] and "no one" in answers[-1]
    assert (tmp_path / "overlay.mp4").stat().st_size > 1000


def test_a_window_that_is_closed_ends_it(camera, tmp_path, monkeypatch):
    shown, keys = [], iter([255] * 29 + [ord("q")])
    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr("cv2.namedWindow", lambda *_: None)
    monkeypatch.setattr("cv2.imshow", lambda _, picture: shown.append(picture))
    monkeypatch.setattr("cv2.waitKey", lambda _: next(keys))
    monkeypatch.setattr("cv2.getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr("cv2.destroyWindow", lambda _: None)
    timeline = record(Predictor(runner=Brightness()), 0, tmp_path)
    assert len(shown) == 30 and timeline.seconds == pytest.approx(3.0) and not timeline.interrupted
    assert json.loads((tmp_path / "timeline.json").read_text())["rows"][0]["to"] == pytest.approx(3.0)
    blue, _, red = shown[-1][30:50, 70:90].reshape(-1, 3).mean(axis=0)
    assert red > 150 > blue  # OpenCV shows BGR: the yellow face has little blue


def test_an_opencv_without_windows_falls_back_to_lines(monkeypatch):
    import cv2

    def refuse(*_):
        raise cv2.error("not implemented")

    monkeypatch.setenv("DISPLAY", ":9")
    monkeypatch.setattr("cv2.namedWindow", refuse)
    said = []
    with Screen("camera 0", said.append) as screen:
        assert not screen.has_window and "no display" in said[0]


def test_lines():
    assert line_of(Row(1.0, 5.0, None, NO_ONE)).endswith("no one")
    row = Row(1.0, 5.0, 2, CONTEXT_ONLY, (0.25, 0.75), predicted="bright", confidence=0.75)
    assert line_of(row).strip() == "1.0 to 5.0 s: person 2: bright 75 % (context only)"
    assert np.isfinite(row.middle)
