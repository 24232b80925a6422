"""Frame files: numeric order, only images, RGB bit-equal to PIL's, and one line about files that cannot be read."""

import io
import os
import socket
from itertools import permutations

import numpy as np
import pytest
from PIL import Image

from dataloader.frames import (
    BadFrame,
    decode_frame,
    find_unreadable,
    hash_files,
    header_size,
    jpeg_size,
    list_frames,
    numeric_key,
    read_frame,
    upright,
)

COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], dtype=np.uint8)
NOISE = np.random.default_rng(0).integers(0, 256, (90, 121, 3), dtype=np.uint8)


def jpeg(pixels: np.ndarray = NOISE, mode: str = "RGB", **settings) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "JPEG", **settings)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("names", "frames"),
    [
        ([f"frame_{n}.jpg" for n in (10, 9, 2, 1, 100, 11)], [f"frame_{n}.jpg" for n in (1, 2, 9, 10, 11, 100)]),
        (
            ["p2_00010.png", "p2_00002.png", "p10_00001.png", "p1_3.png"],
            ["p1_3.png", "p2_00002.png", "p2_00010.png", "p10_00001.png"],
        ),
        (
            ["1.jpg", "2.JPEG", "3.png", "Thumbs.db", ".DS_Store", "._1.jpg", "notes.txt", "1.json"],
            ["1.jpg", "2.JPEG", "3.png"],
        ),
        (["2²3.jpg", "1.jpg"], ["1.jpg", "2²3.jpg"]),
        (["٣.jpg", "1.jpg"], ["1.jpg", "٣.jpg"]),
    ],
)
def test_frames_are_the_images_of_a_folder_sorted_by_number(tmp_path, names, frames):
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    assert list_frames(tmp_path) == tuple(frames)


def test_frames_with_equal_numbers_have_a_fixed_order():
    orders = {tuple(sorted(names, key=numeric_key)) for names in permutations(["01.jpg", "1.jpg", "001.jpg"])}
    assert len(orders) == 1


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "L", "LA", "1"])
def test_palette_alpha_and_grey_become_rgb(tmp_path, mode):
    pixels = COLOURS if mode in ("RGB", "P", "RGBA") else np.uint8([[[0] * 3, [255] * 3], [[255] * 3, [0] * 3]])
    image = Image.fromarray(pixels)
    image = image.quantize(colors=4) if mode == "P" else image.convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(np.uint8([[255, 128], [0, 7]])))
    image.save(tmp_path / "f.png")
    assert Image.open(tmp_path / "f.png").mode == mode
    frame = read_frame(tmp_path / "f.png")
    assert frame.mode == "RGB" and np.array_equal(frame, pixels)


TURNED = {  # EXIF orientation → the stored pixels for an upright picture
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels.swapaxes(0, 1)[:, ::-1],
    7: lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
    8: lambda pixels: pixels.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("read", [read_frame, upright])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_tiff_is_upright_for_every_stored_orientation(tmp_path, mode, compression, read):
    rng, channels = np.random.default_rng(0), {"RGB": (3,), "RGBA": (4,)}.get(mode, ())
    highest, kind = (65536, np.uint16) if mode == "I;16" else (256, np.uint8)
    pixels = rng.integers(highest, size=(13, 22, *channels), dtype=kind)
    rgb = pixels >> 8 if mode == "I;16" else pixels
    rgb = rgb[..., :3] if channels else np.stack([rgb] * 3, axis=-1)
    for orientation, turn in TURNED.items():
        Image.fromarray(pixels).save(tmp_path / "f.tif", compression=compression, tiffinfo={274: orientation})
        assert Image.open(tmp_path / "f.tif").mode == mode
        assert np.array_equal(read(tmp_path / "f.tif"), turn(rgb)), orientation


@pytest.mark.parametrize("subsampling", [0, 1, 2, "4:1:1"])
@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_kind_of_jpeg_is_bit_equal_to_pils(tmp_path, subsampling, settings, mode):
    settings = settings | ({"subsampling": subsampling} if mode == "RGB" else {})
    path = tmp_path / "f.jpg"
    for quality in (40, 95):
        path.write_bytes(jpeg(mode=mode, quality=quality, **settings))
        expected = np.asarray(Image.open(path).convert("RGB"))
        pixels, shrink = decode_frame(path)
        assert shrink == 1 and np.array_equal(pixels, expected) and np.array_equal(read_frame(path), expected)


def test_other_files_and_other_colour_spaces_are_pils_too(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "f.png")
    (tmp_path / "cmyk.jpg").write_bytes(jpeg(mode="CMYK"))
    for name in ("f.png", "cmyk.jpg"):
        pixels, shrink = decode_frame(tmp_path / name, shrink=8)
        assert shrink == 1 and np.array_equal(pixels, Image.open(tmp_path / name).convert("RGB"))
        assert jpeg_size(tmp_path / name) is None


def test_the_camera_orientation_of_a_jpeg_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees", which the published loader does not
    (tmp_path / "f.jpg").write_bytes(jpeg(exif=exif))
    assert decode_frame(tmp_path / "f.jpg")[0].shape == NOISE.shape


@pytest.mark.parametrize(
    ("content", "size"), [(jpeg(), (121, 90)), (jpeg()[:-2], None), (b"\xff\xd8\xff\xd9", None), (b"", None)]
)
def test_the_size_of_a_jpeg_is_read_without_decoding_it(tmp_path, content, size):
    (tmp_path / "f.jpg").write_bytes(content)
    assert jpeg_size(tmp_path / "f.jpg") == size


@pytest.mark.parametrize(
    "content", [None, b"", b"hello", *(jpeg()[:end] for end in (2, 100, 1000, -2, -1))], ids=lambda c: c and len(c)
)
def test_missing_truncated_and_other_files_are_bad_frames_with_a_one_line_reason(tmp_path, capfd, content):
    if content is not None:
        (tmp_path / "bad.jpg").write_bytes(content)
    for read in (read_frame, decode_frame):
        with pytest.raises(BadFrame, match=r"bad\.jpg") as caught:
            read(tmp_path / "bad.jpg")
        assert "\n" not in str(caught.value) and "--on-bad-frame" in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tiff"])
def test_any_damage_of_a_file_is_a_bad_frame_and_no_other_error(tmp_path, suffix):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(tmp_path / f"whole{suffix}")
    whole, bad = (tmp_path / f"whole{suffix}").read_bytes(), tmp_path / f"bad{suffix}"
    for _ in range(150):
        broken = bytearray(whole)
        for position in rng.integers(4, min(len(whole), 300), size=4):
            broken[position] = rng.integers(256)
        bad.write_bytes(broken[: rng.integers(8, len(broken) + 1)])
        try:
            assert read_frame(bad).mode == "RGB"
        except BadFrame:
            pass


def test_the_quick_check_finds_files_that_do_not_begin_like_an_image(tmp_path):
    images = [tmp_path / f"ok.{suffix}" for suffix in ("jpg", "png", "bmp", "webp", "tif")]
    for path in images:
        Image.fromarray(COLOURS).save(path)
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    bad = [tmp_path / "text.jpg", tmp_path / "empty.png", tmp_path / "gone.png"]
    assert find_unreadable([*images, *bad]) == bad


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "socket"])
def test_a_file_that_is_not_regular_is_a_bad_frame_without_waiting(tmp_path, kind):
    path = tmp_path / "1.jpg"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")  # it has no end
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(path))
    for read in (decode_frame, read_frame, header_size, jpeg_size):
        with pytest.raises(BadFrame, match="1.jpg: cannot be read as an image"):
            read(path)
    assert find_unreadable([path]) == [path] and hash_files([path]) == hash_files([tmp_path / "missing.jpg"])


def test_the_hash_of_files_depends_on_their_sizes_and_three_blocks(tmp_path):
    path, size = tmp_path / "f.jpg", 100_000
    path.write_bytes(bytes(size))
    hashes = {hash_files([path])}
    for at in (0, 4095, size // 2, size - 1):
        path.write_bytes(bytes(at) + b"x" + bytes(size - at - 1))
        hashes.add(hash_files([path]))
    path.write_bytes(bytes(size - 1))
    assert len(hashes | {hash_files([path])}) == 6
    os.utime(path, (1, 1))
    assert hash_files([path]) == hash_files([path, path], most=1) != hash_files([path, path])
    for size in (0, 1, 4096, 9000, 12288, 12289):  # small files are hashed completely
        path.write_bytes(bytes(size))
        before = hash_files([path])
        path.write_bytes(bytes(size // 3) + b"x" + bytes(max(size - size // 3 - 1, 0)))
        assert hash_files([path]) != before


def test_the_header_states_the_size(tmp_path):
    (tmp_path / "f.jpg").write_bytes(jpeg()[:900])  # nothing but the header is read
    Image.fromarray(NOISE).save(tmp_path / "f.png")
    assert header_size(tmp_path / "f.jpg") == header_size(tmp_path / "f.png") == (121, 90)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_name_that_is_not_utf8_is_read_like_any_other(tmp_path, suffix):
    path = tmp_path / os.fsdecode(b"caf\xe9") / os.fsdecode(b"\xff" + suffix.encode())
    path.parent.mkdir()
    Image.fromarray(NOISE).save(path)
    assert np.array_equal(decode_frame(path)[0], Image.open(path))
