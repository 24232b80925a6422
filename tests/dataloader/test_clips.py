"""A clip as tensors: bit-equal to PIL and OpenCV, each frame decoded once, chance a function of its key alone."""

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from dataloader import clips as clips_module
from dataloader.annotation import Clip
from dataloader.clips import ClipDataset, Views
from dataloader.frames import BadFrame, list_frames
from dataloader.loader import build_loader
from dataloader.sampling import ClipOrder
from dataloader.transforms import AugmentationLimits

SIZE = 32
FACE, BODY = (20, 15, 44, 40), (5.4, 3.6, 60.5, 50.2)


def write_frames(folder: Path, count: int, size=(80, 60), same: bool = False, suffix: str = "png") -> None:
    folder.mkdir(parents=True)
    for n in range(1, count + 1):
        rng = np.random.default_rng(7 if same else n)
        image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        image.save(folder / f"{n}.{suffix}")


def clip_of(root: Path, name: str = "RAER/P1/001", label: int = 2) -> Clip:
    frames = list_frames(root / name)
    return Clip(name, root / name, frames, len(frames), label, name.removeprefix("RAER/"))


@pytest.fixture
def clip(tmp_path) -> Clip:
    write_frames(tmp_path / "RAER/P1/001", 12)
    return clip_of(tmp_path)


def with_boxes(clip: Clip, frames=range(1, 13), **changes) -> Views:
    boxes = {f"{n}.png": (FACE[0] + n, *FACE[1:]) for n in frames}
    settings = {"segments": 4, "size": SIZE, "face_boxes": {"P1/001": boxes}, "body_boxes": {"P1/001": BODY}}
    return Views(**(settings | changes))


def face_by_hand(clip: Clip, index: int, box) -> np.ndarray:
    frame = Image.open(clip.frame_path(index)).convert("RGB")
    if box is not None:
        left, top, right, bottom = (int(v) for v in box)
        frame = frame.crop((max(left - 20, 0), max(top - 20, 0), min(right + 20, 80), min(bottom + 20, 60)))
    return np.asarray(frame.resize((SIZE, SIZE), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def context_by_hand(clip: Clip, index: int, box) -> np.ndarray:
    frame = Image.open(clip.frame_path(index)).convert("RGB")
    frame = np.asarray(frame if box is None else frame.crop(box))
    height, width = frame.shape[:2]
    ratio = min(SIZE / width, SIZE / height)
    new = int(width * ratio), int(height * ratio)
    square = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    left, top = (SIZE - new[0]) // 2, (SIZE - new[1]) // 2
    square[top : top + new[1], left : left + new[0]] = cv2.resize(frame, new, interpolation=cv2.INTER_LINEAR)
    return square.transpose(2, 0, 1)


def test_evaluation_pixels_are_bit_equal_to_pil_and_opencv(clip):
    item = ClipDataset([clip], with_boxes(clip))[0, 0, 0]
    assert item["face"].shape == item["context"].shape == (4, 3, SIZE, SIZE)
    assert item["face"].dtype == item["context"].dtype == torch.uint8
    assert (item["label"], item["id"], item["replaced_frames"]) == (2, "RAER/P1/001", 0)
    for slot, index in enumerate((1, 4, 7, 10)):  # floor(1.5 + 3 k)
        box = (FACE[0] + index + 1, *FACE[1:])
        assert np.array_equal(item["face"][slot], face_by_hand(clip, index, box))
        assert np.array_equal(item["context"][slot], context_by_hand(clip, index, BODY))


def test_without_boxes_both_views_are_the_whole_frame(clip):
    item = ClipDataset([clip], with_boxes(clip, face_boxes={}, body_boxes={}))[0, 0, 0]
    assert np.array_equal(item["face"][1], face_by_hand(clip, 4, None))
    assert np.array_equal(item["context"][1], context_by_hand(clip, 4, None))


def test_a_frame_without_a_box_takes_the_nearest_or_as_published_the_whole_frame(clip):
    for missing, box in (("nearest", (FACE[0] + 7, *FACE[1:])), ("frame", None)):
        views = with_boxes(clip, frames=[7, 12], missing_face=missing)
        item = ClipDataset([clip], views)[0, 0, 0]
        assert np.array_equal(item["face"][1], face_by_hand(clip, 4, box)), missing


def test_evaluation_knows_no_chance(clip):
    views = with_boxes(clip)
    first, other = ClipDataset([clip], views, seed=1)[0, 0, 0], ClipDataset([clip], views, seed=2)[5, 9, 0]
    assert torch.equal(first["face"], other["face"]) and torch.equal(first["context"], other["context"])


def test_a_window_is_fixed_in_evaluation_and_starts_anywhere_in_training(clip):
    views = with_boxes(clip, sampling="window", downsample=2)  # 4 of the frames 0 2 4 6 8 10

    def taken(dataset, position):
        faces = dataset[0, position, 0]["context"]
        every = [context_by_hand(clip, index, BODY) for index in range(12)]
        return [next(i for i, one in enumerate(every) if np.array_equal(face, one)) for face in faces]

    assert taken(ClipDataset([clip], views, seed=9), 3) == [2, 4, 6, 8]
    still = AugmentationLimits(max_angle=0, flip=False)
    drawn = {tuple(taken(ClipDataset([clip], views, training=True, limits=still), n)) for n in range(40)}
    assert {start for start, *_ in drawn} == {0, 2, 4, 6, 8, 10} and (10, 0, 2, 4) in drawn


@pytest.mark.parametrize("streams", ["face", "context"])
def test_a_stream_left_out_is_not_cut(clip, streams):
    item = ClipDataset([clip], with_boxes(clip, streams=streams))[0, 0, 0]
    assert {"face", "context"} & set(item) == {streams}


@pytest.mark.parametrize(("count", "segments"), [(12, 4), (12, 12), (3, 8), (1, 4)])
@pytest.mark.parametrize("training", [True, False])
def test_each_frame_is_decoded_once_though_two_crops_come_from_it(tmp_path, monkeypatch, count, segments, training):
    write_frames(tmp_path / "RAER/P1/001", count)
    clip, decoded, read = clip_of(tmp_path), Counter(), clips_module.decode_frame

    def counting(path, *choose):
        decoded[path] += 1
        return read(path, *choose)

    monkeypatch.setattr(clips_module, "decode_frame", counting)
    item = ClipDataset([clip], with_boxes(clip, segments=segments), training=training)[0, 0, 0]
    assert len(item["face"]) == len(item["context"]) == segments
    assert set(decoded.values()) == {1} and len(decoded) == min(count, segments)


class TestAugmentation:
    SIDE = 160  # large enough that any two angles give two pictures

    @pytest.fixture
    def still(self, tmp_path) -> Clip:
        """The same square picture in every frame: with no boxes both views are that picture."""
        write_frames(tmp_path / "RAER/P1/001", 6, size=(self.SIDE, self.SIDE), same=True)
        return clip_of(tmp_path)

    def items(self, still, shared, positions=range(12)):
        views = Views(segments=4, size=self.SIDE)
        dataset = ClipDataset([still], views, training=True, shared_augmentation=shared, seed=3)
        return [dataset[0, position, 0] for position in positions]

    @pytest.mark.parametrize("shared", [True, False])
    def test_every_frame_of_a_clip_gets_the_same_draw(self, still, shared):
        for item in self.items(still, shared):
            for view in ("face", "context"):
                assert (item[view] == item[view][:1]).all()

    def test_both_views_share_one_draw(self, still):
        items = self.items(still, True)
        assert all(torch.equal(item["face"], item["context"]) for item in items)
        assert len({item["face"].numpy().tobytes() for item in items}) == len(items)

    def test_or_draw_on_their_own_as_published(self, still):
        assert not any(torch.equal(item["face"], item["context"]) for item in self.items(still, False))

    def test_training_pixels_are_a_rotation_and_a_flip_of_the_picture(self, still):
        picture = Image.open(still.frame_path(0))
        flips = set()
        for item in self.items(still, True):
            face = np.asarray(item["face"][0]).transpose(1, 2, 0)
            middle = slice(76, 84)  # so near the centre 4 degrees move no pixel by a whole one
            centre = np.asarray(picture)[middle, middle]
            plain, mirrored = ((view[middle, middle] == centre).mean() for view in (face, face[:, ::-1]))
            assert max(plain, mirrored) > 0.7 > min(plain, mirrored)
            flips.add(plain < mirrored)
        assert flips == {True, False}

    @pytest.mark.parametrize("shared", [True, False])
    def test_parts_and_brightness_are_drawn_once_a_clip(self, still, shared):
        views = Views(segments=4, size=self.SIDE)
        limits = AugmentationLimits(max_angle=0, flip=False, random_crop=0.2, brightness=0.3)
        dataset = ClipDataset([still], views, training=True, shared_augmentation=shared, limits=limits, seed=3)
        items = [dataset[0, position, 0] for position in range(6)]
        for item in items:
            assert (item["face"] == item["face"][:1]).all() and (item["context"] == item["context"][:1]).all()
            assert torch.equal(item["face"], item["context"]) == shared
        assert len({item["face"].numpy().tobytes() for item in items}) == len(items)

    def test_with_everything_off_training_sees_the_pictures_of_evaluation(self, still):
        views = Views(segments=6, size=self.SIDE)
        off = AugmentationLimits(max_angle=0, flip=False)
        trained = ClipDataset([still], views, training=True, limits=off)[4, 2, 0]
        assert torch.equal(trained["face"], ClipDataset([still], views)[0, 0, 0]["face"])

    def test_all_chance_is_a_function_of_seed_epoch_and_position(self, clip):
        def dataset(seed=3):
            return ClipDataset([clip, clip], with_boxes(clip), training=True, seed=seed)

        first = dataset()[2, 5, 0]["face"]
        busy = dataset()
        busy[0, 0, 0], busy[1, 3, 1]
        assert torch.equal(busy[2, 5, 0]["face"], first) and torch.equal(busy[2, 5, 1]["face"], first)
        for other in (dataset()[3, 5, 0], dataset()[2, 6, 0], dataset(4)[2, 5, 0]):
            assert not torch.equal(other["face"], first)

    def test_the_number_of_workers_changes_nothing(self, tmp_path):
        for n in range(5):
            write_frames(tmp_path / f"RAER/P1/00{n}", 9)
        clips = [clip_of(tmp_path, f"RAER/P1/00{n}", label=n) for n in range(5)]

        def batches(workers):
            order = ClipOrder(5, seed=1)
            loader = build_loader(
                ClipDataset(clips, Views(segments=4, size=SIZE), training=True, seed=1),
                order,
                batch_size=2,
                workers=workers,
            )
            for order.epoch in range(2):
                yield from loader

        alone, helped = list(batches(0)), list(batches(2))
        assert len(alone) == len(helped) == 6
        assert sorted(id for batch in alone[:3] for id in batch["id"]) == [clip.id for clip in clips]
        for one, two in zip(alone, helped, strict=True):
            assert one["id"] == two["id"] and torch.equal(one["label"], two["label"])
            assert torch.equal(one["face"], two["face"]) and torch.equal(one["context"], two["context"])


class TestBadFrames:
    @pytest.fixture
    def damaged(self, tmp_path) -> Clip:
        """Eight JPEG frames, the third cut off in the middle."""
        write_frames(tmp_path / "RAER/P1/001", 8, suffix="jpg")
        path = tmp_path / "RAER/P1/001/3.jpg"
        path.write_bytes(path.read_bytes()[:900])
        return clip_of(tmp_path)

    def test_a_bad_frame_is_an_error_that_names_it(self, damaged):
        with pytest.raises(BadFrame, match=r"3\.jpg"):
            ClipDataset([damaged], Views(segments=8, size=SIZE))[0, 0, 0]

    def test_skip_takes_the_nearest_frame_and_counts(self, damaged):
        item = ClipDataset([damaged], Views(segments=8, size=SIZE, on_bad_frame="skip"))[0, 0, 0]
        assert item["replaced_frames"] == 1
        whole = [np.asarray(frame) for frame in item["context"]]
        assert np.array_equal(whole[2], whole[1]) or np.array_equal(whole[2], whole[3])
        assert not np.array_equal(whole[3], whole[4])

    def test_a_bad_frame_that_is_not_taken_does_not_matter(self, damaged):
        assert ClipDataset([damaged], Views(segments=4, size=SIZE))[0, 0, 0]["replaced_frames"] == 0  # 1 3 5 7

    def test_a_clip_without_any_readable_frame_is_an_error_even_so(self, damaged):
        for index in range(8):
            damaged.frame_path(index).write_bytes(b"\xff\xd8\xff")
        with pytest.raises(BadFrame, match="P1/001"):
            ClipDataset([damaged], Views(segments=8, size=SIZE, on_bad_frame="skip"))[0, 0, 0]
