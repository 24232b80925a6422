"""Windows of features: their rows, the values of missing frames, and the frames that they cover."""

import contextlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataloader.affwild import Video
from dataloader.loader import collate
from dataloader.sequences import FeatureSource, WindowDataset, frame_square, window_starts
from utils.errors import UserError


def make_video(id, frames, missing=(), task="expr", labelled=True):
    files = tuple(None if i in missing else f"{i + 1:05d}.jpg" for i in range(frames))
    labels = np.arange(frames, dtype=np.int64) % 8 if labelled else np.full(frames, -1)
    if task == "va":
        labels = np.linspace(-1, 1, 2 * frames, dtype=np.float32).reshape(frames, 2)
    return Video(id, Path("faces"), files, {task: labels})


def store(folder, id, frames, width=3, first=0):
    """Row i holds ``first`` + i in every column."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{id}.npy", np.arange(first, first + frames, dtype=np.float16)[:, None].repeat(width, axis=1))
    return folder


def source_of(folder, *videos):
    for video in videos:
        store(folder, video.id, len(video))
    return list(videos), FeatureSource(videos, [folder])


def carry(frames, missing):
    """Reference by rows: the last existing frame, or the next one at the start."""
    rows, last = [], None
    for i in range(frames):
        last = last if i in missing else i
        rows.append(last)
    first = next((i for i in range(frames) if i not in missing), None)
    return [first if row is None else row for row in rows]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.sets(st.integers(0, 29)), st.data())
def test_missing_frames_use_the_frame_before_or_the_next_or_zeros(tmp_path_factory, frames, missing, data):
    _, source = source_of(tmp_path_factory.mktemp("f"), make_video("v", frames, missing))
    start = data.draw(st.integers(0, frames - 1))
    stop = data.draw(st.integers(start + 1, frames))
    features, carried, padding = source.read("v", start, stop)
    assert features.dtype == np.float32 and features.shape == (stop - start, 3)
    assert carried.tolist() == [i in missing for i in range(start, stop)]
    if missing.issuperset(range(frames)):
        assert not features.any() and padding.all()
    else:
        assert features[:, 0].tolist() == carry(frames, missing)[start:stop] and not padding.any()


def test_a_video_without_a_frame_check_has_all_frames(tmp_path):
    _, source = source_of(tmp_path, Video("v", None, (None,) * 4, {"expr": np.zeros(4, dtype=np.int64)}))
    features, missing, padding = source.read("v", 0, 4)
    assert features[:, 0].tolist() == [0, 1, 2, 3] and not missing.any() and not padding.any()


def test_feature_folders_are_joined_side_by_side(tmp_path):
    folders = [store(tmp_path / "a", "v", 5, width=2), store(tmp_path / "b", "v", 5, width=1, first=100)]
    source = FeatureSource([make_video("v", 5, {2})], folders)
    assert source.width == 3
    assert source.read("v", 1, 4)[0].tolist() == [[1, 1, 101], [1, 1, 101], [3, 3, 103]]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((4, 3), np.float32), "v.npy: 4 rows, the video has 5 label lines"),
        (np.zeros((5, 4), np.float32), "v.npy: 4 features per frame, files before it have 3"),
        (np.zeros((5, 3), np.int64), "expected frames × features of floats, got 5 × 3 of int64"),
        (np.zeros((5, 3, 1), np.float32), "got 5 × 3 × 1 of float32"),
        (np.array([None] * 5), "cannot be read as a .npy file of numbers"),
        (None, "v.npy: no such file"),
        (b"", "cannot be read as a .npy file of numbers"),
        (b"\x93NUMPY garbage", "cannot be read as a .npy file of numbers"),
    ],
)
def test_features_that_do_not_fit_are_refused(array, expected, tmp_path):
    store(tmp_path, "first", 7)
    if isinstance(array, bytes):
        (tmp_path / "v.npy").write_bytes(array)
    elif array is not None:
        np.save(tmp_path / "v.npy", array)
    with pytest.raises(UserError) as error:
        FeatureSource([make_video("first", 7), make_video("v", 5)], [tmp_path])
    assert expected in str(error.value) and str(tmp_path / "v.npy") in str(error.value)


def npy(header: str) -> bytes:
    """Return a ``.npy`` file with any header and room for 5 x 3 numbers."""
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(60)


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }\n"


@pytest.mark.parametrize(
    "content",
    [
        npy(HEADER.replace("(5, 3)", shape))
        for shape in ("(5, 3", "5", "(-5, -3)", "(5, -3)", "(4294967296, 4294967296)", "(5, 10**9)", "(5.0, 3)", "'5'")
    ]
    + [npy(HEADER.replace("'<f4'", kind)) for kind in ("'O'", "'<f3'", "'f99999999'", "None", "[('a', 'O')]", "'\xff'")]
    + [npy(text) for text in ("", "{}", "(" * 5000, "[" * 90, "{'descr': 1}", HEADER.replace("False", "2"))]
    + [npy(HEADER)[:-1], npy(HEADER)[:9], b"PK\x03\x04" + bytes(60), b"PK\x05\x06" + bytes(18)],
)
def test_a_damaged_header_gives_a_one_line_error(content, tmp_path):
    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(UserError, match="v.npy: cannot be read as a .npy file of numbers"):
        FeatureSource([make_video("v", 5)], [tmp_path])


def test_a_header_with_any_byte_flipped_gives_a_one_line_error_or_fits(tmp_path):
    sound, path = npy(HEADER), tmp_path / "v.npy"
    for at in range(len(sound) - 60):
        for bit in (0, 3, 6):
            path.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << bit]) + sound[at + 1 :])
            with contextlib.suppress(UserError):
                FeatureSource([make_video("v", 5)], [tmp_path])


def test_a_pipe_instead_of_features_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "v.npy")
    with pytest.raises(UserError, match="v.npy: not a regular file"):
        FeatureSource([make_video("v", 5)], [tmp_path])


def test_an_index_of_another_origin_is_ignored(tmp_path):
    store(tmp_path, "v", 5)
    for content in ("[]", "{", '{"videos": {"v": "x"}}', '{"checksums": {"other": "0"}}'):
        (tmp_path / "index.json").write_text(content)
        FeatureSource([make_video("v", 5)], [tmp_path])


def test_features_that_are_not_finite_are_found_when_they_are_read(tmp_path):
    rows = np.zeros((6, 2), np.float32)
    rows[3, 1] = np.inf
    np.save(tmp_path / "v.npy", rows)
    source = FeatureSource([make_video("v", 6)], [tmp_path])
    source.read("v", 0, 3)
    with pytest.raises(UserError, match="v.npy: row 4 holds a number that is not finite"):
        source.read("v", 2, 6)


def test_frames_of_any_shape_fit_the_encoder():
    wide = np.asarray(Image.new("RGB", (40, 20), (255, 0, 0)))
    assert frame_square(wide, 16).shape == (16, 16, 3) and not frame_square(wide, 16)[0].any()
    assert frame_square(wide[:, :20], 16).shape == (16, 16, 3)


# windows


@pytest.mark.parametrize(
    ("frames", "phase", "starts"),
    [
        (10, None, [0, 3, 6]),
        (11, None, [0, 3, 6, 7]),  # the last aligned to the end
        (4, None, [0]),
        (2, None, [0]),
        (11, 0, [0, 3, 6, 7, 7]),
        (11, 2, [0, 1, 4, 7, 7]),
        (3, 2, [0]),
    ],
)
def test_window_starts_by_hand(frames, phase, starts):
    assert window_starts(frames, 4, 3, phase).tolist() == starts


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 1000), st.integers(1, 320), st.data())
def test_windows_cover_every_frame_whatever_the_phase(frames, size, data):
    stride = data.draw(st.integers(1, size))
    plain = window_starts(frames, size, stride)
    phase = data.draw(st.integers(0, stride - 1))
    for starts in (plain, window_starts(frames, size, stride, phase)):
        covered = np.zeros(frames, dtype=bool)
        for start in starts:
            assert 0 <= start <= max(frames - size, 0)
            covered[start : start + size] = True
        assert covered.all() and (np.diff(starts) <= stride).all()
    assert len(set(plain.tolist())) == len(plain) and plain[-1] == max(frames - size, 0)
    counts = {len(window_starts(frames, size, stride, phase)) for phase in range(0, stride, max(1, stride // 7))}
    assert len(counts) == 1


@pytest.fixture
def windows(tmp_path):
    """Of 8 frames every 6: 0, 6 and 12 of a long video with a gap, and one of a short video."""
    videos, source = source_of(tmp_path, make_video("long", 20, {4, 5}), make_video("short", 3, task="va"))
    return WindowDataset(videos, source, size=8, stride=6, training=False)


def test_a_window(windows):
    item = windows[0, 0, 0]
    assert len(windows) == 4 and item["id"] == "long" and item["start"] == 0
    assert item["features"][:, 0].tolist() == [0, 1, 2, 3, 3, 3, 6, 7]
    assert item["missing"].tolist() == [False] * 4 + [True] * 2 + [False] * 2 and not item["padding"].any()
    assert item["expr"].tolist() == list(range(8)) and item["expr"].dtype == torch.int64
    assert item["va"].shape == (8, 2) and item["va"].isnan().all() and item["au"].shape == (8, 12)
    assert windows[0, 2, 2]["features"][-1, 0] == 19


def test_a_short_video_is_padded_and_masked(windows):
    item = windows[0, 3, 3]
    assert item["features"][:, 0].tolist() == [0, 1, 2] + [0] * 5
    assert item["padding"].tolist() == item["missing"].tolist() == [False] * 3 + [True] * 5
    assert item["va"][:3].isfinite().all() and item["va"][3:].isnan().all() and (item["expr"] == -1).all()


def test_a_batch(windows):
    batch = collate([windows[0, i, i] for i in range(4)])
    assert {name: tuple(value.shape) for name, value in batch.items() if name != "id"} == {
        "features": (4, 8, 3), "missing": (4, 8), "padding": (4, 8), "va": (4, 8, 2), "expr": (4, 8), "au": (4, 8, 12),
        "start": (4,),
    }  # fmt: skip
    assert batch["id"] == ["long"] * 3 + ["short"] and batch["start"].tolist() == [0, 6, 12, 0]
    assert batch["features"].dtype == batch["va"].dtype == batch["au"].dtype == torch.float32
    assert batch["padding"].dtype == torch.bool and batch["start"].dtype == torch.int64


def test_the_window_grid_depends_only_on_the_epoch(tmp_path):
    videos, source = source_of(tmp_path, make_video("a", 90), make_video("b", 90))

    def starts(data, epoch):
        return [data[epoch, 99 - i, i]["start"] for i in range(len(data))]

    data, again, reseeded = (WindowDataset(videos, source, 20, 10, True, seed) for seed in (1, 1, 2))
    epochs = [starts(data, epoch) for epoch in range(6)]
    assert [starts(again, epoch) for epoch in reversed(range(6))] == epochs[::-1]
    assert len(set(map(tuple, epochs))) > 3 and epochs[0] != starts(reseeded, 0)
    assert not all(epoch[:9] == epoch[9:] for epoch in epochs)  # each video has a phase of its own
    assert [data[0, 5, 3]["start"], data[0, 0, 3]["start"]] == [epochs[0][3]] * 2  # at any position in the epoch
    for epoch in epochs:
        assert epoch[0] == 0 and epoch[8] == 70 and set(np.diff(epoch[1:8])) == {10}
    assert starts(pickle.loads(pickle.dumps(data)), 3) == epochs[3]  # in the form that workers receive


def test_videos_without_labels_or_frames_are_left_out_only_of_training(tmp_path):
    videos = make_video("none", 9, labelled=False), make_video("faceless", 9, range(9)), make_video("some", 9)
    videos, source = source_of(tmp_path, *videos)
    training, evaluation = (WindowDataset(videos, source, 9, 9, training) for training in (True, False))
    assert [training[0, 0, i]["id"] for i in range(len(training))] == ["some"]
    assert len(evaluation) == 3 and evaluation[0, 1, 1]["padding"].all()


@pytest.mark.parametrize("stride", [0, 9])
def test_a_stride_that_would_skip_frames_is_refused(tmp_path, stride):
    with pytest.raises(UserError, match=f"--stride {stride}: expected 1 to 8"):
        WindowDataset(*source_of(tmp_path, make_video("v", 20)), size=8, stride=stride, training=False)
