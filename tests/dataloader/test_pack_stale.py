"""A pack that no longer fits is refused, and what changed is said in one line."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dataloader.clips import ClipDataset
from dataloader.packed import Pack, open_pack
from tests.dataloader.test_pack import RUN, clips_and_views, flags, make
from tests.support.tiny import write_set
from tests.support.tools import error_of


@pytest.fixture
def copy(tmp_path) -> Path:
    write_set(tmp_path / "set", clips=15, persons=3, frames=5)
    return tmp_path / "set"


class TestStale:
    """What changed is said in one line."""

    @pytest.fixture
    def run(self, copy, tmp_path, capsys):
        out = make(copy, tmp_path / "pack")
        arguments = [*RUN, *flags(copy), "--pack", str(out), "--output-dir", str(tmp_path / "run")]
        return lambda *more: error_of([*arguments, *more], capsys)

    def test_a_frame(self, run, copy):
        frame = sorted(copy.glob("RAER/**/*.png"))[3]
        data = bytearray(frame.read_bytes())
        data[-20] ^= 1  # the size stays
        frame.write_bytes(data)
        assert frame.name in run() and frame.parent.name in run()

    def test_a_frame_too_many(self, run, copy):
        frame = sorted(copy.glob("RAER/**/*.png"))[0]
        shutil.copy(frame, frame.with_name("99999.png"))
        assert "99999.png" in run()

    @pytest.mark.parametrize(
        ("file", "said"), [("face.json", "--bounding-box-face"), ("body.json", "--bounding-box-body")]
    )
    def test_a_box(self, run, copy, file, said):
        path = copy / "annotation" / file
        boxes = json.loads(path.read_text())
        key = sorted(boxes)[0]
        boxes[key] = {**boxes[key], "00003.png": [1, 2, 30, 40]} if file == "face.json" else [0, 0, 50, 50]
        path.write_text(json.dumps(boxes))
        assert said in run() and key.rpartition("/")[2] in run()

    def test_a_label_and_a_clip(self, run, copy):
        path = copy / "annotation/train.txt"
        first, *rest = path.read_text().splitlines()
        path.write_text("\n".join([first[:-1] + ("2" if first[-1] != "2" else "3"), *rest]))
        assert "label" in run()
        shutil.copytree(copy / first.split()[0], copy / "RAER/images/new/001")
        path.write_text("\n".join([first, *rest, "RAER/images/new/001 5 1"]))
        assert "images/new/001" in run()

    @pytest.mark.parametrize("more", [["--image-size", "32"], ["--decode", "scaled"]])
    def test_an_option(self, run, more):
        assert more[0] in run(*more)

    def test_a_file_cut_short_a_broken_index_and_another_format(self, run, tmp_path):
        crops, index = tmp_path / "pack/crops-000.bin", tmp_path / "pack/index.json"
        whole = index.read_text()
        index.write_text(whole.replace('"format": 1', '"format": 7', 1))
        assert "format 7" in run()
        index.write_text(whole[:-100])
        assert "index" in run()
        index.write_text(whole)
        os.truncate(crops, 1000)
        assert "1000 bytes" in run()
        index.unlink()
        assert "index.json" in run()

    def test_times_alone_are_no_change(self, copy, tmp_path):
        out = make(copy, tmp_path / "pack")
        for frame in copy.glob("RAER/**/*.png"):
            os.utime(frame, (1, 1))
        clips, views = clips_and_views(copy)
        assert open_pack(str(out)).check(clips, views) == 0


def test_a_damaged_crop_is_named(copy, tmp_path):
    out = make(copy, tmp_path / "pack")
    path = out / "crops-000.bin"
    path.write_bytes(np.zeros(path.stat().st_size, np.uint8).tobytes())
    clips, views = clips_and_views(copy)
    with pytest.raises(ValueError, match="damaged"):
        ClipDataset(clips, views, Pack(str(out)))[0, 0, 0]
