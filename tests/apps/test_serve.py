"""``--mode serve`` by HTTP requests: videos are analysed and removed, and wrong requests are refused."""

import http.client
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import cv2
import numpy as np
import pytest

from apps.predict import predictor
from apps.serve.app import is_own_name, signals_as_interrupt
from tests.support.exported import export_checkpoint
from tests.support.filming import sound
from tests.support.serving import HEIGHT, WIDTH, DarkOrBright, Served, serving, wait_until, write_video
from tests.support.tools import ROOT, error_of
from utils.files import temporary_folder

DARK_THEN_BRIGHT = [(4, 10), (4, 245)]
WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "known.mp4", DARK_THEN_BRIGHT).read_bytes()


class Gate(DarkOrBright):
    """A model that waits until it is opened."""

    def __init__(self):
        self.open, self.is_asked, self.calls = threading.Event(), threading.Event(), 0

    def head(self, face, context=None):
        self.calls += 1
        self.is_asked.set()
        assert self.open.wait(300)
        return super().head(face)


@pytest.fixture
def gated(tmp_path):
    gate = Gate()
    with serving(tmp_path, runner=gate, forget_after=2.0) as served:
        served.model = gate
        yield served
        gate.open.set()


def test_a_video_is_answered_with_its_timeline_and_leaves_no_files(served, video):
    job = served.send(video)
    state = served.wait(job)
    assert (state["state"], state["progress"], state["error"]) == ("done", 1.0, "")
    assert state["files"] == ["timeline.json", "timeline.csv", "timeline.png", "overlay.mp4"]
    status, timeline = served.ask("GET", f"/api/videos/{job}/timeline.json")
    assert status == 200
    assert [row["predicted"] for row in timeline["rows"] if row["to"] <= 4] == ["Dark"] * 3
    assert [row["predicted"] for row in timeline["rows"] if row["from"] >= 4] == ["Bright"] * 3
    status, part = served.ask("GET", f"/api/videos/{job}/overlay.mp4", headers={"Range": "bytes=4-11"})
    assert (status, part[:4]) == (206, b"ftyp")
    assert not list(served.folder.rglob("video"))  # the upload is removed before the answer is fetched
    for name in ("video", "..%2f..%2fx", "timeline.txt", ""):
        assert served.ask("GET", f"/api/videos/{job}/{name}")[0] in (404, 308)
    assert served.files() and served.ask("DELETE", f"/api/videos/{job}") == (204, b"")
    assert not served.files()
    status, answer = served.ask("GET", f"/api/videos/{job}")
    assert status == 404 and "removed after they are fetched" in answer["error"]


def test_an_answer_that_is_not_fetched_is_removed(tmp_path, video):
    with serving(tmp_path, forget_after=0.4) as served:
        job = served.send(video)
        served.wait_until_empty()
        assert served.ask("GET", f"/api/videos/{job}")[0] == 404


def test_a_closed_server_leaves_no_folder_whatever_it_is_doing(tmp_path, video):
    gate = Gate()
    with serving(tmp_path, runner=gate) as served:
        served.send(video)
        assert gate.is_asked.wait(300) and served.files()
        threading.Timer(0.3, gate.open.set).start()
    assert not list(tmp_path.iterdir())  # `serving` checks this too


def test_one_video_is_analysed_one_waits_and_a_third_is_refused(gated, video):
    first = gated.send(video)
    assert gated.model.is_asked.wait(300)
    second = gated.send(video)
    assert gated.ask("GET", f"/api/videos/{second}")[1]["state"] == "waiting"
    status, answer = gated.ask("POST", "/api/videos", video)
    assert (status, answer["error"]) == (503, "2 other videos are being sent or analysed. Try again in a minute.")
    gated.model.open.set()
    assert gated.wait(first)["state"] == gated.wait(second)["state"] == "done"


def test_the_analysis_of_a_closed_page_is_stopped(gated, video):
    job = gated.send(video)
    assert gated.model.is_asked.wait(300)
    assert gated.ask("DELETE", f"/api/videos/{job}")[0] == 204
    assert gated.files()  # the file is being read
    gated.model.open.set()
    gated.wait_until_empty()


@contextmanager
def post(served, header, body=b"", path="/api/videos"):
    """Begin to send a video whose size ``header`` states, and yield the connection."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=300) as line:
        line.sendall(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}\r\n\r\n".encode() + body)
        yield line


def test_a_sender_that_disconnects_leaves_no_files(served, video):
    with post(served, f"Content-Length: {len(video)}", video[:100]):
        wait_until(served.files)
    served.wait_until_empty()
    assert served.wait(served.send(video))["state"] == "done"  # its place is free again


def test_a_sender_that_disconnects_while_its_file_is_checked_leaves_no_files(served, video, checking):
    with post(served, f"Content-Length: {len(video)}", video):
        assert checking.begun.wait(300)
    checking.go_on.set()
    wait_until(lambda: not served.files(), 30)  # long before an answer that nobody fetches would be removed


def test_answers_that_were_not_fetched_are_the_reason_of_a_refusal(served, video):
    jobs = []
    for _ in range(4):
        jobs.append(served.send(video))
        assert served.wait(jobs[-1])["state"] == "done"
    status, answer = served.ask("POST", "/api/videos", video)
    message = "Answers of other videos were not fetched yet; after 60 seconds they are removed."
    assert (status, answer["error"]) == (503, message)
    for job in jobs:
        assert served.ask("DELETE", f"/api/videos/{job}")[0] == 204
    served.wait_until_empty()
    assert served.wait(served.send(video))["state"] == "done"


def refusal(served, content):
    """Return status and message for a refused file, of which no file may remain."""
    status, answer = served.ask("POST", "/api/videos", content)
    assert not served.files()
    assert str(served.folder) not in answer["error"]  # the sender does not see the path
    return status, answer["error"]


def test_a_file_that_is_not_a_video_is_refused_by_its_content(served, tmp_path, video):
    assert refusal(served, b"") == (422, "This file is empty.")
    assert refusal(served, sound(tmp_path / "sound.mp4").read_bytes()) == (422, "Has only sound, no video stream.")
    for content in (b"This is text, whatever its name.\n" * 40, video[:200]):
        status, message = refusal(served, content)
        assert status == 422 and message.startswith("Cannot be read as a video")
    playlist = f"#EXTM3U\n#EXTINF:10,\nfile://{ROOT}/docs/students.jpg\n".encode()
    assert refusal(served, playlist)[0] == 422  # other files of this machine are not read


def test_videos_that_are_too_long_or_too_large_are_refused_with_the_limit(tmp_path, video):
    with serving(tmp_path, max_minutes=0.1, max_upload_mb=0.05) as served:
        assert refusal(served, video) == (422, "This video lasts 8 seconds; at most 6 seconds are analysed here.")
        with post(served, "Content-Length: 60000") as line:  # no byte of the body is sent
            answer = line.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 413") and b"has 0.1 MB; at most 0.05 MB are accepted" in answer
        assert not served.files()


def test_a_video_that_is_longer_than_its_header_says_is_stopped_at_the_limit(tmp_path, video, monkeypatch):
    with serving(tmp_path, max_minutes=0.1) as served:
        monkeypatch.setattr("dataloader.video.duration_of", lambda *_: None)
        state = served.wait(served.send(video))
        assert state["state"] == "failed" and "longer than its file states; at most 6 seconds" in state["error"]
        assert state["seconds"] < 7 and not served.files()  # of 8: the rest was not analysed


def test_an_upload_without_a_stated_size_is_refused(served):
    with post(served, "Transfer-Encoding: chunked", b"0\r\n\r\n") as line:
        assert line.makefile("rb").read().startswith(b"HTTP/1.1 411")


def test_a_failing_model_is_reported_and_the_next_video_is_analysed(tmp_path, video, capfd):
    class Broken(DarkOrBright):
        is_broken = True

        def head(self, face, context=None):
            if self.is_broken:
                raise RuntimeError("out of luck")
            return super().head(face)

    model = Broken()
    with serving(tmp_path, runner=model) as served:
        state = served.wait(served.send(video))
        assert state["state"] == "failed" and "failed because of a bug" in state["error"]
        assert "out of luck" in capfd.readouterr().err and not served.files()
        model.is_broken = False
        assert served.wait(served.send(video))["state"] == "done"


@pytest.mark.parametrize(
    "path", ["/api/videos/..%2f..%2fetc%2fpasswd", "/page/../jobs.py", "/page/%2e%2e/jobs.py", "/nothing"]
)
def test_paths_lead_nowhere_else(served, path):
    status, answer = served.ask("GET", path)
    assert status == 404 and b"import" not in json.dumps(answer).encode()


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},  # a name that resolves to this machine: DNS rebinding
        {"Host": "192.168.1.20"},
        {"Origin": "https://attacker.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_other_sites_are_refused(served, video, headers):
    status, answer = served.ask("POST", "/api/videos", video, headers)
    assert status == 403 and answer["error"] and not served.files()


def test_its_own_page_and_programs_are_answered(served):
    same_origin = {"Origin": served.address.rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    for headers in ({}, same_origin, {"Host": f"localhost:{served.port}"}):
        assert served.ask("GET", "/api/health", headers=headers)[0] == 200
    assert is_own_name("desk.example", "Desk.Example") and not is_own_name("other.example", "Desk.Example")


def test_every_response_has_headers_that_forbid_other_sources(served):
    for path in ("/", "/page/page.js", "/api/health", "/nothing"):
        connection = http.client.HTTPConnection("127.0.0.1", served.port)
        connection.request("GET", path)
        headers = connection.getresponse().headers
        connection.close()
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export_checkpoint(tmp_path_factory.mktemp("model"), {"model": "clip-caer", "iec_text": "both"})[1]


@contextmanager
def command(tmp_path, exported):
    """Start the command in a separate process, and yield the process and its server."""
    words = ["--mode", "serve", "--onnx", str(exported), "--port", "0", "--seconds", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_TORCH, *words],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("open http://127.0.0.1:") and line.endswith("/ in a browser; Ctrl-C ends it\n"), line
        yield process, Served(int(line.split(":")[2].split("/")[0]), next(tmp_path.glob("emotion-serve-*/videos")))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_an_exported_model_without_torch_until_a_signal(tmp_path, video, exported, number):
    with command(tmp_path, exported) as (process, served):
        assert served.ask("GET", "/api/health")[1]["model"] == "best.onnx"
        assert served.wait(served.send(video))["state"] == "done"
        for _ in range(3):  # further signals do not stop the removal
            process.send_signal(number)
        out, err = process.communicate(timeout=300)
    assert (process.returncode, out, err) == (0, "\nstopping: uploaded videos are removed\n", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGALRM"])
def test_every_signal_that_can_be_caught_is_an_interrupt_once(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with signals_as_interrupt():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(number) == before
    signal.signal(number, signal.SIG_IGN)  # as nohup does with SIGHUP
    try:
        with signals_as_interrupt():
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_files_of_a_killed_server_are_removed_and_those_of_a_running_one_are_kept(tmp_path, exported):
    with command(tmp_path, exported) as (process, killed):
        (killed.folder / "upload").write_bytes(b"x")
        process.kill()
        process.communicate()
    (tmp_path / "emotion-serve-older").mkdir()  # without a lock its owner is unknown
    (tmp_path / "elsewhere").mkdir()
    with serving(tmp_path / "elsewhere") as living:
        other = living.folder.parent.rename(tmp_path / "emotion-serve-living")
        with temporary_folder(tmp_path, "emotion-serve-") as folder:
            assert {path.name for path in tmp_path.glob("emotion-serve-*")} == {
                folder.name, "emotion-serve-older", "emotion-serve-living"
            }  # fmt: skip
        other.rename(living.folder.parent)
    assert not killed.folder.exists() and not folder.exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "--mode serve needs --eval-checkpoint FILE"),
        ("--onnx none.onnx --port 0", "no such file"),
        ("--onnx none.onnx --eval-checkpoint x.pt", "keep one"),
        ("--onnx none.onnx --no-overlay", "page always shows it"),
        ("--onnx none.onnx --output-dir x", "stores nothing"),
        ("--onnx none.onnx --smooth 2", "must be odd"),
        ("--onnx none.onnx --host 203.0.113.9", "--host 203.0.113.9"),
        ("--mode eval --eval-checkpoint x.pt --max-minutes 3", "--max-minutes belongs to --mode serve, not to"),
    ],
)
def test_wrong_flags_are_refused(words, message, capsys):
    assert message in error_of(["--mode", "serve", *words.split()], capsys)


def test_a_port_that_is_taken_is_reported(capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        words = ["--mode", "serve", "--onnx", "none.onnx", "--port", str(listener.getsockname()[1])]
        assert "--port 0 takes a free one" in error_of(words, capsys)


def test_an_output_that_is_not_finite_is_shown_as_a_failure(tmp_path, video):
    class Broken(DarkOrBright):
        def head(self, face, context=None):
            return super().head(face) * float("nan")

    with serving(tmp_path, runner=Broken()) as served:
        state = served.wait(served.send(video))
        assert state["state"] == "failed" and "its output at 0.0 s is not finite" in state["error"]
        assert state["files"] == []


@pytest.fixture
def impatient(served, monkeypatch):
    monkeypatch.setattr("apps.serve.app.IDLE_SECONDS", 0.5)
    return served


def drip(line, piece, seconds=120.0):
    """Send ``piece`` ten times a second until the server ends the connection, and return whether it did in time."""
    end, line_answer = time.monotonic() + seconds, b""
    line.settimeout(0.1)
    while time.monotonic() < end:
        try:
            line.sendall(piece)
            line_answer = line.recv(4096)
            if not line_answer:
                return True
        except TimeoutError:
            continue
        except ConnectionError:
            return True
    return False


@pytest.mark.parametrize(
    ("header", "piece"),
    [
        ("Content-Length: 1000000", b"x"),
        ("Transfer-Encoding: chunked", b"1\r\nx\r\n"),  # the body is sent separately from the header
    ],
)
def test_a_slow_upload_is_ended_and_its_place_is_free_again(impatient, video, header, piece):
    with post(impatient, header) as line:
        assert drip(line, piece)
    impatient.wait_until_empty()
    assert impatient.wait(impatient.send(video))["state"] == "done"


def test_a_slow_header_is_ended(impatient):
    with socket.create_connection(("127.0.0.1", impatient.port)) as line:
        line.sendall(b"GET /api/health HTTP/1.1\r\n")
        assert drip(line, b"A: b\r\n")


def test_an_upload_of_many_bytes_has_more_time(impatient, video, monkeypatch):
    """The upload takes three times the time limit of a connection without data."""
    monkeypatch.setattr("apps.serve.app.SLOWEST", len(video) / 10)
    with post(impatient, f"Content-Length: {len(video)}") as line:
        for start in range(0, len(video), len(video) // 8 + 1):
            line.sendall(video[start : start + len(video) // 8 + 1])
            time.sleep(0.2)
        assert line.makefile("rb").readline().startswith(b"HTTP/1.1 201")


# the API for programs


def test_a_video_is_answered_in_one_request(served, video):
    status, timeline = served.ask("POST", "/api/predict", video)
    assert status == 200 and {row["predicted"] for row in timeline["rows"] if row["predicted"]} == {"Dark", "Bright"}
    job = served.send(video)
    served.wait(job)
    _, same = served.ask("GET", f"/api/videos/{job}/timeline.json")
    assert timeline["rows"] == same["rows"]
    assert served.ask("DELETE", f"/api/videos/{job}")[0] == 204
    served.wait_until_empty()


def test_an_answer_for_a_program_has_no_overlay(served, video, monkeypatch):
    """The page shows the overlay, so its job has one; the answer of /api/predict is the timeline alone."""
    folders = []

    class Counted(predictor.Overlay):
        def __init__(self, folder, *arguments, **options):
            super().__init__(folder, *arguments, **options)
            folders.append(folder)

    monkeypatch.setattr(predictor, "Overlay", Counted)
    assert served.ask("POST", "/api/predict", video)[0] == 200 and folders == []
    assert "overlay.mp4" in served.wait(served.send(video))["files"] and len(folders) == 1


def test_a_busy_server_says_when_to_try_again(gated, video):
    first = gated.send(video)
    assert gated.model.is_asked.wait(300)
    gated.send(video)
    for path in ("/api/predict", "/api/videos"):
        with post(gated, f"Content-Length: {len(video)}", video, path=path) as line:
            head = line.makefile("rb").read().partition(b"\r\n\r\n")[0].decode().splitlines()
        assert head[0].startswith("HTTP/1.1 503") and "Retry-After: 60" in head
    gated.model.open.set()
    assert gated.wait(first)["state"] == "done"
    connection = http.client.HTTPConnection("127.0.0.1", gated.port)
    connection.request("POST", "/api/predict", b"")
    answer = connection.getresponse()
    assert answer.status == 422 and answer.headers["Retry-After"] is None
    connection.close()


@pytest.mark.parametrize("kind", [".jpg", ".png", ".webp"])
def test_a_picture_is_answered_by_its_content(served, kind):
    picture = np.full((HEIGHT, WIDTH, 3), 250, dtype=np.uint8)
    data = cv2.imencode(kind, picture)[1].tobytes()
    status, timeline = served.ask("POST", "/api/predict", data)
    assert status == 200 and [row["predicted"] for row in timeline["rows"]] == ["Bright"]
    served.wait_until_empty()


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [(b"", 422, "empty"), (b"no video", 422, "video"), (b"\x89PNG\r\n\x1a\nno", 422, "image")],
)
def test_a_request_that_fails_is_answered_with_a_one_line_json_error(served, body, status, part):
    answer = served.ask("POST", "/api/predict", body)
    assert answer[0] == status and part in answer[1]["error"].lower() and "\n" not in answer[1]["error"]
    served.wait_until_empty()


def test_health_names_the_model_and_the_limits(served):
    status, health = served.ask("GET", "/api/health")
    assert status == 200 and health["status"] == "ok" and health["model"] == "light.pt"
    assert list(health["classes"]) == ["Dark", "Bright", "Never"] and health["limits"]["megabytes"] == 500


def test_the_programs_of_the_documents_work(served, tmp_path, video):
    """The commands of docs/serve.md, with the port of this server and a test video."""
    text = (ROOT / "docs/serve.md").read_text(encoding="utf-8").replace(":8765", f":{served.port}")
    (tmp_path / "lesson.mp4").write_bytes(video)
    commands = re.findall(r"```(sh|python)\n(.*?)```", text, re.S)
    programs = [body for kind, body in commands if kind == "python"]
    lines = [line for kind, body in commands if kind == "sh" for line in body.splitlines() if line.startswith("curl")]
    assert len(programs) == 1 and len(lines) == 2
    run = subprocess.run([sys.executable, "-c", programs[0]], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0 and "Bright" in run.stdout, run.stderr
    if shutil.which("curl"):
        for line in lines:
            run = subprocess.run(shlex.split(line), cwd=tmp_path, capture_output=True, text=True, timeout=600)
            assert run.returncode == 0 and isinstance(json.loads(run.stdout), dict), run.stderr


def test_a_program_that_disconnects_frees_its_place(gated, video):
    head = f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(video)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gated.port), timeout=300) as line:
        line.sendall(head.encode() + video)
        assert gated.model.is_asked.wait(300)
    time.sleep(0.3)  # the model is still working on it
    gated.model.open.set()
    gated.wait_until_empty()
    assert gated.model.calls <= 2  # the current window, and the last frames that had been read


def test_an_error_of_the_program_has_status_500(tmp_path, video):
    class Broken(DarkOrBright):
        def head(self, face, context=None):
            raise RuntimeError("out of luck")

    with serving(tmp_path, runner=Broken()) as served:
        status, answer = served.ask("POST", "/api/predict", video)
        assert status == 500 and "failed because of a bug" in answer["error"] and not served.files()
