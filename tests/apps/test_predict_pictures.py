"""--mode predict --input: pictures, folders of them, and what each of several inputs leaves."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from apps.predict.outputs import find_sources, folder_names
from apps.predict.run import Predictor
from dataloader.video import FolderVideo, PictureVideo, of_one_size
from tests.apps.test_predictor import Brightness
from tests.support.tools import error_of, run_main
from tests.support.watched import frame_of
from utils.errors import UserError


def words_of(trained, source):
    checkpoint = str(trained.folder / "best.pt")
    return ["--mode", "predict", "--eval-checkpoint", checkpoint, "--input", str(source), "--device", "cpu"]


def read(folder):
    document = json.loads((folder / "timeline.json").read_text(encoding="utf-8"))
    with open(folder / "timeline.csv", newline="", encoding="utf-8") as file:
        return document, list(csv.DictReader(file))


def lying_on_its_side():
    note = Image.Exif()
    note[0x0112] = 6
    return note


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    return tmp_path / "photos"


def test_a_folder_of_photographs_is_each_of_them(trained, folder, tmp_path, eyes):
    rng = np.random.default_rng(0)
    pictures = [frame_of(label, rng) for label in (1, 3)]
    Image.fromarray(pictures[0]).save(folder / "first.jpg", quality=95)
    Image.fromarray(pictures[1][10:]).save(folder / "second.png")
    (folder / "third.png").write_text("not a picture")
    done = run_main(words_of(trained, folder), tmp_path / "run")
    assert done.status == 2 and "1 of 3 inputs could not be read (third.png); the others are done" in done.err
    assert done.out.count("answered in ") == 2
    for name, size in (("first", pictures[0].shape), ("second", pictures[1][10:].shape)):
        assert np.asarray(Image.open(tmp_path / f"run/{name}/overlay.jpg")).shape[:2] == size[:2]
        assert len(read(tmp_path / "run" / name)[1]) == 1


def test_a_folder_of_one_picture_is_that_picture(trained, folder, tmp_path, eyes):
    Image.fromarray(frame_of(1, np.random.default_rng(0))).save(folder / "only.png")
    assert run_main(words_of(trained, folder), tmp_path / "run").status == 0
    document, table = read(tmp_path / "run/only")
    assert document["duration"] == 1.0 and len(table) == 1 and (tmp_path / "run/only/overlay.jpg").exists()


def test_where_nothing_could_be_read_nothing_is_left(trained, folder, tmp_path, capsys):
    words = [*words_of(trained, folder), "--output-dir", str(tmp_path / "run")]
    (folder / "a.mp4").write_text("not a video")
    assert "a.mp4: cannot be read as a video" in error_of(words, capsys)
    (folder / "b.mp4").write_text("not a video")
    assert "error: none of the 2 inputs could be read (a.mp4, b.mp4)" == error_of(words, capsys)
    assert not (tmp_path / "run").exists()


def test_photographs_that_lie_on_their_side_are_of_another_size(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    Image.new("RGB", (40, 30)).save(tmp_path / "b.jpg", exif=lying_on_its_side())
    assert of_one_size(tmp_path, ["a.jpg"]) and not of_one_size(tmp_path, ["a.jpg", "b.jpg"])


@pytest.mark.parametrize("name", ["b.jpg", "b.png", "b.tif", "b.webp", "grey.png"])
def test_the_size_that_a_file_tells_is_that_of_its_upright_picture(tmp_path, name):
    pixels = np.zeros((30, 40), np.uint16) if "grey" in name else np.zeros((30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / name, exif=lying_on_its_side())
    Image.new("RGB", (30, 40)).save(tmp_path / "a.png")
    assert of_one_size(tmp_path, ["a.png", name])
    assert [frame.shape for _, frame in FolderVideo(tmp_path, 25.0)] == [(40, 30, 3)] * 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path, orientation):
    from PIL import ImageOps

    note, pixels = Image.Exif(), np.random.default_rng(0).integers(256, size=(3, 4, 3), dtype=np.uint8)
    note[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=note)
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(PictureVideo(tmp_path / "a.png").pixels, np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_picture_whose_note_is_broken_is_used_as_it_lies(tmp_path, name):
    Image.new("RGB", (40, 30)).save(tmp_path / name, exif=b"Exif\0\0garbage")
    assert PictureVideo(tmp_path / name).pixels.shape == (30, 40, 3)
    assert of_one_size(tmp_path, [name])


def test_another_size_behind_a_hundred_pictures_makes_them_photographs(folder):
    for number in range(102):
        Image.new("RGB", (8, 8) if number < 101 else (9, 8)).save(folder / f"{number}.png")
    assert len(find_sources(str(folder))) == 102
    with pytest.raises(UserError, match="101.png: is 9 × 8.*put pictures of another size in a folder of their own"):
        FolderVideo(folder, 25.0)


def test_from_python_photographs_of_several_sizes_are_refused_before_anything_is_written(folder, tmp_path):
    for number, size in enumerate([(8, 8), (8, 8), (9, 8)]):
        Image.new("RGB", size).save(folder / f"{number}.jpg")
    predictor = Predictor(runner=Brightness())
    with pytest.raises(UserError, match="2.jpg: is 9 × 8, the frames before it 8 × 8; put pictures"):
        predictor(folder, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_error_on_the_way_does_not_pass_for_the_end(folder, tmp_path, eyes, monkeypatch):
    def written_while_it_is_read(*_):
        Image.new("RGB", (9, 8)).save(folder / "29.jpg")
        return {}

    for number in range(30):
        Image.new("RGB", (8, 8)).save(folder / f"{number}.jpg")
    monkeypatch.setattr("apps.predict.outputs.header", written_while_it_is_read)
    with pytest.raises(UserError, match="29.jpg: is 9 × 8"):
        Predictor(runner=Brightness(), overlay=False, every=0.2, seconds=0.4)(folder, out=tmp_path / "out")
    assert read(tmp_path / "out")[0]["interrupted"] is True


def test_every_input_has_a_folder_of_its_own():
    assert folder_names(["a.jpg", "a.png", "a.jpg.png"]) == ["a", "a.png", "a.jpg"]
    assert folder_names(["A.jpg", "a.png.png", "a.png"]) == ["A", "a.png", "a.png-2"]
    assert folder_names(["log.txt.mp4", "LOG.TXT.mov"]) == ["log.txt.mp4", "LOG.TXT.mov"]


@pytest.mark.parametrize("name", ["a.HEIC", "a.jfif"])
def test_pictures_that_are_not_read_are_to_be_converted(folder, name):
    (folder / name).write_bytes(b"a picture")
    for given in (folder, folder / name):
        with pytest.raises(UserError, match="convert them to JPEG"):
            find_sources(str(given))
