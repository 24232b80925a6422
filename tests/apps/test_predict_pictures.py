"""--mode predict --input: pictures, folders of pictures, and the output of each of several inputs."""

import cv2
import numpy as np
import pytest
from PIL import Image

from apps.predict.run import Predictor, count_failures, find_sources, folder_names
from apps.predict.torch_runner import TorchRunner
from dataloader.video import FolderVideo
from tests.support.tiny import NAMES
from tests.support.tools import error_of
from tests.support.watched import Brightness, frame_of, know_faces, predict, predict_words, read_timeline
from utils.errors import UserError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def save_sizes(folder, sizes):
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(folder / f"{number}.png")


def test_each_photograph_in_a_folder_is_a_separate_input(best, folder, tmp_path, eyes):
    rng = np.random.default_rng(0)
    pictures = {"first.jpg": frame_of(1, rng), "second.png": frame_of(3, rng)[10:]}
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / name)
    (folder / "third.png").write_text("not a picture")
    run = predict(best, folder, tmp_path / "run", status=2)
    assert "1 of 3 inputs could not be read (third.png); the others are done" in run.err
    assert run.out.count("answered in ") == 2
    for name, picture in pictures.items():
        result = tmp_path / "run" / name.partition(".")[0]
        assert np.asarray(Image.open(result / "overlay.jpg")).shape[:2] == picture.shape[:2]
        assert len(read_timeline(result)[1]) == 1


def test_outputs_that_are_not_finite_are_counted_apart_from_unreadable_files(best, folder, tmp_path, eyes, monkeypatch):
    rng, head, calls = np.random.default_rng(0), TorchRunner.head, []
    for name in ("first.png", "second.png"):
        Image.fromarray(frame_of(1, rng)[: 90 + len(name)]).save(folder / name)

    def fail_at_first(self, *streams):
        calls.append(streams)
        return head(self, *streams) * (np.nan if len(calls) == 1 else 1)

    monkeypatch.setattr(TorchRunner, "head", fail_at_first)
    run = predict(best, folder, tmp_path / "run", status=2)
    assert run.err.strip() == "error: 1 of 2 inputs got no usable answer (first.png); the others are done"
    assert "first.png: best.pt: its output at 0.0 s is not finite" in run.out
    assert (
        read_timeline(tmp_path / "run/first")[0]["interrupted"] is True
        and len(read_timeline(tmp_path / "run/second")[1]) == 1
    )


@pytest.mark.parametrize(
    ("total", "unreadable", "failed", "line"),
    [
        (
            4,
            ["a"],
            ["b"],
            "1 of 4 inputs could not be read (a); 1 of 4 inputs got no usable answer (b); the others are done",
        ),
        (2, [], ["a", "b"], "none of the 2 inputs got an answer (a, b)"),
        (2, ["a"], ["b"], "1 of 2 inputs could not be read (a); 1 of 2 inputs got no usable answer (b)"),
    ],
)
def test_the_closing_line_counts_each_kind_of_failure(total, unreadable, failed, line):
    assert count_failures(total, unreadable, failed) == line


def test_a_folder_of_one_picture_is_that_picture_and_one_of_frames_a_video(best, folder, tmp_path, eyes):
    rng = np.random.default_rng(0)
    Image.fromarray(frame_of(1, rng)).save(folder / "0000.png")
    predict(best, folder, tmp_path / "picture")
    document, table = read_timeline(tmp_path / "picture/0000")
    assert document["duration"] == 1.0 and len(table) == 1 and (tmp_path / "picture/0000/overlay.jpg").exists()
    for number in range(1, 30):
        Image.fromarray(frame_of(1, rng)).save(folder / f"{number:04d}.png")
    predict(best, folder, tmp_path / "video")
    assert read_timeline(tmp_path / "video")[0]["rows"][0]["predicted"] == "Enjoyment"


def test_a_picture_gives_an_overlay_picture(best, tmp_path, monkeypatch):
    know_faces(monkeypatch)
    monkeypatch.setattr("dataloader.track.HITS", 2)  # the default: a face must be detected twice
    pixels = frame_of(2, np.random.default_rng(0))
    Image.fromarray(pixels).save(tmp_path / "photo.PNG")
    predict(best, tmp_path / "photo.PNG", tmp_path / "run")
    (row,) = read_timeline(tmp_path / "run")[0]["rows"]
    assert (row["from"], row["to"], row["person"], row["seen"], row["frames"]) == (0.0, 1.0, 1, "face", 1)
    assert row["predicted"] == NAMES[2]
    assert cv2.imread(str(tmp_path / "run/overlay.jpg")).shape == pixels.shape
    assert not (tmp_path / "run/overlay.mp4").exists() and (tmp_path / "run/timeline.png").exists()


def test_if_nothing_can_be_read_no_files_are_left(best, folder, tmp_path, capsys):
    words = [*predict_words(best, folder), "--output-dir", str(tmp_path / "run")]
    assert "holds no video" in error_of(words, capsys)
    (folder / "a.mp4").write_text("not a video")
    assert "a.mp4: cannot be read as a video" in error_of(words, capsys)
    (folder / "b.mp4").write_text("not a video")
    assert error_of(words, capsys) == "error: none of the 2 inputs could be read (a.mp4, b.mp4)"
    assert "no such file" in error_of([*words, "--input", str(tmp_path / "none.mp4")], capsys)
    assert not (tmp_path / "run").exists()


def test_another_size_after_a_hundred_pictures_makes_them_photographs(folder):
    save_sizes(folder, 101 * [(8, 8)] + [(9, 8)])
    assert len(find_sources(str(folder))) == 102
    with pytest.raises(UserError, match="101.png: is 9 × 8.*put pictures of another size in a separate folder"):
        FolderVideo(folder, 25.0)


def test_from_python_photographs_of_several_sizes_are_refused_before_anything_is_written(folder, tmp_path):
    save_sizes(folder, [(8, 8), (8, 8), (9, 8)])
    with pytest.raises(UserError, match="2.png: is 9 × 8, the frames before it 8 × 8; put pictures"):
        Predictor(runner=Brightness())(folder, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_error_in_the_middle_is_recorded_as_interrupted(folder, tmp_path, eyes, monkeypatch):
    def change_while_it_is_read(*_):
        Image.new("RGB", (9, 8)).save(folder / "29.png")
        return {}

    save_sizes(folder, 30 * [(8, 8)])
    monkeypatch.setattr("apps.predict.predictor.Predictor._header", change_while_it_is_read)
    with pytest.raises(UserError, match="29.png: is 9 × 8"):
        Predictor(runner=Brightness(), overlay=False, every=0.2, seconds=0.4)(folder, out=tmp_path / "out")
    assert read_timeline(tmp_path / "out")[0]["interrupted"] is True


def test_every_input_has_a_folder_of_its_own():
    assert folder_names(["a.jpg", "a.png", "a.jpg.png"]) == ["a", "a.png", "a.jpg"]
    assert folder_names(["A.jpg", "a.png.png", "a.png"]) == ["A", "a.png", "a.png-2"]
    assert folder_names(["log.txt.mp4", "LOG.TXT.mov"]) == ["log.txt.mp4", "LOG.TXT.mov"]


@pytest.mark.parametrize("name", ["a.HEIC", "a.jfif"])
def test_unsupported_pictures_give_the_advice_to_convert_them(folder, name):
    (folder / name).write_bytes(b"a picture")
    for source in (folder, folder / name):
        with pytest.raises(UserError, match="convert them to JPEG"):
            find_sources(str(source))
