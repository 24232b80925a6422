"""Frame files: numeric order, only images, always RGB, and a plain word about what cannot be read."""

import numpy as np
import pytest
from PIL import Image

from dataloader.frames import BadFrame, find_unreadable, list_frames, read_frame
from dataloader.video import upright

COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], dtype=np.uint8)


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")


def test_frames_sort_by_number_not_by_letter(tmp_path):
    touch(tmp_path / "clip", *[f"frame_{n}.jpg" for n in (10, 9, 2, 1, 100, 11)])
    assert list_frames(tmp_path / "clip") == tuple(f"frame_{n}.jpg" for n in (1, 2, 9, 10, 11, 100))


def test_zero_padded_and_several_numbers_sort_too(tmp_path):
    touch(tmp_path / "clip", "p2_00010.png", "p2_00002.png", "p10_00001.png", "p1_3.png")
    assert list_frames(tmp_path / "clip") == ("p1_3.png", "p2_00002.png", "p2_00010.png", "p10_00001.png")


def test_files_that_are_no_images_and_folders_of_the_system_are_no_frames(tmp_path):
    touch(tmp_path / "clip", "1.jpg", "2.JPEG", "3.png", "Thumbs.db", ".DS_Store", "._1.jpg", "notes.txt", "1.json")
    assert list_frames(tmp_path / "clip") == ("1.jpg", "2.JPEG", "3.png")


def test_names_with_unusual_digits_are_sorted_not_refused(tmp_path):
    touch(tmp_path / "clip", "1.jpg", "2²3.jpg", "٣.jpg")
    assert set(list_frames(tmp_path / "clip")) == {"1.jpg", "2²3.jpg", "٣.jpg"}


def test_equal_numbers_still_have_one_order(tmp_path, monkeypatch):
    import os

    touch(tmp_path / "clip", "01.jpg", "1.jpg", "001.jpg")
    entries = list(os.scandir(tmp_path / "clip"))
    orders = set()
    for turned in (entries, entries[::-1]):

        class Listing(list):
            __enter__ = lambda self: self  # noqa: E731
            __exit__ = lambda self, *_: None  # noqa: E731

        monkeypatch.setattr(os, "scandir", lambda _, turned=turned: Listing(turned))
        orders.add(list_frames(tmp_path / "clip"))
    assert len(orders) == 1


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_palette_and_alpha_become_the_same_rgb(tmp_path, mode):
    image = Image.fromarray(COLOURS)
    if mode == "P":
        image = image.quantize(colors=4)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(np.array([[255, 128], [0, 7]], dtype=np.uint8)))
    image.save(tmp_path / "f.png")
    assert Image.open(tmp_path / "f.png").mode == mode
    got = read_frame(tmp_path / "f.png")
    assert got.mode == "RGB" and np.array_equal(np.asarray(got), COLOURS)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_becomes_three_equal_channels(tmp_path, mode):
    grey = np.array([[0, 255], [255, 0]], dtype=np.uint8)
    Image.fromarray(grey).convert(mode).save(tmp_path / "f.png")
    assert np.array_equal(np.asarray(read_frame(tmp_path / "f.png")), np.stack([grey] * 3, axis=-1))


def test_jpeg_pixels_are_pils_in_rgb_order(tmp_path):
    red = Image.new("RGB", (32, 32), (250, 10, 10))
    red.save(tmp_path / "f.jpg")
    got = np.asarray(read_frame(tmp_path / "f.jpg"))
    assert np.array_equal(got, np.asarray(Image.open(tmp_path / "f.jpg")))
    assert got[..., 0].min() > 200 and got[..., 2].max() < 60


TURNED = {  # EXIF orientation → the stored pixels as they are to be looked at
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("read", [read_frame, upright])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_tiff_is_upright_however_it_lies_in_its_file(tmp_path, mode, compression, read):
    rng, channels = np.random.default_rng(0), {"RGB": (3,), "RGBA": (4,)}.get(mode, ())
    largest, kind = (65536, np.uint16) if mode == "I;16" else (256, np.uint8)
    stored = rng.integers(largest, size=(13, 22, *channels), dtype=kind)
    seen = stored >> 8 if mode == "I;16" else stored
    seen = seen[..., :3] if channels else np.stack([seen] * 3, axis=-1)
    for orientation, turned in TURNED.items():
        Image.fromarray(stored).save(tmp_path / "f.tif", compression=compression, tiffinfo={274: orientation})
        assert Image.open(tmp_path / "f.tif").mode == mode
        assert np.array_equal(np.asarray(read(tmp_path / "f.tif")), turned(seen)), orientation


def jpeg_bytes(folder) -> bytes:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / "whole.jpg")
    return (folder / "whole.jpg").read_bytes()


def test_a_truncated_jpeg_a_text_file_and_a_missing_file_are_bad_frames(tmp_path):
    (tmp_path / "cut.jpg").write_bytes(jpeg_bytes(tmp_path)[:1500])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("cut.jpg", "text.jpg", "empty.jpg", "gone.jpg"):
        with pytest.raises(BadFrame, match=name) as caught:
            read_frame(tmp_path / name)
        assert "\n" not in str(caught.value) and "--on-bad-frame" in str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_whatever_is_broken_in_a_file_it_is_a_bad_frame_and_nothing_else(tmp_path, suffix):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(tmp_path / f"whole{suffix}")
    whole, bad = (tmp_path / f"whole{suffix}").read_bytes(), tmp_path / f"bad{suffix}"
    for _ in range(150):
        broken = bytearray(whole)
        for place in rng.integers(4, min(len(whole), 300), size=4):
            broken[place] = rng.integers(256)
        bad.write_bytes(broken[: rng.integers(8, len(broken) + 1)])
        try:
            assert read_frame(bad).mode == "RGB"
        except BadFrame:
            pass


def test_the_quick_look_finds_what_does_not_begin_like_an_image(tmp_path):
    sound = []
    for suffix in ("jpg", "png", "bmp", "webp", "tif"):
        Image.fromarray(COLOURS).save(tmp_path / f"ok.{suffix}")
        sound.append(tmp_path / f"ok.{suffix}")
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    bad = [tmp_path / "text.jpg", tmp_path / "empty.png", tmp_path / "gone.png"]
    assert find_unreadable([*sound, *bad]) == bad
