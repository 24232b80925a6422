"""--mode predict --input: videos of known content through the command line, and files that are no such videos."""

import csv
import json
import os
import signal

import av
import numpy as np
import pytest
from PIL import Image

from apps.predict.run import Predictor
from apps.predict.timeline import CONTEXT_ONLY, FACE, NO_ONE, majority_of
from benchmarks.video_render import write_video
from tests.support.tiny import NAMES
from tests.support.tools import error_of, run_main
from tests.support.watched import FPS, film, frame_of, frames_of

PARTS = [(1, 6.0), (2, 6.0), (3, 6.0), (4, 6.0)]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "lesson.mp4", PARTS)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "short.mp4", [(1, 5.0)])


def words_of(trained, source, *more):
    return ["--mode", "predict", "--eval-checkpoint", str(trained.folder / "best.pt"), "--input", str(source), *more]


def predict(trained, source, folder, *more):
    return run_main([*words_of(trained, source), "--device", "cpu", *more], folder)


def read(folder):
    document = json.loads((folder / "timeline.json").read_text(encoding="utf-8"))
    with open(folder / "timeline.csv", newline="", encoding="utf-8") as file:
        return document, list(csv.DictReader(file))


def shape_of(path):
    """Seconds, frames, width, height."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        times = [float(frame.time) for frame in container.decode(stream)]
        return times, stream.width, stream.height


def test_a_video_of_known_emotions(trained, video, tmp_path, eyes):
    done = predict(trained, video, tmp_path / "run", "--seconds", "2")
    assert done.status == 0, done.err
    document, table = read(tmp_path / "run")
    rows = [(float(r["from"]), float(r["to"]), r["predicted"]) for r in table]
    assert [r[:2] for r in rows] == [(float(s), s + 2.0) for s in range(23)]
    for place, (label, _) in enumerate(PARTS):
        inside = [name for start, stop, name in rows if 6 * place <= start and stop <= 6 * place + 6]
        assert inside.count(NAMES[label]) > len(inside) / 2, (NAMES[label], inside)
    assert document["classes"] == list(NAMES) and document["num_rows"] == len(document["rows"]) == 23
    assert document["calibrated"] is False and document["seconds"] == pytest.approx(24.0)
    assert document["speed"] > 0 and document["persons"] == [1] and document["source"] == "lesson.mp4"
    for row in document["rows"]:
        assert sum(row[f"prob_{name}"] for name in NAMES) == pytest.approx(1.0, abs=1e-4)
        assert row["confidence"] == max(row[f"prob_{name}"] for name in NAMES)
    assert "video seconds per second" in done.out and "a face in 100% of the sampled frames" in done.out
    assert "brings a network that finds more" not in done.out


def test_overlay_and_picture(trained, short, tmp_path, eyes):
    assert predict(trained, short, tmp_path / "run").status == 0
    times, width, height = shape_of(tmp_path / "run/overlay.mp4")
    assert times == pytest.approx(np.arange(50) / FPS, abs=1e-3)
    assert width == 160 and height > 120 and height % 2 == 0
    with Image.open(tmp_path / "run/timeline.png") as picture:
        assert picture.width > 1000
    assert not predict(trained, short, tmp_path / "none", "--no-overlay").status
    assert not (tmp_path / "none/overlay.mp4").exists() and (tmp_path / "none/timeline.png").exists()
    drawn, plain = (json.loads((tmp_path / f"{name}/timeline.json").read_text())["rows"] for name in ("run", "none"))
    assert drawn == plain  # frames that nobody draws need not be decoded to pictures; the answers are the same


def test_no_one_and_context_alone_are_reported(trained, tmp_path, eyes):
    path = film(tmp_path / "v.mp4", [(1, 5.0), ("nobody", 8.0), ("hidden", 6.0)])
    done = predict(trained, path, tmp_path / "run", "--seconds", "2", "--face-model", "none.onnx")
    document, table = read(tmp_path / "run")
    seen = [row["seen"] for row in table]
    assert seen[:3] == [FACE] * 3 and NO_ONE in seen and seen[-1] == CONTEXT_ONLY
    nobody = next(row for row in table if row["seen"] == NO_ONE)
    assert nobody["person"] == nobody["predicted"] == nobody["confidence"] == "" and nobody["face_found"] == "false"
    assert table[-1]["face_found"] == "false" and table[-1]["predicted"] in NAMES
    (stretch,) = document["stretches"][NO_ONE]
    assert 5.0 <= stretch[0] <= 7.0 and stretch[1] == pytest.approx(13.0, abs=0.01)
    assert "no one from" in done.out and "by context alone" in done.out
    assert "brings a network that finds more" not in done.out
    again = predict(trained, path, tmp_path / "again", "--seconds", "2", "--face-model", "cascades")
    assert "brings a network that finds more" in again.out


def test_threshold_and_smooth(trained, short, tmp_path, eyes):
    predict(trained, short, tmp_path / "run", "--threshold", "1", "--smooth", "3")
    document, table = read(tmp_path / "run")
    assert {row["predicted"] for row in table} == {"uncertain"} and document["options"]["smooth"] == 3


def test_calibration_of_the_checkpoint(trained, short, tmp_path, eyes):
    import torch

    content = torch.load(trained.folder / "best.pt", weights_only=True)
    torch.save(content | {"calibration": {"temperature": 4.0, "fitted_on": "val", "clips": 9}}, tmp_path / "c.pt")
    plain, cooled = Predictor(trained.folder / "best.pt")(short), Predictor(tmp_path / "c.pt")(short)
    assert cooled.about.calibrated and cooled.about.temperature == 4.0
    for first, second in zip(plain.rows, cooled.rows, strict=True):
        expected = np.array(first.values) ** (1 / 4.0)
        assert second.values == pytest.approx(tuple(expected / expected.sum()), abs=1e-5)


def test_from_python(trained, video, eyes):
    timeline = Predictor(trained.folder / "best.pt", seconds=2.0)(video)
    found = [majority_of(timeline.rows, 6.0 * n, 6.0 * n + 6) for n in range(4)]
    assert found == [NAMES[label] for label, _ in PARTS] and timeline.speed > 0


def test_a_folder_of_videos_goes_on_behind_a_bad_one(trained, short, tmp_path, eyes):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "c.mp4"):
        (folder / name).write_bytes(short.read_bytes())
    (folder / "b.mp4").write_text("not a video")
    (folder / "log.txt.mp4").write_bytes(short.read_bytes())
    (folder / "._a.mp4").write_text("what some systems leave beside every file")
    (folder / "notes.txt").write_text("of the lessons")
    done = predict(trained, folder, tmp_path / "run", "--no-overlay")
    assert done.status == 2 and "1 of 4 inputs could not be read (b.mp4)" in done.err
    assert read(tmp_path / "run/a")[1] == read(tmp_path / "run/c")[1] and "b.mp4" in done.out
    assert read(tmp_path / "run/log.txt.mp4")[1] == read(tmp_path / "run/a")[1]
    assert "1 item left alone: notes.txt" in done.out


def test_a_folder_of_frames(trained, tmp_path, eyes):
    rng = np.random.default_rng(0)
    (tmp_path / "frames").mkdir()
    for number in range(30):
        Image.fromarray(frame_of(1, rng)).save(tmp_path / f"frames/{number:04d}.png")
    assert predict(trained, tmp_path / "frames", tmp_path / "run").status == 0
    assert read(tmp_path / "run")[0]["rows"][0]["predicted"] == "Enjoyment"


def test_a_rotated_video_is_upright(trained, tmp_path, eyes):
    """Stored on its side with a note to turn it, as telephones do: the answers are those of the upright one."""
    upright = frames_of([(1, 5.0)])
    film(tmp_path / "upright.mp4", [(1, 5.0)])
    lying = write_video(tmp_path / "lying.mp4", [(s, np.rot90(f)) for s, f in upright], FPS, crf=8)
    turned = turn(lying, tmp_path / "turned.mp4")
    assert predict(trained, turned, tmp_path / "run").status == 0
    _, table = read(tmp_path / "run")
    assert {row["predicted"] for row in table} == {"Enjoyment"} and {row["seen"] for row in table} == {FACE}
    assert shape_of(tmp_path / "run/overlay.mp4")[1] == 160


def turn(path, out):
    """A rotation of 90 degrees clockwise written into the track's matrix: two pairs of fixed-point numbers."""
    content = bytearray(path.read_bytes())
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16)).to_bytes(4, "big", signed=True)
    zero = bytes(4)
    plain = one + zero + zero + zero + one + zero
    place = content.index(plain, content.index(b"tkhd"))
    content[place : place + 24] = zero + one + zero + minus + zero + zero
    out.write_bytes(content)
    return out


def test_a_variable_frame_rate(trained, tmp_path, eyes):
    shown = [pair for pair in frames_of([(1, 6.0)]) if pair[0] < 2 or round(pair[0] * FPS) % 3 == 0]
    path = write_video(tmp_path / "v.mp4", shown, FPS, crf=8)
    assert predict(trained, path, tmp_path / "run").status == 0
    times, *_ = shape_of(tmp_path / "run/overlay.mp4")
    assert times == pytest.approx([seconds for seconds, _ in shown], abs=1e-3)
    assert {row["predicted"] for row in read(tmp_path / "run")[1]} == {"Enjoyment"}


def test_a_video_that_is_cut_off(trained, video, tmp_path, eyes):
    content = av.open(str(video))
    assert content.duration
    cut = tmp_path / "cut.mkv"
    with av.open(str(video)) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    done = predict(trained, cut, tmp_path / "run", "--no-overlay")
    assert done.status == 0, done.err
    document, _ = read(tmp_path / "run")
    assert 5 < document["seconds"] < 20 and document["damaged"] and "warning" in done.out


@pytest.mark.parametrize("kind", ["nothing", "empty", "text", "half", "sound", "no folder"])
def test_files_that_are_no_videos(trained, video, tmp_path, capsys, eyes, kind):
    path = tmp_path / "file.mp4"
    made = {
        "nothing": lambda: None,
        "empty": lambda: path.write_bytes(b""),
        "text": lambda: path.write_text("hello " * 1000),
        "half": lambda: path.write_bytes(video.read_bytes()[:400]),
        "sound": lambda: write_sound(path),
        "no folder": lambda: path.mkdir(),
    }[kind]
    made()
    assert "file.mp4" in error_of([*words_of(trained, path), "--output-dir", str(tmp_path / "run")], capsys)
    assert not (tmp_path / "run").exists()


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), dtype=np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_a_wrong_ending_does_not_matter(trained, short, tmp_path, eyes):
    (tmp_path / "video.txt").write_bytes(short.read_bytes())
    assert predict(trained, tmp_path / "video.txt", tmp_path / "run", "--no-overlay").status == 0


def test_mistakes(trained, short, tmp_path, capsys):
    words = words_of(trained, short)
    assert "--smooth 2" in error_of([*words, "--smooth", "2"], capsys)
    assert "--features" in error_of([*words, "--features", str(tmp_path)], capsys)
    assert "keep one" in error_of([*words, "--onnx", "x.onnx"], capsys)
    assert "needs --eval-checkpoint" in error_of(["--mode", "predict", "--input", str(short)], capsys)
    assert "name one, --input" in error_of([*words[:4], "--every", "2"], capsys)
    assert "--every belongs to --mode" in error_of(["--mode", "train", "--every", "2"], capsys)
    assert "--encoder" in error_of([*words, "--encoder", "x.pt"], capsys)
    assert "--face-model belongs to" in error_of(["--mode", "train", "--face-model", "x.onnx"], capsys)
    assert "--format belongs to" in error_of([*words, "--format", "onnx"], capsys)
    exported = ["--mode", "predict", "--input", str(short), "--onnx", "x.onnx"]
    assert "--class-texts is settled" in error_of([*exported, "--class-texts", "x.json"], capsys)
    assert "knows its own classes" in error_of([*words, "--class-texts", "x.json"], capsys)
    recipe = [words[0], words[1], "@recipes/dfer_clip_demo.args", *words[2:]]
    assert "--model dfer-clip: this checkpoint was trained with clip-caer" in error_of(recipe, capsys)


def test_bodies_are_found_so_no_boxes_are_asked_for(trained, short, tmp_path, eyes):
    import torch

    content = torch.load(trained.folder / "best.pt", weights_only=True)
    content["config"]["data"] |= {"crop_body": False, "bounding_box_body": None}
    torch.save(content, tmp_path / "whole.pt")
    words = ["--mode", "predict", "--eval-checkpoint", str(tmp_path / "whole.pt"), "--input", str(short)]
    done = run_main([*words, "--crop-body", "--no-overlay"], tmp_path / "run")
    assert done.status == 0 and "--crop-body True: trained with False" in done.out, done.err


def test_ctrl_c_saves_what_was_seen(trained, tmp_path, monkeypatch, eyes):
    """The signal comes while the video is read: a slow detector sends it with its 25th search."""
    video, inner = film(tmp_path / "v.mp4", [(1, 20.0)]), eyes.__class__()

    def interrupt(frame):
        if inner.calls == 25:
            os.kill(os.getpid(), signal.SIGINT)
        return inner(frame)

    monkeypatch.setattr("dataloader.detect.open_detector", lambda *_: interrupt)
    done = predict(trained, video, tmp_path / "run")
    assert done.status == 130 and "stopped after" in done.err
    document, table = read(tmp_path / "run")
    assert document["interrupted"] is True and 5 < document["seconds"] < 15
    assert len(table) == len(document["rows"]) > 2 and float(table[-1]["to"]) == pytest.approx(document["seconds"])
    times, *_ = shape_of(tmp_path / "run/overlay.mp4")
    assert len(times) == round(document["seconds"] * FPS)
