"""Pictures as videos: their orientation, and whether a folder of them has one size."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from dataloader.video import FolderVideo, PictureVideo, of_one_size


def orientation(number):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def test_photographs_that_lie_on_their_side_are_of_another_size(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg")
    Image.new("RGB", (40, 30)).save(tmp_path / "b.jpg", exif=orientation(6))
    assert of_one_size(tmp_path, ["a.jpg"]) and not of_one_size(tmp_path, ["a.jpg", "b.jpg"])


@pytest.mark.parametrize("name", ["b.jpg", "b.png", "b.tif", "b.webp", "grey.png"])
def test_the_size_that_a_file_tells_is_that_of_its_upright_picture(tmp_path, name):
    pixels = np.zeros((30, 40), np.uint16) if "grey" in name else np.zeros((30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / name, exif=orientation(6))
    Image.new("RGB", (30, 40)).save(tmp_path / "a.png")
    assert of_one_size(tmp_path, ["a.png", name])
    assert [frame.shape for _, frame in FolderVideo(tmp_path, 25.0)] == [(40, 30, 3)] * 2


@pytest.mark.parametrize("number", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path, number):
    pixels = np.random.default_rng(0).integers(256, size=(3, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=orientation(number))
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(PictureVideo(tmp_path / "a.png").pixels, np.asarray(ImageOps.exif_transpose(image)))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_picture_whose_exif_is_broken_is_used_as_it_lies(tmp_path, name):
    Image.new("RGB", (40, 30)).save(tmp_path / name, exif=b"Exif\0\0garbage")
    assert PictureVideo(tmp_path / name).pixels.shape == (30, 40, 3) and of_one_size(tmp_path, [name])
