"""A server of ``--mode serve`` in this process, whose model tells dark pictures from bright ones, and videos for it."""

import contextlib
import dataclasses
import http.client
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np

from apps.predict.run import Predictor
from apps.predict.runner import About
from apps.serve.run import listen, open_server

FPS, WIDTH, HEIGHT = 10, 160, 120
FACE = (50.0, 20.0, 110.0, 80.0)


class DarkOrBright:
    """The class follows from the pixels, so that the right answer to a drawn video is known."""

    about = About("test", "light.pt", names=("Dark", "Bright", "Never"), streams="face", frames=4, size=32)

    def __call__(self, face: np.ndarray, context: None = None) -> np.ndarray:
        light = face.mean(axis=(1, 2, 3, 4)) / 255
        return np.stack([4 - 8 * light, 8 * light - 4, np.full_like(light, -9)], axis=1).astype(np.float32)


class Watching(Predictor):
    """Sees one face, always at the same place, and none in frames that are all blue."""

    def _eyes(self, fps: float) -> tuple[Any, Any]:
        def detect(frame: np.ndarray) -> Any:
            red, _, blue = frame.reshape(-1, 3).mean(axis=0)
            return SimpleNamespace(bodies=[], found=blue < red + 50)

        def update(_: float, found: Any) -> list[Any]:
            return [SimpleNamespace(id=1, face=FACE, seen=True)] if found.found else []

        return detect, SimpleNamespace(update=update)


def write_video(path: Path, colours: list[tuple[float, Any]]) -> Path:
    """H.264 of plain colours: ``(seconds, grey or (r, g, b))`` each."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for seconds, colour in colours:
            picture = np.full((HEIGHT, WIDTH, 3), colour, dtype=np.uint8)
            for _ in range(round(seconds * FPS)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


@dataclasses.dataclass
class Served:
    """A running server: where it listens, and where it keeps what was sent."""

    port: int
    folder: Path

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status, and what the JSON says, or bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            content = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, json.loads(content) if is_json else content
        finally:
            connection.close()

    def send(self, video: bytes) -> str:
        status, told = self.ask("POST", "/videos", video)
        assert status == 201, told
        return told["job"]

    def wait(self, job: str) -> dict[str, Any]:
        """Until it is done or has failed."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            status, told = self.ask("GET", f"/videos/{job}")
            assert status == 200, told
            if told["state"] in ("done", "failed"):
                return told
            time.sleep(0.02)
        raise AssertionError(f"not done after 30 s: {told}")

    def left(self) -> list[Path]:
        return list(self.folder.iterdir())  # looking deeper would race with the removal


@contextlib.contextmanager
def serving(tmp: Path, *, predictor: Any = None, forget_after: float = 60.0, **options: Any) -> Iterator[Served]:
    """``options``: of --mode serve."""
    import tempfile

    predictor = predictor or Watching(runner=DarkOrBright(), every=1.0, seconds=2.0)
    video = dataclasses.replace(predictor.config.video, port=0, **options)
    config = dataclasses.replace(predictor.config, video=video)
    before, tempfile.tempdir = tempfile.tempdir, str(tmp)
    try:
        with listen(config) as listener, open_server(predictor, config, listener, forget_after) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
            thread.start()
            yield Served(listener.getsockname()[1], next(Path(tmp).glob("emotion-serve-*")))
            server.shutdown()
            thread.join()
    finally:
        tempfile.tempdir = before
    assert not list(Path(tmp).glob("emotion-serve-*"))
