"""A server of ``--mode serve`` in this process with a model that distinguishes dark and bright pictures, and videos."""

import contextlib
import dataclasses
import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from apps.predict.predictor import Predictor
from apps.predict.runners import ModelInfo
from apps.serve.app import listen, open_server
from benchmarks import video_render
from dataloader.track import Person

FPS, WIDTH, HEIGHT = 10, 160, 120
FACE = (50.0, 20.0, 110.0, 80.0)


class DarkOrBright:
    """A runner whose class follows from the pixels, so that the correct predictions of a test video are known."""

    info = ModelInfo("test", "light.pt", names=("Dark", "Bright", "Never"), streams="face", frames=4, size=32)
    warnings = ()

    def encode(self, squares: np.ndarray) -> np.ndarray:
        return squares

    def head(self, face: np.ndarray, context: None = None) -> np.ndarray:
        light = face.mean(axis=(1, 2, 3, 4)) / 255
        return np.stack([4 - 8 * light, 8 * light - 4, np.full_like(light, -9)], axis=1).astype(np.float32)


class OneFacePredictor(Predictor):
    """A predictor that detects one face at a fixed position, and none in frames that are all blue."""

    def __init__(self, runner: Any = None) -> None:
        super().__init__(runner=runner or DarkOrBright(), every=1.0, seconds=2.0)

    def open_tracking(self, video: Any) -> tuple[Any, Any]:
        def detect(frame: np.ndarray) -> Any:
            red, _, blue = frame.reshape(-1, 3).mean(axis=0)
            return SimpleNamespace(bodies=[], has_face=blue < red + 50)

        def update(_: float, detections: Any) -> list[Any]:
            return [Person(1, FACE, True, 1.0)] if detections.has_face else []

        return detect, SimpleNamespace(update=update, end_scene=lambda: None)


def write_video(path: Path, colours: list[tuple[float, Any]]) -> Path:
    """Write an H.264 video of plain colours: ``(seconds, grey or (r, g, b))`` each."""
    frames = [colour for seconds, colour in colours for _ in range(round(seconds * FPS))]
    pictures = (np.full((HEIGHT, WIDTH, 3), colour, dtype=np.uint8) for colour in frames)
    return video_render.write_video(path, ((number / FPS, pixels) for number, pixels in enumerate(pictures)), FPS)


def wait_until(claim: Callable[[], object], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it did not become true in time"
        time.sleep(0.02)


@dataclasses.dataclass
class Served:
    """A running server: the port that it listens on, and the folder that holds what was sent."""

    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Return the status and the JSON or the bytes of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(content) if is_json else content
        finally:
            connection.close()

    def send(self, video: bytes) -> str:
        """Send a video, and return its job."""
        status, answer = self.ask("POST", "/api/videos", video)
        assert status == 201, answer
        return answer["job"]

    def wait(self, job: str) -> dict[str, Any]:
        """Return the state of a job that is done or has failed."""
        state: dict[str, Any] = {}

        def has_ended() -> bool:
            status, answer = self.ask("GET", f"/api/videos/{job}")
            assert status == 200, answer
            state.update(answer)
            return answer["state"] in ("done", "failed")

        wait_until(has_ended)
        return state

    def files(self) -> list[Path]:
        return list(self.folder.iterdir())  # looking deeper would race with the removal

    def wait_until_empty(self) -> None:
        wait_until(lambda: not self.files())


@contextlib.contextmanager
def serving(tmp: Path, *, runner: Any = None, forget_after: float = 60.0, **options: Any) -> Iterator[Served]:
    """Serve with the options of --mode serve; afterwards nothing may be left in ``tmp``."""
    predictor = OneFacePredictor(runner)
    video = dataclasses.replace(predictor.config.video, port=0, **options)
    config = dataclasses.replace(predictor.config, video=video)
    before, tempfile.tempdir = tempfile.tempdir, str(tmp)
    try:
        with listen(config) as listener, open_server(predictor, config, listener, forget_after) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            yield Served(listener.getsockname()[1], next(Path(tmp).glob("emotion-serve-*/videos")))
            server.shutdown()
            thread.join()
    finally:
        tempfile.tempdir = before
    assert not list(Path(tmp).glob("emotion-serve-*"))
