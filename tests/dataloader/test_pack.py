"""Packs: pixels equal streaming, outdated packs are refused, a killed packing ends with the same bytes."""

import json
import os
import pickle
import random
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dataloader import pack, packed
from dataloader.annotation import read_annotation
from dataloader.audit.options import training_advice
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views
from dataloader.packed import Pack, open_pack
from tests.support.drawn import READERS
from tests.support.drawn import flags as drawn_flags
from tests.support.forked import Forked
from tests.support.tiny import as_arguments, write_set
from tests.support.tools import ROOT, error_of, main_arguments, run_main
from utils.errors import UserError

SIZE = 64
RUN = f"--clip-path random --image-size {SIZE} --num-segments 4 --batch-size 4 --workers 0 --device cpu".split()
RUN += ["--epochs", "1", "--milestones", "--select-on", "last"]
NUM_CLIPS, NUM_FRAMES = 15, 5
CLIP_BYTES = NUM_FRAMES * 2 * 3 * SIZE * SIZE  # of a raw pack


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    root = tmp_path_factory.mktemp("packed") / "set"
    return as_arguments(write_set(root, clips=NUM_CLIPS, persons=3, frames=NUM_FRAMES))


@pytest.fixture(scope="module")
def root(flags) -> Path:
    return Path(flags[1])


@pytest.fixture(scope="module")
def packs(flags, root) -> dict[str, Path]:
    return {kind: make(flags, root.parent / kind, kind) for kind in ("raw", "jpeg")}


@pytest.fixture
def copy(root, tmp_path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "set"))


def flags_of(flags: list[str], root: Path) -> list[str]:
    return ["--root-dir", str(root), *flags[2:]]


def command(flags: list[str], out: Path, kind: str = "jpeg") -> list[str]:
    return [*flags, "--out", str(out), "--image-size", str(SIZE), "--workers", "0", "--format", kind]


def make(flags: list[str], out: Path, kind: str = "jpeg") -> Path:
    assert pack.main(command(flags, out, kind)) == 0
    return out


def refusal(arguments: list[str], capsys) -> str:
    capsys.readouterr()
    assert pack.main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err


def clips_and_views(root: Path) -> tuple[list, Views]:
    clips = read_annotation("annotation/train.txt", str(root), load_classes("RAER"))
    faces = read_face_boxes("annotation/face.json", str(root))
    bodies = read_body_boxes("annotation/body.json", str(root))
    return clips, Views(segments=4, size=SIZE, root=str(root), face_boxes=faces, body_boxes=bodies)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_raw_packs_are_bit_equal_to_streaming_and_jpeg_packs_are_close(root, packs):
    clips, views = clips_and_views(root)
    streamed, raw, jpeg = (ClipDataset(clips, views, *p) for p in ([], *([Pack(str(p))] for p in packs.values())))
    for index in range(len(clips)):
        expected, exact, near = (dataset[0, 0, index] for dataset in (streamed, raw, jpeg))
        assert exact["id"] == expected["id"] and exact["label"] == expected["label"]
        for stream in ("face", "context"):
            assert torch.equal(exact[stream], expected[stream])
            assert (near[stream].float() - expected[stream].float()).abs().mean() < 6  # the tiny set is white noise


def test_training_from_a_pack_has_the_random_choices_of_streaming(root, packs):
    clips, views = clips_and_views(root)
    for augment, names in (("worker", ["context"]), ("device", ["face", "context", "angle", "flip", "face_sizes"])):
        chance = {"training": True, "seed": 4, "augment": augment}
        packed, streamed = (ClipDataset(clips, views, p, **chance) for p in (Pack(str(packs["raw"])), None))
        for key in ((0, 0, 0), (2, 7, 3)):  # a context is a square, which is rotated like PIL
            assert all(torch.equal(packed[key][name], streamed[key][name]) for name in names)


def test_a_pack_is_sent_to_another_process_without_its_pixels_and_reads_the_same(packs, root):
    opened = Pack(str(packs["raw"]))
    item, sent = ClipDataset(*clips_and_views(root), opened)[0, 0, 0], pickle.dumps(opened)
    assert opened.maps and len(sent) < 100_000 and not pickle.loads(sent).maps
    assert torch.equal(ClipDataset(*clips_and_views(root), pickle.loads(sent))[0, 0, 0]["face"], item["face"])


def test_a_run_trains_and_evaluates_from_a_pack_without_the_frames(flags, root, packs, tmp_path):
    run = run_main([*RUN, *flags, "--pack", str(packs["raw"])], tmp_path / "run")
    assert run.status == 0, run.err
    away = tmp_path / "elsewhere"
    shutil.copytree(root / "annotation", away / "annotation")
    moved = shutil.copytree(packs["raw"], tmp_path / "moved")
    for number, (folder, source) in enumerate([(root, "none"), (away, str(moved))]):
        arguments = ["--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt"), "--pack", source]
        scored = run_main([*arguments, "--workers", "0", "--root-dir", str(folder)], tmp_path / f"eval{number}")
        assert scored.status == 0, scored.err
        assert scored.predictions == run.predictions


@pytest.mark.parametrize("crop_body", [[], ["--no-crop-body"]])
def test_the_printed_command_trains_from_the_pack(flags, tmp_path, capsys, monkeypatch, crop_body):
    monkeypatch.chdir(ROOT)
    words = [*flags, "--out", str(tmp_path / "my pack"), "--image-size", "112", "--workers", "0", *crop_body]
    words += ["--missing-face", "frame"]  # the recipe has another value, which would not fit the pack
    assert pack.main(words) == 0
    commands = [line for line in capsys.readouterr().out.splitlines() if " main.py " in line]
    assert pack.main(words) == 0  # the pack exists now, and the command is printed again
    assert commands == [line for line in capsys.readouterr().out.splitlines() if " main.py " in line]
    assert len(commands) == 1
    quick = "--epochs 1 --milestones --num-segments 2 --select-on last --batch-size 4 --workers 0 --device cpu".split()
    run = run_main([*main_arguments(commands[0]), *quick], tmp_path / "run").ok()
    assert f"crops from the pack {tmp_path / 'my pack'}" in run.out


@pytest.mark.parametrize("reader", ["dfew", "mafw_compound", "caer_s"])
def test_a_recipe_of_a_published_set_is_packed_for_all_its_folds(reader, drawn, tmp_path, capsys):
    dataset = READERS[reader][0]
    recipe = [f"@{ROOT}/recipes/data/{reader}.args", "--root-dir", str(drawn(dataset))]
    sizes = ["--out", str(tmp_path / "pack"), "--image-size", "64", "--workers", "0"]
    assert pack.main([*recipe, *sizes]) == 0
    out = capsys.readouterr().out
    assert ("does not read: --num-segments\n" in out) == (reader == "caer_s")
    run = ["--mode", "zero-shot", *drawn_flags(reader, drawn(dataset)), "--pack", str(tmp_path / "pack")]
    result = run_main(run, tmp_path / "run").ok()
    assert "crops from the pack" in result.out and len(result.predictions) > 5
    if reader == "dfew":
        folder = str(tmp_path / "{fold}")
        message = refusal([*recipe, *sizes, "--out", folder], capsys)
        assert f"--out {folder}: all folds share one pack and its boxes; name one with --fold N" in message
        assert pack.main([*recipe, *sizes, "--out", folder, "--fold", "2"]) == 0
        assert len(Pack(str(tmp_path / "2")).clips) == len(Pack(str(tmp_path / "pack")).clips) == 40


def test_the_quality_of_raw_crops_is_refused(flags, tmp_path, capsys):
    message = refusal([*command(flags, tmp_path / "pack", "raw"), "--quality", "80"], capsys)
    assert message == "error: --quality 80 is not used with --format raw; leave it out\n"


def test_the_size_of_the_crops_decides_which_clip_is_proposed(tmp_path, monkeypatch):
    """Also if OpenAI's weights are downloaded already, crops of 112 pixels fit only the small CLIP."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    (tmp_path / ".cache/clip").mkdir(parents=True)
    (tmp_path / ".cache/clip/ViT-B-32.pt").touch()
    for size, is_small in ((112, True), (224, False), (None, False)):
        (command,) = [line for line in training_advice("--root-dir x", size) if " main.py " in line]
        assert ("mini_clip" in command) == is_small and command.endswith("--root-dir x")
    assert training_advice("--root-dir x", 64) == []


def test_a_pack_that_no_recipe_trains_from_names_its_flag(flags, packs, tmp_path, capsys):
    assert pack.main(command(flags, packs["jpeg"])) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"add to the flags of main.py: --pack {packs['jpeg']}\n") and " main.py @" not in out


def test_a_feature_cache_is_made_from_a_pack(flags, packs, tmp_path):
    more = ["--cache-features", "--lr-image-encoder", "0", "--cache-dir", str(tmp_path / "cache")]
    sources = ([], ["--pack", str(packs["raw"])])
    runs = [run_main([*RUN, *flags, *more, *s], tmp_path / f"run{n}") for n, s in enumerate(sources)]
    assert [run.status for run in runs] == [0, 0], runs[1].err
    assert len(list((tmp_path / "cache").iterdir())) == 4  # one of each stream and source


def test_clips_fill_one_file_after_another_and_the_size_is_printed_first(flags, root, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pack, "FILE_BYTES", 3 * CLIP_BYTES + 1)  # the disk is full at the fourth clip
    out = make(flags, tmp_path / "pack", "raw")
    screen = capsys.readouterr().out
    assert f"packing {NUM_CLIPS * NUM_FRAMES} frames of {NUM_CLIPS} clips: 2 MB to write" in screen
    sizes = [path.stat().st_size for path in sorted(out.glob("*.bin"))]
    assert sizes == [4 * CLIP_BYTES] * 3 + [3 * CLIP_BYTES] and round(sum(sizes) / 1e6) == 2
    clips, views = clips_and_views(root)
    for index in (0, len(clips) - 1):
        item, expected = ClipDataset(clips, views, Pack(str(out)))[0, 0, index], ClipDataset(clips, views)[0, 0, index]
        assert torch.equal(item["face"], expected["face"])


def test_a_full_disk_is_reported_before_and_while_writing_and_packing_continues(
    flags, packs, tmp_path, capsys, monkeypatch
):
    usage = shutil.disk_usage(tmp_path)
    words = command(flags, tmp_path / "pack", "raw")
    with monkeypatch.context() as patched:
        patched.setattr(pack.shutil, "disk_usage", lambda _: usage._replace(free=1000))
        assert "the disk has 1 KB left" in refusal(words, capsys)
    limited = Forked(pack.main, words, tmp_path / "screen", file_bytes=900_000)
    err = limited.communicate()[1]
    assert limited.returncode == 2 and err.count("\n") == 1 and "file too large" in err, err
    with pytest.raises(ValueError, match="not finished"):
        Pack(str(tmp_path / "pack"))
    assert bytes_of(make(flags, tmp_path / "pack", "raw")) == bytes_of(packs["raw"])


def test_folders_that_cannot_be_written_or_hold_other_files_give_a_one_line_error(flags, packs, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    assert "file" in refusal(command(flags, tmp_path / "file/pack"), capsys)
    assert "other files" in refusal(command(flags, tmp_path / "mine"), capsys)
    assert "--format raw" in refusal(command(flags, packs["raw"]), capsys)
    assert "--out DIR is missing" in refusal(flags, capsys)
    assert "--train-annotation" in refusal(["--out", str(tmp_path / "p")], capsys)
    make(flags, packs["jpeg"])
    assert "already holds this pack" in capsys.readouterr().out


def pack_slowly(arguments: list[str]) -> int:
    append = pack.append_bytes

    def slowly(path, content):
        view = memoryview(content)
        half = len(view) // 2
        append(path, view[:half])
        time.sleep(0.004)
        append(path, view[half:])

    pack.append_bytes = slowly
    return pack.main(arguments)


def test_packing_killed_at_any_moment_continues_to_the_same_bytes(flags, packs, tmp_path):
    """SIGKILL while crops are appended, several times, then an uninterrupted call."""
    out, counts = tmp_path / "pack", [0]
    for least in (2, 9):
        process = Forked(pack_slowly, command(flags, out), tmp_path / "screen")
        journal = out / "journal.jsonl"
        while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < least):
            time.sleep(0.002)
        time.sleep(0.001 * least)
        process.kill()
        process.wait()
        assert process.returncode == -9 and not (out / "index.json").exists()
        counts.append(journal.read_bytes().count(b"\n"))
    assert counts == sorted(counts)
    assert bytes_of(make(flags, out)) == bytes_of(packs["jpeg"])


@pytest.mark.parametrize("damage", ["journal cut", "crops cut", "crops longer", "a frame changed"])
def test_damaged_parts_are_packed_again(flags, copy, tmp_path, damage, monkeypatch):
    flags, out = flags_of(flags, copy), tmp_path / "pack"
    append, entries = pack.PackWriter.append, []

    def stop(writer, entry, payload):
        if len(entries) == 6:
            raise KeyboardInterrupt
        entries.append(entry)
        append(writer, entry, payload)

    with monkeypatch.context() as patched:
        patched.setattr(pack.PackWriter, "append", stop)
        assert pack.main(command(flags, out)) == 130
    journal, crops = out / "journal.jsonl", out / "crops-000.bin"
    if damage == "journal cut":
        journal.write_bytes(journal.read_bytes()[:-5])
    elif damage == "crops cut":
        os.truncate(crops, crops.stat().st_size - 10)
    elif damage == "crops longer":
        crops.write_bytes(crops.read_bytes() + b"x" * 1000)
    else:
        frames = sorted(copy.glob("RAER/**/*.png"))
        shutil.copy(frames[7], frames[0])
    assert bytes_of(make(flags, out)) == bytes_of(make(flags, tmp_path / "whole"))


def change_pixel(root):
    frame = sorted(root.glob("RAER/**/*.png"))[3]
    data = bytearray(frame.read_bytes())
    data[-20] ^= 1  # the size does not change
    frame.write_bytes(data)


def add_frame(root):
    frame = sorted(root.glob("RAER/**/*.png"))[0]
    shutil.copy(frame, frame.with_name("99999.png"))


def change_box(kind, value):
    def change(root):
        path = root / f"annotation/{kind}.json"
        boxes = json.loads(path.read_text())
        boxes[sorted(boxes)[0]] = value
        path.write_text(json.dumps(boxes))

    return change


def change_list(edit):
    def change(root):
        path = root / "annotation/train.txt"
        lines = path.read_text().splitlines()
        shutil.copytree(root / lines[0].split()[0], root / "RAER/images/new/001")
        path.write_text("\n".join(edit(lines)))

    return change


def unsealed(index: bytes) -> bytes:
    return b"{" + index.partition(b", ")[2]


def edit_pack(file, edit):
    return lambda root: (root.parent / "pack" / file).write_bytes(edit((root.parent / "pack" / file).read_bytes()))


@pytest.mark.parametrize(
    ("change", "more", "part"),
    [
        (change_pixel, [], "P000/000/00004.png"),
        (add_frame, [], "99999.png"),
        (change_box("face", {"00003.png": [1, 2, 30, 40]}), [], "have changed (--bounding-box-face"),
        (change_box("body", [0, 0, 50, 50]), [], "have changed (--bounding-box-body"),
        (change_list(lambda lines: [lines[0][:-1] + "2", *lines[1:]]), [], "000 has label 1 (from 0), before 0"),
        (change_list(lambda lines: [*lines, "RAER/images/new/001 5 1"]), [], "holds no crops of images/new/001"),
        (lambda root: None, ["--decode", "scaled"], "made with --decode exact"),
        (edit_pack("index.json", lambda text: text.replace(b'"format": 1', b'"format": 7', 1)), [], "format 7"),
        (
            edit_pack("index.json", lambda text: unsealed(text).replace(b'size": 64', b'size": 32')),
            [],
            "made with --image-size 32",
        ),
        (
            edit_pack("index.json", lambda text: text.replace(b'size": 64', b'size": 32')),
            [],
            "index.json: damaged; make the pack again",
        ),
        (edit_pack("index.json", lambda text: text[:-100]), [], "make the pack again"),
        (
            edit_pack("index.json", lambda text: unsealed(text).replace(b'"checksums": "', b'"checksums": "x')),
            [],
            "crops-000.bin: damaged at images/",
        ),
        (edit_pack("crops-000.bin", lambda content: content[:1000]), [], "1000 bytes"),
        (edit_pack("crops-000.bin", lambda content: bytes(len(content))), [], "crops-000.bin: damaged at images/"),
        (lambda root: (root.parent / "pack/index.json").unlink(), [], "index.json: no such file"),
    ],
)
def test_a_pack_that_no_longer_fits_is_refused_in_one_line(flags, copy, packs, tmp_path, capsys, change, more, part):
    out = shutil.copytree(packs["jpeg"], tmp_path / "pack")
    change(copy)
    run = [*RUN, *flags_of(flags, copy), "--pack", str(out), "--output-dir", str(tmp_path / "run"), *more]
    assert part in error_of(run, capsys)


def test_changed_times_alone_are_not_a_change(copy, packs):
    for frame in copy.glob("RAER/**/*.png"):
        os.utime(frame, (1, 1))
    assert open_pack(str(packs["jpeg"])).check(*clips_and_views(copy)) == 0


def as_before(folder: Path) -> Path:
    """Turn a pack into one of a version without checksums."""
    content = json.loads((folder / "index.json").read_text())
    del content["digest"]
    for entry in content["clips"]:
        del entry["checksums"]
    (folder / "index.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("kind", ["raw", "jpeg"])
def test_every_flipped_byte_of_crops_that_are_read_is_detected(root, packs, tmp_path, kind):
    out, (clips, views) = shutil.copytree(packs[kind], tmp_path / "pack"), clips_and_views(root)
    crops, rng = out / "crops-000.bin", random.Random(0)
    sound, entries = crops.read_bytes(), json.loads((out / "index.json").read_text())["clips"]
    for _ in range(60):
        at = rng.randrange(len(sound))
        crops.write_bytes(sound[:at] + bytes([sound[at] ^ 1 << rng.randrange(8)]) + sound[at + 1 :])
        entry = next(entry for entry in entries if entry["offset"] <= at < entry["offset"] + entry["bytes"])
        clip = next((clip for clip in clips if clip.key == entry["key"]), None)
        if clip is not None:
            dataset = ClipDataset([clip], replace(views, segments=NUM_FRAMES), Pack(str(out)))
            with pytest.raises(UserError, match=f"crops-000.bin: damaged at {clip.key}; make the pack again"):
                dataset[0, 0, 0]
    crops.write_bytes(sound)


def test_every_flipped_byte_of_an_index_is_detected(packs, tmp_path):
    out, rng = shutil.copytree(packs["jpeg"], tmp_path / "pack"), random.Random(0)
    sound = (out / "index.json").read_bytes()
    for at in [0, 5, 20, 77, 78, *(rng.randrange(len(sound)) for _ in range(100))]:
        (out / "index.json").write_bytes(sound[:at] + bytes([sound[at] ^ 1 << rng.randrange(8)]) + sound[at + 1 :])
        if at >= len('{"digest": "'):  # up to here, an index may be valid as one of an older version
            with pytest.raises(UserError):
                Pack(str(out))


@pytest.mark.parametrize("kind", ["raw", "jpeg"])
def test_a_pack_without_checksums_is_read_as_before(flags, root, packs, tmp_path, kind, capsys):
    out, (clips, views) = as_before(shutil.copytree(packs[kind], tmp_path / "pack")), clips_and_views(root)
    assert open_pack(str(out)).check(clips, views) == 0
    items = [ClipDataset(clips, views, Pack(str(folder)))[0, 0, 1] for folder in (out, packs[kind])]
    assert all(torch.equal(items[0][stream], items[1][stream]) for stream in ("face", "context"))
    make(flags, out, kind)
    assert "already holds this pack" in capsys.readouterr().out


def test_a_crop_is_checked_once_in_a_process(root, packs, monkeypatch):
    clips, views = clips_and_views(root)
    dataset, lengths, checksum = ClipDataset(clips, views, Pack(str(packs["raw"]))), [], packed.crop_checksum
    monkeypatch.setattr(packed, "crop_checksum", lambda data: lengths.append(len(data)) or checksum(data))
    for _ in range(2):
        dataset[0, 0, 0]
    assert len(lengths) == 2 * views.segments


def test_a_pipe_instead_of_an_index_is_refused(packs, tmp_path):
    os.mkfifo(tmp_path / "index.json")
    with pytest.raises(UserError, match="index.json: is not a regular file"):
        Pack(str(tmp_path))
