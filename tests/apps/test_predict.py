"""--mode predict --input: videos of known content through the command line, and files that are not videos."""

import os
import signal

import av
import numpy as np
import pytest
import torch
from PIL import Image

from apps.predict.run import Predictor
from apps.predict.timeline import CONTEXT_ONLY, FACE, NO_ONE
from benchmarks.video_render import write_video
from benchmarks.video_segments import majority_class
from tests.support.tiny import NAMES
from tests.support.tools import error_of, run_main
from tests.support.watched import FPS, KnownFaces, film, frames_of, predict, predict_words, read_timeline
from utils.errors import UserError

PARTS = [(1, 6.0), (2, 6.0), (3, 6.0), (4, 6.0)]
BETTER_FACES = "installs a network that finds more"


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "lesson.mp4", PARTS)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    return film(tmp_path_factory.mktemp("film") / "short.mp4", [(1, 5.0)])


def frames_in(path):
    """Return the times of an H.264 video's frames, its width and its height."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        return [float(frame.time) for frame in container.decode(stream)], stream.width, stream.height


def test_a_video_of_known_emotions(best, video, tmp_path, eyes):
    run = predict(best, video, tmp_path / "run", "--seconds", "2")
    document, table = read_timeline(tmp_path / "run")
    rows = [(float(r["from"]), float(r["to"]), r["predicted"]) for r in table]
    assert [r[:2] for r in rows] == [(float(s), s + 2.0) for s in range(23)]
    for number, (label, _) in enumerate(PARTS):
        inside = [name for start, stop, name in rows if 6 * number <= start and stop <= 6 * number + 6]
        assert inside.count(NAMES[label]) > len(inside) / 2, (NAMES[label], inside)
    assert document["classes"] == list(NAMES) and document["num_rows"] == len(document["rows"]) == 23
    assert document["calibrated"] is False and document["seconds"] == pytest.approx(24.0)
    assert document["speed"] > 0 and document["persons"] == [1] and document["source"] == "lesson.mp4"
    for row in document["rows"]:
        assert sum(row[f"prob_{name}"] for name in NAMES) == pytest.approx(1.0, abs=1e-4)
        assert row["confidence"] == max(row[f"prob_{name}"] for name in NAMES)
    assert "video seconds per second" in run.out and "a face in 100% of the sampled frames" in run.out
    assert BETTER_FACES not in run.out
    timeline = Predictor(best, seconds=2.0)(video)
    majorities = [majority_class(timeline.rows, 6.0 * n, 6.0 * n + 6) for n in range(4)]
    assert majorities == [NAMES[label] for label, _ in PARTS] and timeline.speed > 0


def test_overlay_and_picture(best, short, tmp_path, eyes, real_figures):
    predict(best, short, tmp_path / "run")
    times, width, height = frames_in(tmp_path / "run/overlay.mp4")
    assert times == pytest.approx(np.arange(50) / FPS, abs=1e-3)
    assert width == 160 and height > 120 and height % 2 == 0
    with Image.open(tmp_path / "run/timeline.png") as picture:
        assert picture.width > 1000


def test_missing_persons_and_predictions_by_context_are_reported(best, tmp_path, eyes):
    path = film(tmp_path / "v.mp4", [(1, 5.0), ("nobody", 8.0), (1, 1.0), ("hidden", 5.0)])
    run = predict(best, path, tmp_path / "run", "--seconds", "2", "--face-model", "none.onnx")
    document, table = read_timeline(tmp_path / "run")
    kinds = [row["seen"] for row in table]
    assert kinds[:3] == [FACE] * 3 and NO_ONE in kinds and kinds[-1] == CONTEXT_ONLY
    nobody = table[kinds.index(NO_ONE)]
    assert nobody["person"] == nobody["predicted"] == nobody["confidence"] == "" and nobody["face_found"] == "false"
    assert table[-1]["face_found"] == "false" and table[-1]["predicted"] in NAMES
    (stretch,) = document["stretches"][NO_ONE]
    assert 5.0 <= stretch[0] <= 7.0 and stretch[1] == pytest.approx(13.0, abs=0.01)
    assert "no one from" in run.out and "no face, only context" in run.out and BETTER_FACES not in run.out
    again = predict(best, path, tmp_path / "again", "--seconds", "2", "--face-model", "cascades")
    assert BETTER_FACES in again.out


def test_threshold_and_smooth(best, short, tmp_path, eyes):
    predict(best, short, tmp_path / "run", "--threshold", "1", "--smooth", "3")
    document, table = read_timeline(tmp_path / "run")
    assert {row["predicted"] for row in table} == {"uncertain"} and document["options"]["smooth"] == 3


def test_calibration_of_the_checkpoint(best, short, tmp_path, eyes):
    content = torch.load(best, weights_only=True)
    torch.save(content | {"calibration": {"temperature": 4.0, "fitted_on": "val", "clips": 9}}, tmp_path / "c.pt")
    plain, cooled = Predictor(best)(short), Predictor(tmp_path / "c.pt")(short)
    assert cooled.info.calibrated and cooled.info.temperature == 4.0
    for first, second in zip(plain.rows, cooled.rows, strict=True):
        expected = np.array(first.values) ** (1 / 4.0)
        assert second.values == pytest.approx(tuple(expected / expected.sum()), abs=1e-5)


def test_a_folder_of_videos_continues_after_a_bad_one(best, short, tmp_path, eyes):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "c.mp4", "log.txt.mp4"):
        (folder / name).write_bytes(short.read_bytes())
    for name in ("b.mp4", "notes.txt", "._a.mp4"):  # the last file is one that some systems write beside every file
        (folder / name).write_text("not a video")
    run = predict(best, folder, tmp_path / "run", "--no-overlay", status=2)
    assert "1 of 4 inputs could not be read (b.mp4)" in run.err and "b.mp4" in run.out
    first, third, fourth = (read_timeline(tmp_path / "run" / name)[1] for name in ("a", "c", "log.txt.mp4"))
    assert first == third == fourth and "1 item ignored: notes.txt" in run.out


def test_a_variable_frame_rate(best, tmp_path, eyes):
    frames = [pair for pair in frames_of([(1, 6.0)]) if pair[0] < 2 or round(pair[0] * FPS) % 3 == 0]
    predict(best, write_video(tmp_path / "v.mp4", frames, FPS, crf=8), tmp_path / "run")
    times, *_ = frames_in(tmp_path / "run/overlay.mp4")
    assert times == pytest.approx([seconds for seconds, _ in frames], abs=1e-3)
    assert {row["predicted"] for row in read_timeline(tmp_path / "run")[1]} == {"Enjoyment"}


def test_a_video_that_is_cut_off(best, tmp_path, eyes):
    cut = film(tmp_path / "cut.mkv", PARTS)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    run = predict(best, cut, tmp_path / "run", "--no-overlay")
    document, _ = read_timeline(tmp_path / "run")
    assert 5 < document["seconds"] < 20 and document["damaged"] and "warning" in run.out
    assert not (tmp_path / "run/overlay.mp4").exists() and (tmp_path / "run/timeline.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--input v.mp4 --eval-checkpoint BEST --smooth 2", "--smooth 2"),
        ("--input v.mp4 --eval-checkpoint BEST --features .", "--features"),
        ("--input v.mp4 --eval-checkpoint BEST --onnx x.onnx", "keep one"),
        ("--input v.mp4 --eval-checkpoint BEST --encoder x.pt", "--encoder"),
        ("--input v.mp4 --eval-checkpoint BEST --format onnx", "--format belongs to"),
        ("--input v.mp4 --eval-checkpoint BEST --class-texts x.json", "has fixed classes"),
        (
            "@recipes/dfer_clip_demo.args --input v.mp4 --eval-checkpoint BEST",
            "--model dfer-clip: this checkpoint was trained with clip-caer",
        ),
        (f"--eval-checkpoint BEST --input {'a' * 300}.mp4", "file name too long"),
        ("--eval-checkpoint BEST --every 2", "name one, --input"),
        ("--input v.mp4", "needs --eval-checkpoint"),
        ("", "needs --eval-checkpoint"),
        ("--mode train --every 2", "--every belongs to --mode"),
        ("--mode train --face-model x.onnx", "--face-model belongs to"),
        ("--input v.mp4 --onnx x.onnx --gpu mps", "not on mps"),
        ("--input v.mp4 --onnx x.onnx --class-texts x.json", "--class-texts is fixed in the file of --onnx"),
        ("--input v.mp4 --onnx x.onnx --image-size 64", "--image-size is fixed in the file of --onnx"),
        ("--input v.mp4 --onnx x.onnx --normalize clip", "--normalize is fixed in the file of --onnx"),
        ("--input v.mp4 --onnx x.onnx --temporal-layers 5", "--temporal-layers is fixed in the file of --onnx"),
    ],
)
def test_mistakes(best, words, message, capsys):
    assert message in error_of(["--mode", "predict", *words.replace("BEST", str(best)).split()], capsys)


def test_bodies_are_detected_so_no_boxes_are_needed(best, short, tmp_path, eyes):
    content = torch.load(best, weights_only=True)
    content["config"]["data"] |= {"crop_body": False, "bounding_box_body": None}
    torch.save(content, tmp_path / "whole.pt")
    run = predict(tmp_path / "whole.pt", short, tmp_path / "run", "--crop-body", "--no-overlay")
    assert "--crop-body True: trained with False" in run.out


def test_ctrl_c_saves_the_predictions_so_far(best, tmp_path, monkeypatch, eyes):
    """The signal arrives while the video is read: the detector sends it at its 25th search."""
    video, detector = film(tmp_path / "v.mp4", [(1, 20.0)]), KnownFaces()

    def interrupt(frame):
        if detector.calls == 25:
            os.kill(os.getpid(), signal.SIGINT)
        return detector(frame)

    monkeypatch.setattr("dataloader.detect.open_detector", lambda *_: interrupt)
    run = predict(best, video, tmp_path / "run", status=130)
    assert "stopped after" in run.err
    document, table = read_timeline(tmp_path / "run")
    assert document["interrupted"] is True and 5 < document["seconds"] < 15
    assert len(table) == len(document["rows"]) > 2 and float(table[-1]["to"]) == pytest.approx(document["seconds"])
    times, *_ = frames_in(tmp_path / "run/overlay.mp4")
    assert len(times) == round(document["seconds"] * FPS)


def test_flags_without_effect_and_flags_that_change_the_model_are_named(best, short, tmp_path, eyes):
    idle = ["--epochs", "3", "--every", "2", "--calibrate", "--normalize", "none"]
    run = predict(best, short, tmp_path / "a", "--no-overlay", *idle)
    assert "warning: --mode predict does not read --epochs --calibrate\n" in run.out
    assert "--normalize none: trained with clip, so this is another model" in run.out
    assert "does not read" not in predict(best, short, tmp_path / "b", "--no-overlay", "--amp", "off").out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_is_a_warning_and_a_missing_device_an_error(best, short, tmp_path, eyes, capsys):
    words = predict_words(best, short)[:-2]
    run = run_main([*words, "--no-overlay", "--gpu", "0"], tmp_path / "a")
    assert "warning: --gpu 0: there is no such GPU here" in run.out
    assert "--device cuda: not available here" in error_of([*words, "--device", "cuda"], capsys)


def test_an_earlier_timeline_is_not_overwritten(best, short, tmp_path, eyes):
    predictor = Predictor(best, device="cpu", overlay=False)
    predictor(short, out=tmp_path / "a")
    before = (tmp_path / "a/timeline.csv").read_bytes()
    with pytest.raises(UserError, match="already holds a timeline"):
        predictor(short, out=tmp_path / "a")
    assert (tmp_path / "a/timeline.csv").read_bytes() == before


def test_names_that_are_not_utf8(best, short, tmp_path, eyes):
    """A video, a picture, a folder of videos and the folder that is written."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    video, picture = (folder / os.fsdecode(name) for name in (b"v\xe9.mp4", b"p\xe9.jpg"))
    Image.fromarray(frames_of([(1, 1.0)])[0][1]).save(picture)
    video.write_bytes(short.read_bytes())
    (folder / "videos").mkdir()
    (folder / "videos" / video.name).write_bytes(short.read_bytes())
    predict(best, video, folder / "a")
    assert len(frames_in(folder / "a/overlay.mp4")[0]) == 50
    assert read_timeline(folder / "a")[0]["source"] == video.name
    predict(best, picture, folder / "b")
    assert (folder / "b/overlay.jpg").exists()
    predict(best, folder / "videos", folder / "c")
    assert not list(folder.rglob("*.part"))


def test_the_progress_of_a_video_is_printed_without_a_terminal(best, short, tmp_path, monkeypatch, eyes):
    assert predict(best, short, tmp_path / "a", "--no-overlay").err == ""  # a short video prints no progress
    monkeypatch.setattr("utils.runlog.LINE_SECONDS", 0.0)
    lines = predict(best, short, tmp_path / "b", "--no-overlay").err.splitlines()
    assert lines[0].startswith("short.mp4: 0 of 5 s") and lines[-1] == "short.mp4: 5 of 5 s, about 0 s left"
