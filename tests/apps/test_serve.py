"""``--mode serve`` by hand: what is sent comes back analysed and is gone; what should not come in is told so."""

import json
import socket
import threading
import time

import av
import numpy as np
import pytest

from apps.serve.app import is_ours
from tests.support.serving import DarkOrBright, Watching, serving, write_video
from tests.support.tools import ROOT

KNOWN = [(4, 10), (4, 245)]  # dark, then bright


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "known.mp4", KNOWN).read_bytes()


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as served:
        yield served


class Held:
    """A model that waits until it is let go."""

    def __init__(self):
        self.about, self.open = DarkOrBright.about, threading.Event()
        self.asked = threading.Event()

    def __call__(self, face, context=None):
        self.asked.set()
        assert self.open.wait(30)
        return DarkOrBright()(face)


@pytest.fixture
def held(tmp_path):
    model = Held()
    with serving(tmp_path, predictor=Watching(runner=model, every=1.0, seconds=2.0), forget_after=2.0) as served:
        served.model = model
        yield served
        model.open.set()


def test_a_video_comes_back_as_its_timeline(served, video):
    job = served.send(video)
    told = served.wait(job)
    assert told["state"] == "done" and told["progress"] == 1.0 and told["error"] == ""
    assert told["files"] == ["timeline.json", "timeline.csv", "timeline.png", "overlay.mp4"]
    status, timeline = served.ask("GET", f"/videos/{job}/timeline.json")
    assert status == 200
    dark = [row["predicted"] for row in timeline["rows"] if row["to"] <= 4]
    bright = [row["predicted"] for row in timeline["rows"] if row["from"] >= 4]
    assert dark == ["Dark"] * 3 and bright == ["Bright"] * 3
    status, film = served.ask("GET", f"/videos/{job}/overlay.mp4", headers={"Range": "bytes=4-11"})
    assert (status, film[:4]) == (206, b"ftyp")
    assert not list(served.folder.rglob("video"))  # what was sent is gone before the answer is fetched


def test_what_is_fetched_and_removed_leaves_nothing(served, video):
    job = served.send(video)
    served.wait(job)
    assert served.left()
    assert served.ask("DELETE", f"/videos/{job}") == (204, b"")
    assert not served.left()
    status, told = served.ask("GET", f"/videos/{job}")
    assert status == 404 and "removed once they are fetched" in told["error"]


def test_an_answer_that_nobody_fetches_is_removed(tmp_path, video):
    with serving(tmp_path, forget_after=0.4) as served:
        job = served.send(video)
        until = time.monotonic() + 20
        while served.left() and time.monotonic() < until:
            time.sleep(0.05)
        assert not served.left()
        assert served.ask("GET", f"/videos/{job}")[0] == 404


def test_a_closed_server_leaves_no_folder_whatever_it_is_doing(tmp_path, video):
    model = Held()
    with serving(tmp_path, predictor=Watching(runner=model, every=1.0, seconds=2.0)) as served:
        served.send(video)
        assert model.asked.wait(20) and served.left()
        threading.Timer(0.3, model.open.set).start()
    assert not list(tmp_path.iterdir())  # and `serving` has looked, too


def test_one_at_a_time_one_waits_a_third_is_told_to_come_back(held, video):
    first = held.send(video)
    assert held.model.asked.wait(20)
    second = held.send(video)
    assert held.ask("GET", f"/videos/{second}")[1]["state"] == "waiting"
    status, told = held.ask("POST", "/videos", video)
    assert status == 503 and "Another video is being analysed" in told["error"]
    held.model.open.set()
    assert held.wait(first)["state"] == held.wait(second)["state"] == "done"


def test_a_video_whose_page_is_closed_is_given_up(held, video):
    job = held.send(video)
    assert held.model.asked.wait(20)
    assert held.ask("DELETE", f"/videos/{job}")[0] == 204
    assert held.left()  # it is being read
    held.model.open.set()
    until = time.monotonic() + 20
    while held.left() and time.monotonic() < until:
        time.sleep(0.02)
    assert not held.left()


def test_a_sender_that_goes_away_leaves_nothing(served, video):
    with socket.create_connection(("127.0.0.1", served.port)) as line:
        line.sendall(f"POST /videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(video)}\r\n\r\n".encode())
        line.sendall(video[:100])
        until = time.monotonic() + 20
        while not served.left() and time.monotonic() < until:
            time.sleep(0.02)
        assert served.left()
    while served.left() and time.monotonic() < until:
        time.sleep(0.02)
    assert not served.left()
    assert served.wait(served.send(video))["state"] == "done"  # its place is free again


def refused(served, content, **more):
    """What is said of a file, of which nothing may stay."""
    status, told = served.ask("POST", "/videos", content, **more)
    assert not served.left()
    assert str(served.folder) not in told["error"]  # where it lay is nobody's business
    return status, told["error"]


def sound(path):
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), dtype=np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        for part in (*stream.encode(frame), *stream.encode()):
            container.mux(part)
    return path.read_bytes()


def test_what_is_no_video_is_told_so_by_its_content(served, tmp_path, video):
    assert refused(served, b"") == (422, "This file is empty.")
    status, told = refused(served, b"This is text, whatever its name.\n" * 40)
    assert status == 422 and told.startswith("Cannot be read as a video")
    status, told = refused(served, sound(tmp_path / "sound.mp4"))
    assert (status, told) == (422, "Has sound alone, no video stream.")
    status, told = refused(served, video[:200])
    assert status == 422 and "Cannot be read" in told
    playlist = f"#EXTM3U\n#EXTINF:10,\nfile://{ROOT}/docs/students.jpg\n".encode()
    assert refused(served, playlist)[0] == 422  # other files of this machine are not read


def test_too_long_and_too_large_are_told_with_the_limit(tmp_path, video):
    with serving(tmp_path, max_minutes=0.1, max_upload_mb=0.05) as served:
        assert refused(served, video) == (422, "This video lasts 8 seconds; at most 6 seconds are analysed here.")
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as line:
            line.sendall(
                b"POST /videos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 60000\r\n\r\n"
            )  # and no byte of it
            answer = line.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 413") and b"has 0.1 MB; at most 0.05 MB are taken" in answer
        assert not served.left()


def test_a_file_that_is_longer_than_it_says_ends_at_the_limit(tmp_path, video, monkeypatch):
    with serving(tmp_path, max_minutes=0.1) as served:
        monkeypatch.setattr("dataloader.video.duration_of", lambda *_: None)
        told = served.wait(served.send(video))
        assert told["state"] == "failed" and "longer than it says; at most 6 seconds" in told["error"]
        assert told["seconds"] < 7  # of 8: the rest was not analysed
        assert not served.left()


def test_a_size_that_is_not_stated_is_asked_for(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as line:
        line.sendall(b"POST /videos HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert line.makefile("rb").read().startswith(b"HTTP/1.1 411")


def test_a_model_that_fails_is_no_secret_and_the_next_video_is_analysed(tmp_path, video, capfd):
    class Broken(DarkOrBright):
        falls = True

        def __call__(self, face, context=None):
            if self.falls:
                raise RuntimeError("out of luck")
            return super().__call__(face)

    model = Broken()
    with serving(tmp_path, predictor=Watching(runner=model, every=1.0, seconds=2.0)) as served:
        told = served.wait(served.send(video))
        assert told["state"] == "failed" and "failed inside the program" in told["error"]
        assert "out of luck" in capfd.readouterr().err and not served.left()
        model.falls = False
        assert served.wait(served.send(video))["state"] == "done"


@pytest.mark.parametrize(
    "path", ["/videos/..%2f..%2fetc%2fpasswd", "/page/../serve.py", "/page/%2e%2e/serve.py", "/nothing"]
)
def test_paths_lead_nowhere_else(served, path):
    status, told = served.ask("GET", path)
    assert status == 404 and b"import" not in json.dumps(told).encode()


def test_only_the_answers_of_a_job_can_be_fetched(served, video):
    job = served.send(video)
    served.wait(job)
    for name in ("video", "..%2f..%2fx", "timeline.txt", ""):
        assert served.ask("GET", f"/videos/{job}/{name}")[0] in (404, 308)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},  # a name that leads here: DNS rebinding
        {"Host": "192.168.1.20"},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_other_sites_are_refused(served, video, headers):
    status, told = served.ask("POST", "/videos", video, headers)
    assert status == 403 and told["error"]
    assert not served.left()


def test_its_own_page_and_programs_are_answered(served):
    own = f"127.0.0.1:{served.port}"
    for headers in (
        {},
        {"Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"},
        {"Host": f"localhost:{served.port}"},
    ):
        assert served.ask("GET", "/about", headers=headers)[0] == 200


def test_the_name_that_is_listened_on_may_be_written_in_capitals():
    assert is_ours("desk.example", "Desk.Example") and not is_ours("other.example", "Desk.Example")


def test_every_answer_forbids_what_the_page_does_not_need(served):
    import http.client

    for path in ("/", "/page/page.js", "/about", "/nothing"):
        line = http.client.HTTPConnection("127.0.0.1", served.port)
        line.request("GET", path)
        headers = line.getresponse().headers
        line.close()
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
