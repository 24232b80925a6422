"""Packs: the pixels of streaming, nothing half-written or stale is read, a killed packing goes on to the same bytes."""

import os
import pickle
import shutil
import time
from pathlib import Path

import pytest
import torch

from dataloader import pack, pack_files
from dataloader.annotation import read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views
from dataloader.loader import build_loader
from dataloader.packed import Pack
from dataloader.sampling import ClipOrder
from tests.support.forked import Forked
from tests.support.tiny import as_arguments, write_set
from tests.support.tools import run_main

SIZE = 64
RUN = f"--clip-path random --image-size {SIZE} --num-segments 4 --batch-size 4 --workers 0 --device cpu".split()
RUN += ["--epochs", "1", "--milestones", "--select-on", "last"]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("packed")
    write_set(root / "set", clips=15, persons=3, frames=5)
    return root / "set"


def flags(root: Path) -> list[str]:
    names = {"train_annotation": "train.txt", "test_annotation": "test.txt"}
    names |= {"bounding_box_face": "face.json", "bounding_box_body": "body.json"}
    named = {"--" + name.replace("_", "-"): f"annotation/{file}" for name, file in names.items()}
    return as_arguments({"--root-dir": str(root)} | named)


def command(root: Path, out: Path, *more: str) -> list[str]:
    return [*flags(root), "--out", str(out), "--image-size", str(SIZE), "--workers", "0", *more]


def make(root: Path, out: Path, *more: str) -> Path:
    assert pack.main(command(root, out, *more)) == 0
    return out


def refused(arguments: list[str], capsys) -> str:
    capsys.readouterr()
    assert pack.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err


def clips_and_views(root: Path, **changes) -> tuple[list, Views]:
    clips = read_annotation("annotation/train.txt", str(root), load_classes("RAER"))
    faces = read_face_boxes("annotation/face.json", str(root))
    bodies = read_body_boxes("annotation/body.json", str(root))
    settings = {"segments": 4, "size": SIZE, "root": str(root), "face_boxes": faces, "body_boxes": bodies}
    return clips, Views(**(settings | changes))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def packs(root) -> dict[str, Path]:
    return {kind: make(root, root.parent / kind, "--format", kind) for kind in ("raw", "jpeg")}


@pytest.fixture
def copy(root, tmp_path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "set"))


def test_raw_is_bit_equal_to_streaming_and_jpeg_is_near(root, packs):
    clips, views = clips_and_views(root)
    for index in range(len(clips)):
        expected = ClipDataset(clips, views)[0, 0, index]
        raw = ClipDataset(clips, views, Pack(str(packs["raw"])))[0, 0, index]
        near = ClipDataset(clips, views, Pack(str(packs["jpeg"])))[0, 0, index]
        assert raw["id"] == expected["id"] and raw["label"] == expected["label"]
        for stream in ("face", "context"):
            assert torch.equal(raw[stream], expected[stream])
            assert (near[stream].float() - expected[stream].float()).abs().mean() < 6  # the tiny set is white noise


@pytest.mark.parametrize("augment", ["worker", "device"])
def test_training_from_a_pack_has_the_draws_of_streaming(root, packs, augment):
    clips, views = clips_and_views(root)
    chance = {"training": True, "seed": 4, "augment": augment}
    packed = ClipDataset(clips, views, Pack(str(packs["raw"])), **chance)
    streamed = ClipDataset(clips, views, **chance)
    for key in ((0, 0, 0), (2, 7, 3)):
        one, other = packed[key], streamed[key]
        assert torch.equal(one["context"], other["context"])  # a square is turned as PIL turns it
        if augment == "device":
            assert all(torch.equal(one[name], other[name]) for name in ("face", "angle", "flip", "face_sizes"))
        else:
            plain = ClipDataset(clips, views, Pack(str(packs["raw"])))
            assert (one["face"] != other["face"]).float().mean() < 1 and one["face"].shape == other["face"].shape
            assert plain[key]["face"].shape == one["face"].shape


def test_workers_and_a_start_in_mid_epoch_change_nothing(root, packs):
    clips, views = clips_and_views(root)
    dataset = ClipDataset(clips, views, Pack(str(packs["jpeg"])), training=True, seed=2)

    def batches(workers, start):
        order = ClipOrder(len(clips), seed=2)
        order.epoch, order.start = 3, start
        return list(build_loader(dataset, order, batch_size=2, workers=workers))

    alone, helped, rest = batches(0, 0), batches(2, 0), batches(0, 4)
    for one, two in [*zip(alone, helped, strict=True), *zip(alone[2:], rest, strict=True)]:
        assert one["id"] == two["id"] and torch.equal(one["face"], two["face"])


def test_a_pack_sent_to_another_process_takes_no_pixels_along(packs, root):
    clips, views = clips_and_views(root)
    opened = Pack(str(packs["raw"]))
    ClipDataset(clips, views, opened)[0, 0, 0]
    assert opened.maps and len(pickle.dumps(opened)) < 100_000
    assert not pickle.loads(pickle.dumps(opened)).maps


def test_a_run_trains_and_evaluates_from_a_pack_also_where_the_frames_are_not(root, packs, tmp_path):
    run = run_main([*RUN, *flags(root), "--pack", str(packs["raw"])], tmp_path / "run")
    assert run.status == 0, run.err
    away = tmp_path / "elsewhere"
    shutil.copytree(root / "annotation", away / "annotation")
    moved = shutil.copytree(packs["raw"], tmp_path / "moved")
    scores = [run.predictions]
    for number, (where, source) in enumerate([(root, "none"), (away, str(moved))]):
        arguments = ["--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt"), "--pack", source]
        scored = run_main([*arguments, "--workers", "0", "--root-dir", str(where)], tmp_path / f"eval{number}")
        assert scored.status == 0, scored.err
        scores.append(scored.predictions)
    assert scores[0] == scores[1] == scores[2]


def test_a_feature_cache_is_made_from_a_pack(root, packs, tmp_path):
    more = ["--cache-features", "--lr-image-encoder", "0", "--cache-dir", str(tmp_path / "cache")]
    sources = ([], ["--pack", str(packs["raw"])])
    runs = [run_main([*RUN, *flags(root), *more, *s], tmp_path / f"run{n}") for n, s in enumerate(sources)]
    assert [run.status for run in runs] == [0, 0], runs[1].err
    assert len(list((tmp_path / "cache").iterdir())) == 4  # one of each stream and source


def test_the_size_is_told_before_anything_is_written(root, tmp_path, capsys):
    make(root, tmp_path / "pack", "--format", "raw")
    told = capsys.readouterr().out
    frames = 15 * 5
    expected = frames * 2 * 3 * SIZE * SIZE
    assert f"packing {frames} frames of 15 clips: {pack.megabytes(expected)} to write" in told
    assert sum(path.stat().st_size for path in (tmp_path / "pack").glob("*.bin")) == expected


def test_a_full_disk_is_seen_before_and_while_writing_and_packing_goes_on(root, packs, tmp_path, capsys, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(pack_files.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "MB left" in refused(command(root, tmp_path / "pack", "--format", "raw"), capsys)
    monkeypatch.undo()
    words = command(root, tmp_path / "pack", "--format", "raw")
    limited = Forked(pack.main, words, tmp_path / "screen", file_bytes=900_000)
    told = limited.communicate()[1]
    assert limited.returncode == 2 and told.count("\n") == 1 and "file too large" in told, told
    with pytest.raises(ValueError, match="not finished"):
        Pack(str(tmp_path / "pack"))
    make(root, tmp_path / "pack", "--format", "raw")
    assert bytes_of(tmp_path / "pack") == bytes_of(packs["raw"])


def test_folders_that_cannot_be_written_or_hold_else_are_one_line(root, packs, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert "file" in refused(command(root, tmp_path / "file/pack"), capsys)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    assert "other files" in refused(command(root, tmp_path / "mine"), capsys)
    assert "--format raw" in refused(command(root, packs["raw"], "--format", "jpeg"), capsys)
    assert "already holds" not in refused(flags(root), capsys)
    assert "--train-annotation" in refused(["--out", str(tmp_path / "p")], capsys)


def pack_slowly(arguments: list[str]) -> int:
    write = pack_files._write

    def slowly(file, data):
        view = memoryview(data)
        half = len(view) // 2
        write(file, view[:half])
        time.sleep(0.004)
        write(file, view[half:])

    pack_files._write = slowly
    return pack.main(arguments)


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(root, packs, tmp_path):
    """SIGKILL in the middle of appending, several times over, then to the end."""
    out = tmp_path / "pack"
    words, lines = command(root, out, "--format", "jpeg"), [0]
    for wanted in (2, 9):
        process = Forked(pack_slowly, words, tmp_path / "screen")
        journal = out / "journal.jsonl"
        while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < wanted):
            time.sleep(0.002)
        time.sleep(0.001 * wanted)
        process.kill()
        process.wait()
        assert process.returncode == -9 and not (out / "index.json").exists()
        lines.append(journal.read_bytes().count(b"\n"))
    assert lines == sorted(lines)
    make(root, out, "--format", "jpeg")
    assert bytes_of(out) == bytes_of(packs["jpeg"])


@pytest.mark.parametrize("damage", ["journal cut", "crops cut", "crops longer", "a frame changed"])
def test_whatever_is_unsound_is_packed_again(copy, tmp_path, damage, monkeypatch):
    out, whole = tmp_path / "pack", make(copy, tmp_path / "whole")
    append, count = pack_files.PackFiles.append, []

    def stop(self, *given):
        if len(count) == 6:
            raise KeyboardInterrupt
        count.append(append(self, *given))

    monkeypatch.setattr(pack_files.PackFiles, "append", stop)
    assert pack.main(command(copy, out)) == 130
    monkeypatch.undo()
    journal, crops = out / "journal.jsonl", out / "crops-000.bin"
    if damage == "journal cut":
        journal.write_bytes(journal.read_bytes()[:-5])
    elif damage == "crops cut":
        os.truncate(crops, crops.stat().st_size - 10)
    elif damage == "crops longer":
        crops.write_bytes(crops.read_bytes() + b"x" * 1000)
    else:
        frame = sorted(copy.glob("RAER/**/*.png"))[0]
        shutil.copy(sorted(copy.glob("RAER/**/*.png"))[7], frame)
        shutil.rmtree(whole)
        make(copy, whole)
    make(copy, out)
    assert bytes_of(out) == bytes_of(whole)


def test_clips_fill_file_after_file(root, packs, tmp_path, monkeypatch):
    monkeypatch.setattr(pack_files, "FILE_BYTES", 400_000)
    out = make(root, tmp_path / "pack", "--format", "raw")
    assert len(list(out.glob("*.bin"))) == 4  # 15 clips of 122880 bytes, four to a file
    clips, views = clips_and_views(root)
    for index in (0, len(clips) - 1):
        one = ClipDataset(clips, views, Pack(str(out)))[0, 0, index]
        assert torch.equal(one["face"], ClipDataset(clips, views)[0, 0, index]["face"])
