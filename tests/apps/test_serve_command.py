"""The command of ``--mode serve``: its address, its end by a signal, and flags that cannot be meant."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.exported import export_checkpoint
from tests.support.serving import Served, write_video
from tests.support.tools import ROOT, error_of

WITHOUT_TORCH = "import sys; sys.modules['torch'] = None; from main import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp("video") / "known.mp4", [(4, 10), (4, 245)]).read_bytes()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export_checkpoint(tmp_path_factory.mktemp("model"), {"model": "clip-caer", "iec_text": "both"})[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_an_exported_model_without_torch_until_a_signal(tmp_path, video, model, number):
    words = ["--mode", "serve", "--onnx", str(model), "--port", "0", "--seconds", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_TORCH, *words],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said = process.stdout.readline()
        assert said.startswith("open http://127.0.0.1:") and said.endswith("/ in a browser; Ctrl-C ends it\n"), said
        served = Served(int(said.split(":")[2].split("/")[0]), next(tmp_path.glob("emotion-serve-*")))
        assert served.ask("GET", "/about")[1]["model"] == "best.onnx"
        job = served.send(video)
        assert served.wait(job)["state"] == "done"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "\nstopping: what was sent is removed\n", "")
    assert not list(tmp_path.iterdir())


def test_flags_that_cannot_be_meant(tmp_path, capsys):
    assert "--mode serve needs --eval-checkpoint FILE" in error_of(["--mode", "serve"], capsys)
    words = ["--mode", "serve", "--onnx", str(tmp_path / "none.onnx")]
    assert "no such file" in error_of([*words, "--port", "0"], capsys)
    assert "keep one" in error_of([*words, "--eval-checkpoint", "x.pt"], capsys)
    assert "the page shows it" in error_of([*words, "--no-overlay"], capsys)
    assert "nothing is kept" in error_of([*words, "--output-dir", str(tmp_path)], capsys)
    assert "an odd number" in error_of([*words, "--smooth", "2"], capsys)
    assert "--host 203.0.113.9" in error_of([*words, "--host", "203.0.113.9"], capsys)
    line = error_of(["--mode", "eval", "--eval-checkpoint", "x.pt", "--max-minutes", "3"], capsys)
    assert "--max-minutes belongs to --mode serve, not to --mode eval" in line
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "--port 0 takes a free one" in error_of([*words, "--port", port], capsys)
