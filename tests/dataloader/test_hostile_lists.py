"""Lists and tables that are damaged or not files give a short one-line error without waiting."""

import os
import time

import numpy as np
import pytest

from dataloader.annotation import Clip, read_annotation, read_captions
from dataloader.boxes import face_hits, read_body_boxes, read_face_boxes, require_hits
from dataloader.classes import load_classes
from dataloader.paths import clip_key, clip_keys
from dataloader.targets import read_targets
from utils.archive import open_array
from utils.config import read_recipe
from utils.errors import UserError

READERS = {
    "list": lambda path: read_annotation(str(path), None, load_classes("RAER")),
    "captions": lambda path: read_captions(str(path), None),
    "face boxes": lambda path: read_face_boxes(str(path), None),
    "body boxes": lambda path: read_body_boxes(str(path), None),
    "classes": lambda path: load_classes("RAER", str(path)),
    "targets": lambda path: read_targets(str(path), None),
    "recipe": lambda path: read_recipe(path),
    "array": lambda path: open_array(path),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_something_that_is_not_a_file_is_refused_at_once(tmp_path, reader, kind):
    path = tmp_path / "input"
    {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind](path)
    with pytest.raises(UserError, match="input"):
        READERS[reader](path)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", ["x" * 10**6, f'{{"{"k" * 10**6}": 5}}', f'["{"v" * 10**6}"]'])
def test_a_bad_line_is_quoted_in_part(tmp_path, reader, text):
    (tmp_path / "input").write_text(text)
    if reader == "recipe":  # any words count as flags
        return
    with pytest.raises(UserError, match="input") as error:
        READERS[reader](tmp_path / "input")
    assert len(str(error.value)) < 700 + len(str(tmp_path))


def test_keys_of_many_clips_are_read_together(tmp_path):
    """Each key equals the result of ``clip_key``, for any prefix and slashes, and takes little time."""
    for clip in range(20):
        (tmp_path / f"RAER/P{clip // 4}/{clip:03d}").mkdir(parents=True)
    names = [f"RAER/P{clip // 4}/{clip:03d}" for clip in range(40)]
    spellings = [name for text in names for name in (text, f"/x/y/{text}/", f"./{text}.mp4", text.replace("/", "\\"))]
    assert clip_keys(spellings, str(tmp_path)) == [clip_key(name, str(tmp_path)) for name in spellings]
    assert {*clip_keys(spellings, str(tmp_path))} == {name.removeprefix("RAER/") for name in names}
    started = time.process_time()
    clip_keys([f"/far/away/RAER/P{n // 200}/{n}" for n in range(20_000)], str(tmp_path))
    assert time.process_time() - started < 2
    clip_keys(["a/" * 10**5], str(tmp_path))


def test_boxes_that_match_nothing_show_a_key_of_the_boxes_and_of_the_list(tmp_path):
    clips = [Clip("P1/001", tmp_path, ("1.jpg",), 1, 0, "P1/001")]
    for boxes, parts in (
        ({"Q/7": {"1.jpg": (0, 0, 9, 9)}}, ["'Q/7'", "'P1/001'"]),
        ({"P1/001": {"img1.jpg": (0, 0, 9, 9)}}, ["'img1.jpg'", "'1.jpg'"]),
    ):
        with pytest.raises(UserError) as error:
            require_hits(face_hits(clips, boxes), clips, boxes, "--bounding-box-face")
        assert all(part in str(error.value) for part in parts)


def test_a_damaged_array_gives_a_one_line_error(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4), np.float16))
    data = (tmp_path / "a.npy").read_bytes()
    for damaged in (data[:40], data.replace(b"(3, 4)", b"((3, 4"), data.replace(b"(3, 4)", b"(3, 9)"), b""):
        (tmp_path / "a.npy").write_bytes(damaged)
        with pytest.raises(UserError, match=r"a\.npy"):
            open_array(tmp_path / "a.npy")
