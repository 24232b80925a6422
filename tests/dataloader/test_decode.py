"""Decoding: every bit as PIL's and as the plain loader's in exact mode, near and large enough in scaled mode."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.plain_data import load_clip
from dataloader.annotation import Clip
from dataloader.clips import ClipDataset, Views, cut_frame
from dataloader.crops import choose_shrink
from dataloader.decode import decode_frame, jpeg_size
from dataloader.frames import BadFrame, list_frames
from dataloader.transforms import draw_augmentation

WIDTH, HEIGHT, SIZE = 720, 540, 64
NOISE = np.random.default_rng(0).integers(0, 256, (90, 121, 3), dtype=np.uint8)


def scene(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """Soft shapes with some grain, as a camera sees."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    soft = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(float)
    return Image.fromarray(np.clip(soft + rng.normal(0, 2, soft.shape), 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, **settings) -> bytes:
    made = io.BytesIO()
    image.save(made, "JPEG", **settings)
    return made.getvalue()


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Clip:
    folder = tmp_path_factory.mktemp("frames") / "P1/001"
    folder.mkdir(parents=True)
    for n in range(1, 5):
        scene(n).save(folder / f"{n}.jpg", quality=92)
    return Clip("P1/001", folder, list_frames(folder), 4, 0, "P1/001")


def views(face, body, **changes) -> Views:
    boxes = {f"{n}.jpg": tuple(v + n for v in face) for n in range(1, 5)} if face else {}
    settings = {"segments": 4, "size": SIZE, "body_boxes": {"P1/001": body} if body else {}}
    return Views(**(settings | {"face_boxes": {"P1/001": boxes} if face else {}} | changes))


@pytest.mark.parametrize("subsampling", [0, 1, 2, "4:1:1"])
@pytest.mark.parametrize("more", [{}, {"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 3}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_kind_of_jpeg_is_bit_equal_to_pils(tmp_path, subsampling, more, mode):
    settings = more | ({"subsampling": subsampling} if mode == "RGB" else {})
    path = tmp_path / "f.jpg"
    for quality in (40, 95):
        path.write_bytes(jpeg(Image.fromarray(NOISE).convert(mode), quality=quality, **settings))
        pixels, shrink = decode_frame(path)
        assert shrink == 1 and np.array_equal(pixels, np.asarray(Image.open(path).convert("RGB")))


def test_other_files_and_other_colour_spaces_are_pils_too(tmp_path):
    Image.fromarray(NOISE).save(tmp_path / "f.png")
    Image.fromarray(NOISE).convert("CMYK").save(tmp_path / "cmyk.jpg")
    for name in ("f.png", "cmyk.jpg"):
        expected = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert np.array_equal(decode_frame(tmp_path / name, lambda *_: 8)[0], expected)


def test_a_camera_that_was_held_upright_turns_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "turn by 90 degrees", which the published loader does not
    (tmp_path / "f.jpg").write_bytes(jpeg(Image.fromarray(NOISE), exif=exif))
    assert decode_frame(tmp_path / "f.jpg")[0].shape == NOISE.shape


def test_crops_outlive_the_frame_that_the_next_is_decoded_over(clip):
    for decode, face in (("exact", None), ("exact", (200, 100, 260, 170)), ("scaled", None)):
        cut = [cut_frame(clip, index, face, None, views(None, None, decode=decode)) for index in range(4)]
        alone = [cut_frame(clip, index, face, None, views(None, None, decode=decode))["face"].pixels for index in (0,)]
        assert np.array_equal(cut[0]["face"].pixels, alone[0]), decode
        assert not np.array_equal(cut[0]["face"].pixels, cut[3]["face"].pixels), decode


def test_the_size_of_a_jpeg_is_read_without_decoding_it():
    assert jpeg_size(jpeg(scene(0))) == (WIDTH, HEIGHT)
    assert jpeg_size(jpeg(scene(0))[:-2]) is None and jpeg_size(b"\xff\xd8\xff\xd9") is None
    assert jpeg_size(jpeg(scene(0).convert("CMYK"))) is None


@pytest.mark.parametrize("kept", [0, 2, 100, 1000, -2, -1])
def test_a_file_that_is_cut_off_is_a_bad_frame_and_prints_nothing(tmp_path, capfd, kept):
    path = tmp_path / "cut.jpg"
    path.write_bytes(jpeg(Image.fromarray(NOISE))[:kept])
    with pytest.raises(BadFrame, match=r"cut\.jpg"):
        decode_frame(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("face", "body"),
    [
        ((200, 100, 260, 170), (100.4, 50.6, 400.5, 500.2)),
        ((0, 0, 700, 500), None),
        (None, (-50.0, 30.0, 900.0, 600.0)),
    ],
)
def test_exact_is_bit_equal_to_the_plain_loader_in_evaluation_and_in_training(clip, face, body):
    frames = [clip.frame_path(i) for i in range(4)]
    boxes = [tuple(v + n for v in face) if face else None for n in range(1, 5)]
    item = ClipDataset([clip], views(face, body))[0, 0, 0]
    plain = load_clip(frames, boxes, body, SIZE)
    assert np.array_equal(item["face"], plain[0]) and np.array_equal(item["context"], plain[1])
    for position in range(4):
        item = ClipDataset([clip], views(face, body), training=True, seed=5)[3, position, 0]
        rng = np.random.default_rng([5, 1, 3, position])
        rng.random(0)  # a clip of as many frames as segments draws none
        drawn = draw_augmentation(rng)
        plain = load_clip(frames, boxes, body, SIZE, (drawn.angle,) * 2, (drawn.flip,) * 2)
        assert np.array_equal(item["face"], plain[0]) and np.array_equal(item["context"], plain[1])


@pytest.mark.parametrize(
    ("face", "body", "shrink"),
    [
        ((200, 100, 260, 170), (100.4, 50.6, 400.5, 500.2), 1),  # a face of 100 pixels has no room
        ((200, 100, 300, 200), (101.4, 50.6, 402.5, 503.2), 2),
        ((151, 103, 373, 334), None, 4),
        (None, None, 4),
    ],
)
def test_scaled_keeps_the_targets_resolution_and_stays_within_two_255ths(clip, face, body, shrink):
    scaled = views(face, body, decode="scaled")
    for index in range(4):
        boxes = tuple(v + index + 1 for v in face) if face else None
        crops = cut_frame(clip, index, boxes, body, scaled)
        whole = cut_frame(clip, index, boxes, body, views(face, body))
        height, width = crops["face"].pixels.shape[:2]
        assert min(height, width) >= SIZE
        assert abs(whole["face"].pixels.shape[0] / height - shrink) < 0.1 * shrink
    item, exact = ClipDataset([clip], scaled)[0, 0, 0], ClipDataset([clip], views(face, body))[0, 0, 0]
    for stream in ("face", "context"):
        difference = np.abs(item[stream].numpy().astype(int) - exact[stream].numpy()).mean()
        assert difference < 2 and (difference > 0) == (shrink > 1), stream


def test_the_part_is_the_smallest_that_leaves_both_crops_their_target():
    whole = (0, 0, 1920, 1080)
    assert choose_shrink(whole, whole, 224) == 4  # 1080 / 4 = 270, 1080 / 8 = 135
    assert choose_shrink(None, whole, 224) == 4  # twice 224 of 1920
    assert choose_shrink(None, (0, 0, 3840, 100), 224) == 8
    assert choose_shrink(None, (0, 0, 895, 895), 224) == 1 and choose_shrink(None, (0, 0, 100, 896), 224) == 2
    assert choose_shrink((0, 0, 448, 448), whole, 224) == 2
    assert choose_shrink((0, 0, 447, 900), whole, 224) == 1
    assert choose_shrink((0, 0, 900, 900), (0, 0, 300, 447), 224) == 1


def test_a_body_box_that_leaves_the_frame_is_black_there_in_scaled_mode_too(clip):
    item = ClipDataset([clip], views(None, (-700.0, 0.0, 720.0, 540.0), decode="scaled"))[0, 0, 0]
    context = item["context"].numpy()
    assert not context[..., :30].any() and context[:, :, 25:40, 34:].min(axis=1).any()


def test_a_bad_frame_is_replaced_by_the_nearest_cut_by_its_own_box(tmp_path):
    folder = tmp_path / "P1/001"
    folder.mkdir(parents=True)
    for n in range(1, 5):
        scene(n).save(folder / f"{n}.jpg")
    Path(folder / "2.jpg").write_bytes(b"\xff\xd8\xff")
    clip = Clip("P1/001", folder, list_frames(folder), 4, 0, "P1/001")
    item = ClipDataset([clip], views((200, 100, 260, 170), None, on_bad_frame="skip"))[0, 0, 0]
    faces = [tuple(v + n for v in (200, 100, 260, 170)) for n in (1, 2, 3, 4)]
    frames = [clip.frame_path(i) for i in (0, 0, 2, 3)]
    assert item["replaced_frames"] == 1
    assert np.array_equal(item["face"], load_clip(frames, faces, None, SIZE)[0])
