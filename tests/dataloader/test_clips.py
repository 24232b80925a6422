"""A clip as tensors: bit-equal to a plain loader of PIL and OpenCV, decoded once, augmented by its key."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from benchmarks.plain_data import load_clip
from dataloader import clips as clips_module
from dataloader.annotation import Clip
from dataloader.clips import ClipDataset, Views, cut_frame, indexes_of
from dataloader.crops import choose_shrink
from dataloader.frames import BadFrame, list_frames
from dataloader.loader import Loader, build_loader
from dataloader.sampling import ClipOrder
from dataloader.transforms import AugmentationLimits, sample_augmentation
from utils.errors import UserError

SIZE = 32
FACE, BODY = (20, 15, 44, 40), (5.4, 3.6, 60.5, 50.2)


def noise(seed: int, width: int = 80, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def scene(seed: int) -> Image.Image:
    """A picture like that of a camera: soft shapes with some grain, 720 × 540."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.integers(0, 256, (27, 36, 3), dtype=np.uint8), (720, 540), interpolation=cv2.INTER_CUBIC)
    return Image.fromarray(np.clip(soft + rng.normal(0, 2, soft.shape), 0, 255).astype(np.uint8))


def make_clip(folder: Path, pictures: list[Image.Image], suffix: str = "png", label: int = 2) -> Clip:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures, 1):
        picture.save(folder / f"{number}.{suffix}", quality=92)
    frames = list_frames(folder)
    return Clip(f"RAER/P1/{folder.name}", folder, frames, len(frames), label, f"P1/{folder.name}")


@pytest.fixture
def clip(tmp_path) -> Clip:
    return make_clip(tmp_path / "001", [noise(n) for n in range(1, 13)])


@pytest.fixture(scope="module")
def filmed(tmp_path_factory) -> Clip:
    return make_clip(tmp_path_factory.mktemp("filmed") / "001", [scene(n) for n in range(1, 5)], "jpg")


def face_at(index: int, face=FACE):
    """A box that moves by a pixel from frame to frame."""
    return face and (face[0] + index, *face[1:])


def views_of(clip: Clip, face=FACE, body=BODY, with_box=None, **changes) -> Views:
    indexes = range(len(clip.frames)) if with_box is None else with_box
    boxes = {clip.frames[i]: face_at(i, face) for i in indexes} if face else {}
    settings = {"segments": 4, "size": SIZE, "face_boxes": {clip.key: boxes}, "body_boxes": {clip.key: body}}
    return Views(**(settings | changes))


def plain(clip: Clip, indexes, faces, body, size=SIZE, angle=0.0, flip=False):
    return load_clip([clip.frame_path(i) for i in indexes], faces, body, size, (angle,) * 2, (flip,) * 2)


def assert_equal(item, expected):
    assert np.array_equal(item["face"], expected[0]) and np.array_equal(item["context"], expected[1])


@pytest.mark.parametrize(("face", "body"), [(FACE, BODY), (None, None), (FACE, None), (None, (-9.0, 5.0, 120.0, 70.0))])
def test_evaluation_pixels_are_bit_equal_to_pil_and_opencv(clip, face, body):
    item = ClipDataset([clip], views_of(clip, face, body), seed=2)[5, 9, 0]  # it has no random part
    assert item["face"].shape == item["context"].shape == (4, 3, SIZE, SIZE)
    assert item["face"].dtype == item["context"].dtype == torch.uint8
    assert (item["label"], item["id"], item["replaced_frames"]) == (2, "RAER/P1/001", 0)
    indexes = [1, 4, 7, 10]  # floor(1.5 + 3 k)
    assert_equal(item, plain(clip, indexes, [face_at(i, face) for i in indexes], body))


@pytest.mark.parametrize(
    ("face", "body"),
    [
        ((200, 100, 260, 170), (100.4, 50.6, 400.5, 500.2)),
        ((0, 0, 700, 500), None),
        (None, (-50.0, 30.0, 900.0, 600.0)),
    ],
)
def test_jpegs_are_bit_equal_too_in_evaluation_and_in_training(filmed, face, body):
    views, faces = views_of(filmed, face, body), [face_at(i, face) for i in range(4)]
    assert_equal(ClipDataset([filmed], views)[0, 0, 0], plain(filmed, range(4), faces, body))
    for position in range(4):
        item = ClipDataset([filmed], views, training=True, seed=5)[3, position, 0]
        draw = sample_augmentation(np.random.default_rng([5, 1, 3, position]))  # as many frames as segments draw none
        assert_equal(item, plain(filmed, range(4), faces, body, angle=draw.angle, flip=draw.flip))


@pytest.mark.parametrize(("missing_face", "box"), [("nearest", face_at(6)), ("frame", None)])
def test_a_frame_without_a_box_uses_the_nearest_box_or_as_published_the_whole_frame(clip, missing_face, box):
    item = ClipDataset([clip], views_of(clip, with_box=[6, 11], missing_face=missing_face))[0, 0, 0]
    assert np.array_equal(item["face"][1], plain(clip, [4], [box], BODY)[0][0])


def test_a_window_is_fixed_in_evaluation_and_starts_anywhere_in_training(clip):
    views = views_of(clip, sampling="window", downsample=2)  # 4 of the frames 0 2 4 6 8 10
    assert_equal(ClipDataset([clip], views)[0, 3, 0], plain(clip, [2, 4, 6, 8], map(face_at, [2, 4, 6, 8]), BODY))
    windows = {tuple(indexes_of(clip, views, np.random.default_rng(n), True)) for n in range(40)}
    assert {start for start, *_ in windows} == {0, 2, 4, 6, 8, 10} and (10, 0, 2, 4) in windows


@pytest.mark.parametrize("streams", ["face", "context"])
def test_a_stream_that_is_left_out_is_not_cropped(clip, streams):
    item = ClipDataset([clip], views_of(clip, streams=streams))[0, 0, 0]
    assert {"face", "context"} & set(item) == {streams}


@pytest.mark.parametrize("decode", ["exact", "scaled"])
@pytest.mark.parametrize(("count", "segments"), [(12, 4), (12, 12), (3, 8), (1, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_each_frame_is_decoded_once_for_both_crops(tmp_path, monkeypatch, count, segments, training, decode):
    clip = make_clip(tmp_path / "001", [noise(n) for n in range(count)], "jpg")
    decodings, decode_frame = Counter(), clips_module.decode_frame
    monkeypatch.setattr(
        clips_module, "decode_frame", lambda path, shrink: decodings.update([path]) or decode_frame(path, shrink)
    )
    item = ClipDataset([clip], views_of(clip, segments=segments, decode=decode), training=training)[0, 0, 0]
    assert len(item["face"]) == len(item["context"]) == segments
    assert set(decodings.values()) == {1} and len(decodings) == min(count, segments)


class TestScaled:
    @pytest.mark.parametrize(
        ("face", "body", "shrink"),
        [
            ((200, 100, 260, 170), (100.4, 50.6, 400.5, 500.2), 1),  # a face of 100 pixels is too small for it
            ((200, 100, 300, 200), (101.4, 50.6, 402.5, 503.2), 2),
            ((151, 103, 373, 334), None, 4),
            (None, None, 4),
        ],
    )
    def test_scaled_crops_keep_their_resolution_and_differ_by_at_most_two_255ths(self, filmed, face, body, shrink):
        scaled, exact = (views_of(filmed, face, body, size=64, decode=decode) for decode in ("scaled", "exact"))
        for index in range(4):
            small, whole = (
                cut_frame(filmed, index, face_at(index, face), body, v)["face"].pixels for v in (scaled, exact)
            )
            assert min(small.shape[:2]) >= 64
            assert abs(whole.shape[0] / small.shape[0] - shrink) < 0.1 * shrink
        item, reference = ClipDataset([filmed], scaled)[0, 0, 0], ClipDataset([filmed], exact)[0, 0, 0]
        for stream in ("face", "context"):
            difference = np.abs(item[stream].numpy().astype(int) - reference[stream].numpy()).mean()
            assert difference < 2 and (difference > 0) == (shrink > 1), stream

    def test_the_scale_is_the_smallest_that_keeps_both_crops_at_their_size(self):
        whole = (0, 0, 1920, 1080)
        assert choose_shrink(whole, whole, 224) == 4  # 1080 / 4 = 270, 1080 / 8 = 135
        assert choose_shrink(None, whole, 224) == 4  # twice 224 of 1920
        assert choose_shrink(None, (0, 0, 3840, 100), 224) == 8
        assert choose_shrink(None, (0, 0, 895, 895), 224) == 1 and choose_shrink(None, (0, 0, 100, 896), 224) == 2
        assert choose_shrink((0, 0, 448, 448), whole, 224) == 2
        assert choose_shrink((0, 0, 447, 900), whole, 224) == 1
        assert choose_shrink((0, 0, 900, 900), (0, 0, 300, 447), 224) == 1

    def test_a_body_box_is_black_outside_of_the_frame(self, filmed):
        views = views_of(filmed, None, (-700.0, 0.0, 720.0, 540.0), size=64, decode="scaled")
        context = ClipDataset([filmed], views)[0, 0, 0]["context"].numpy()
        assert not context[..., :30].any() and context[:, :, 25:40, 34:].min(axis=1).any()


@pytest.mark.parametrize(("decode", "face"), [("exact", None), ("exact", (200, 100, 260, 170)), ("scaled", None)])
def test_crops_are_copies_and_not_changed_by_the_next_decoded_frame(filmed, decode, face):
    views = views_of(filmed, size=64, decode=decode)
    faces = [cut_frame(filmed, index, face, None, views)["face"].pixels for index in range(4)]
    assert np.array_equal(faces[0], cut_frame(filmed, 0, face, None, views)["face"].pixels)
    assert not np.array_equal(faces[0], faces[3])


class TestAugmentation:
    EDGE = 160  # large enough that any two angles give two pictures

    @pytest.fixture
    def still(self, tmp_path) -> Clip:
        """The same square picture in every frame; without boxes both streams show this picture."""
        return make_clip(tmp_path / "still", [noise(7, self.EDGE, self.EDGE)] * 6)

    @pytest.mark.parametrize("limits", [AugmentationLimits(), AugmentationLimits(0, False, 0.2, 0.3)])
    @pytest.mark.parametrize("shared", [True, False])
    def test_all_frames_of_a_clip_share_one_augmentation_and_streams_share_it_or_not(self, still, shared, limits):
        chance = {"training": True, "shared_augmentation": shared, "limits": limits, "seed": 3}
        dataset = ClipDataset([still], Views(segments=4, size=self.EDGE), **chance)
        items = [dataset[0, position, 0] for position in range(12)]
        for item in items:
            assert (item["face"] == item["face"][:1]).all() and (item["context"] == item["context"][:1]).all()
            assert torch.equal(item["face"], item["context"]) == shared
        assert len({item["face"].numpy().tobytes() for item in items}) == len(items)

    def test_random_choices_are_a_function_of_seed_epoch_and_position(self, clip):
        def dataset(seed=3):
            return ClipDataset([clip, clip], views_of(clip), training=True, seed=seed)

        first, busy = dataset()[2, 5, 0]["face"], dataset()
        busy[0, 0, 0], busy[1, 3, 1]
        assert torch.equal(busy[2, 5, 0]["face"], first) and torch.equal(busy[2, 5, 1]["face"], first)
        for item in (dataset()[3, 5, 0], dataset()[2, 6, 0], dataset(4)[2, 5, 0]):
            assert not torch.equal(item["face"], first)

    def test_the_number_of_workers_changes_nothing(self, tmp_path):
        clips = [make_clip(tmp_path / f"00{n}", [noise(i) for i in range(9)], label=n) for n in range(5)]

        def batches(workers):
            order = ClipOrder(5, seed=1)
            dataset = ClipDataset(clips, Views(segments=4, size=SIZE), training=True, seed=1)
            loader = build_loader(dataset, order, batch_size=2, workers=workers)
            for order.epoch in range(2):
                yield from loader

        batches_of_main, batches_of_workers = list(batches(0)), list(batches(2))
        assert len(batches_of_main) == len(batches_of_workers) == 6
        assert sorted(id for batch in batches_of_main[:3] for id in batch["id"]) == [clip.id for clip in clips]
        for batch, same in zip(batches_of_main, batches_of_workers, strict=True):
            assert batch["id"] == same["id"]
            assert all(torch.equal(batch[name], same[name]) for name in ("label", "face", "context"))


class Refusing(Dataset):
    """A set whose first item is a mistake of the user."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise UserError("list.txt, line 3: wrong")


class TestBadFrames:
    @pytest.fixture
    def damaged(self, tmp_path) -> Clip:
        """Eight JPEG frames, the third cut off in the middle."""
        clip = make_clip(tmp_path / "001", [noise(n) for n in range(8)], "jpg")
        clip.frame_path(2).write_bytes(clip.frame_path(2).read_bytes()[:900])
        return clip

    def test_a_bad_frame_is_an_error_that_names_it(self, damaged):
        with pytest.raises(BadFrame, match=r"3\.jpg"):
            ClipDataset([damaged], views_of(damaged, segments=8))[0, 0, 0]

    def test_skip_uses_the_nearest_frame_with_the_box_of_the_bad_one_and_counts(self, damaged):
        item = ClipDataset([damaged], views_of(damaged, segments=8, on_bad_frame="skip"))[0, 0, 0]
        faces = [face_at(i) for i in range(8)]
        assert item["replaced_frames"] == 1
        assert_equal(item, plain(damaged, [0, 1, 1, 3, 4, 5, 6, 7], faces, BODY))

    def test_the_nearest_frame_may_be_one_that_is_not_sampled(self, damaged):
        damaged.frame_path(3).write_bytes(b"")
        item = ClipDataset([damaged], views_of(damaged, segments=2, on_bad_frame="skip", offset=0.75))[0, 0, 0]  # 3 7
        assert item["replaced_frames"] == 1
        assert_equal(item, plain(damaged, [4, 7], [face_at(3), face_at(7)], BODY))

    def test_an_error_in_a_worker_is_the_same_line(self):
        with pytest.raises(UserError, match="^list.txt, line 3: wrong$"):
            list(Loader(Refusing(), batch_size=None, num_workers=1))

    def test_a_bad_frame_that_is_not_sampled_does_not_matter(self, damaged):
        assert ClipDataset([damaged], views_of(damaged))[0, 0, 0]["replaced_frames"] == 0  # 1 3 5 7

    def test_a_clip_without_any_readable_frame_is_an_error_with_skip(self, damaged):
        for index in range(8):
            damaged.frame_path(index).write_bytes(b"\xff\xd8\xff")
        with pytest.raises(BadFrame, match="001: none of its frames can be read"):
            ClipDataset([damaged], views_of(damaged, segments=8, on_bad_frame="skip"))[0, 0, 0]
