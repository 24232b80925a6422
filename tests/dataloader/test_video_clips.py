"""Clips that are videos, or parts of videos: the same pixels as frames extracted from them."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from dataloader import pack
from dataloader.annotation import read_annotation
from dataloader.audit import __main__ as audit
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset, Views
from dataloader.packed import Pack
from dataloader.video import FileVideo
from tests.support.tools import FAST, error_of, run_main
from utils.errors import UserError

FPS, FRAMES = 10, 24
KINDS = {"mp4": ("libx264", "mp4"), "avi": ("mpeg4", "avi"), "mkv": ("libx264", "matroska")}


def picture(clip: int, frame: int) -> np.ndarray:
    coarse = np.random.default_rng([clip, frame]).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_LINEAR)


def write_video(path: Path, clip: int, frames: int = FRAMES, **container_options: str) -> None:
    codec, container = KINDS[path.suffix[1:]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=container, container_options=container_options) as file:
        stream = file.add_stream(codec, rate=FPS, options={"g": "5"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture(clip, number), format="rgb24")))
        file.mux(stream.encode())


def extract(video: Path, folder: Path, part: slice = slice(None)) -> None:
    """Write the frames as PNGs with the names of JPEGs, by a separate decoder loop."""
    folder.mkdir(parents=True)
    with av.open(str(video)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)][part]
    for number, frame in enumerate(frames, 1):
        Image.fromarray(frame).save(folder / f"{number:05d}.jpg", "png")


@pytest.fixture(scope="module")
def roots_of(tmp_path_factory):
    """Return a function that writes the set of one kind of video at its first call."""
    return cache(lambda kind: write_roots(kind, tmp_path_factory.mktemp(kind)))


@pytest.fixture(params=KINDS)
def roots(request, roots_of):
    return roots_of(request.param)


@pytest.fixture
def mp4s(roots_of):
    return roots_of("mp4")


def write_roots(kind: str, root: Path) -> tuple[Path, Path]:
    """Write one set as videos, and once more as frames extracted from them; with lists and boxes for both."""
    lines, faces, bodies = [], {}, {}
    for clip in range(10):
        name = f"images/P{clip // 5:03d}/{clip:03d}"
        write_video(root / "videos" / f"{name}.{kind}", clip)
        extract(root / "videos" / f"{name}.{kind}", root / "frames" / name)
        lines.append((f"{name}.{kind}", name, clip % 5 + 1))
        faces[name] = {f"{n:05d}.jpg": [20 + n, 10, 70 + n, 60] for n in range(1, FRAMES + 1, 3)}
        bodies[name] = [4.5, 3, 120, 90]
    for folder, column in ((root / "videos", 0), (root / "frames", 1)):
        (folder / "list.txt").write_text("".join(f"{row[column]} {FRAMES} {row[2]}\n" for row in lines))
        (folder / "face.json").write_text(json.dumps(faces))
        (folder / "body.json").write_text(json.dumps(bodies))
    return root / "videos", root / "frames"


def flags(root: Path) -> list[str]:
    boxes = ["--bounding-box-face", "face.json", "--bounding-box-body", "body.json"]
    return ["--root-dir", str(root), "--train-annotation", "list.txt", "--test-annotation", "list.txt", *boxes]


def test_training_and_predictions_are_the_same_to_the_last_digit(mp4s, tmp_path):
    words = [*FAST, "--epochs", "1", "--milestones", "--select-on", "last"]
    runs = [run_main([*words, *flags(root)], tmp_path / root.name).ok() for root in mp4s]
    answers = [[{k: v for k, v in row.items() if k != "clip"} for row in run.predictions] for run in runs]
    assert answers[0] == answers[1] and len(answers[0]) == 10
    histories = [[{k: v for k, v in row.items() if "second" not in k} for row in run.history] for run in runs]
    assert histories[0] == histories[1]


@pytest.mark.parametrize(("kind", "listed"), [("mp4", "{}"), ("mkv", "{}#t=0.5,1.5"), ("avi", "DAiSEE")])
def test_a_training_from_a_pack_of_videos_equals_one_from_the_videos(roots_of, tmp_path, kind, listed):
    """Also if the video lies in a folder of its name, as those of DAiSEE do."""
    root = shutil.copytree(roots_of(kind)[0], tmp_path / "set")
    lines = (root / "list.txt").read_text().splitlines()
    names = [line.split()[0] for line in lines]
    if listed == "DAiSEE":
        for name in names:
            folder = (root / name).with_suffix("")
            folder.mkdir()
            (root / name).rename(folder / Path(name).name)
    texts = [str(Path(name).with_suffix("")) if listed == "DAiSEE" else listed.format(name) for name in names]
    rows = [f"{text} 0 {line.split()[2]}\n" for text, line in zip(texts, lines, strict=True)]
    (root / "list.txt").write_text("".join(rows))
    lists = ["--root-dir", str(root), "--train-annotation", "list.txt", "--test-annotation", "list.txt"]
    folder = str(tmp_path / "pack")
    assert pack.main(["--out", folder, "--format", "raw", "--image-size", "64", "--workers", "0", *lists]) == 0
    words = [*FAST, "--image-size", "64", "--epochs", "1", "--milestones", "--select-on", "last", "--max-angle", "0"]
    lists_or_pack = {"videos": lists, "pack": [*lists, "--pack", folder]}
    runs = [run_main([*words, *more], tmp_path / name).ok() for name, more in lists_or_pack.items()]
    assert runs[0].predictions == runs[1].predictions and len(runs[0].predictions) == 10
    video = next(path for path in (root / "images").rglob("003*") if path.is_file())
    write_video(video, 77)
    error = run_main([*words, *lists, "--pack", folder], tmp_path / "c")
    assert error.status == 2 and "changed since" in error.err


@pytest.mark.parametrize(("start", "stop"), [(0.0, 0.7), (0.65, 1.3), (1.0, 2.9)])
def test_a_part_of_a_video_is_a_clip(roots, tmp_path, start, stop):
    (tmp_path / "list.txt").write_text(
        f"images/P000/003{next(roots[0].glob('images/*/003.*')).suffix}#t={start},{stop} 0 1"
    )
    (clip,) = read_annotation(str(tmp_path / "list.txt"), str(roots[0]), load_classes("RAER"))
    numbers = [n for n in range(FRAMES) if start <= n / FPS < stop]
    assert len(clip.frames) == len(numbers)
    whole, folder = roots[1] / "images/P000/003", tmp_path / "part"
    folder.mkdir()
    for number, source in enumerate(numbers, 1):
        shutil.copy(whole / f"{source + 1:05d}.jpg", folder / f"{number:05d}.jpg")
    (tmp_path / "frames.txt").write_text(f"{folder} 0 1")
    (frames,) = read_annotation(str(tmp_path / "frames.txt"), None, load_classes("RAER"))
    views = Views(segments=4, size=64)
    expected, item = (ClipDataset([each], views)[0, 0, 0] for each in (frames, clip))
    assert all(np.array_equal(item[stream], expected[stream]) for stream in ("face", "context"))


def test_a_pack_of_videos_holds_the_same_crops_and_notices_another_file(roots, tmp_path):
    crops = []
    for root in roots:
        assert (
            pack.main(["--out", str(tmp_path / root.name), "--format", "raw", "--image-size", "64", *flags(root)]) == 0
        )
        crops.append((tmp_path / root.name / "crops-000.bin").read_bytes())
    assert crops[0] == crops[1]
    copied = shutil.copytree(roots[0], tmp_path / "copy")
    clips = read_annotation("list.txt", str(copied), load_classes("RAER"))
    boxes = read_face_boxes("face.json", str(copied)), read_body_boxes("body.json", str(copied))
    packed = Pack(str(tmp_path / "videos"))
    views = Views(size=64, face_boxes=boxes[0], body_boxes=boxes[1])
    assert packed.check(clips, views) == 0
    write_video(clips[0].folder, 77)
    with pytest.raises(UserError, match="changed since"):
        packed.check(clips, views)


PARTS = ("#t=0,0.8", "#t=0.5,1.5", "", "#t=1.2,2.4", "#t=1.5,2")  # of the video 003, which is also a clip by itself


def packed_crops(folder: Path, root: Path, lines: list[str], *more: str) -> dict[str, bytes]:
    """{clip: bytes of its crops} of a pack of clips that need not be in the order of the lines."""
    (root / "parts.txt").write_text("".join(f"{line} 0 1\n" for line in lines))
    words = ["--out", str(folder), "--format", "raw", "--image-size", "32", "--root-dir", str(root), "--workers", "0"]
    assert pack.main([*words, "--train-annotation", "parts.txt", *more]) == 0
    content = json.loads((folder / "index.json").read_text())
    data = (folder / "crops-000.bin").read_bytes()
    return {entry["key"]: data[entry["offset"] : entry["offset"] + entry["bytes"]] for entry in content["clips"]}


@pytest.fixture
def passes(monkeypatch):
    """The beginning in seconds of each pass over a video."""
    starts, shots = [], FileVideo._shots

    def count(video, start=0.0):
        starts.append((video.path.name, start))
        return shots(video, start)

    monkeypatch.setattr(FileVideo, "_shots", count)
    monkeypatch.setattr(pack, "estimate_size", lambda *_: 0)  # it reads single frames
    return starts


def test_clips_of_one_video_are_packed_in_one_pass_and_equal_those_packed_alone(roots, tmp_path, passes):
    name = str(next(roots[0].glob("images/*/003.*")).relative_to(roots[0]))
    others = [str(next(roots[0].glob(f"images/*/{n}.*")).relative_to(roots[0])) for n in ("004", "007")]
    clips = [f"{name}{part}" for part in PARTS]
    mixed = [clips[0], others[0], *clips[1:3], others[1], *clips[3:]]
    together = packed_crops(tmp_path / "together", roots[0], mixed, "--bounding-box-face", "face.json")
    assert sorted(file for file, _ in passes) == sorted(Path(path).name for path in (name, *others))
    alone = {}
    for number, clip in enumerate(mixed):
        alone |= packed_crops(tmp_path / str(number), roots[0], [clip])
    without_boxes = packed_crops(tmp_path / "plain", roots[0], mixed)
    assert without_boxes == alone and len(alone) == 7
    assert set(together) == set(alone) and together != alone
    frames = {key: len(data) // (2 * 3 * 32 * 32) for key, data in alone.items()}
    assert sorted(frames.values()) == sorted([8, 10, 24, 12, 5, 24, 24])


def test_a_long_video_is_packed_in_groups_of_neighbours(roots, tmp_path, passes, monkeypatch):
    monkeypatch.setattr(pack, "FRAMES_TOGETHER", 10)
    name = str(next(roots[0].glob("images/*/003.*")).relative_to(roots[0]))
    parts = [f"{name}#t={start / 10:g},{start / 10 + 0.4:g}" for start in (12, 0, 16, 4, 20, 8)]
    assert len(packed_crops(tmp_path / "pack", roots[0], parts)) == 6
    assert [start for _, start in passes] == [0, 0.8, 1.6]  # two parts of four frames in each pass


def test_packing_goes_on_inside_a_group(roots, tmp_path, monkeypatch):
    name = str(next(roots[0].glob("images/*/003.*")).relative_to(roots[0]))
    clips = [f"{name}{part}" for part in PARTS]
    whole = packed_crops(tmp_path / "whole", roots[0], clips)
    append, count = pack.PackWriter.append, []

    def stop(writer, entry, payload):
        if len(count) == 3:
            raise KeyboardInterrupt
        count.append(entry["key"])
        append(writer, entry, payload)

    with monkeypatch.context() as patch:
        patch.setattr(pack.PackWriter, "append", stop)
        words = ["--out", str(tmp_path / "pack"), "--format", "raw", "--image-size", "32", "--workers", "0"]
        assert pack.main([*words, "--root-dir", str(roots[0]), "--train-annotation", "parts.txt"]) == 130
    assert packed_crops(tmp_path / "pack", roots[0], clips) == whole and len(whole) == 5


def test_daisees_own_folders_and_label_file_are_read(tmp_path):
    """Each video is in a folder of its name, in a folder of the person, in a folder of the split."""
    write_video(tmp_path / "DAiSEE/DataSet/Test/110001/1100011002/1100011002.avi", 0, frames=7)
    labels = tmp_path / "DAiSEE/Labels/TestLabels.csv"
    labels.parent.mkdir()
    labels.write_bytes(b"ClipID,Boredom,Engagement,Confusion,Frustration \r\n1100011002.avi,0,2,0,1\r\n")
    (clip,) = read_annotation("DAiSEE/Labels/TestLabels.csv", str(tmp_path), load_classes("DAiSEE"))
    assert (clip.is_video, len(clip.frames), clip.label, clip.person) == (True, 7, 2, "110001")


ENGAGENET_ROWS = ("subject_3_abc_vid_0_0.mp4,Not-Engaged", "subject_12_x_vid_1_4.mp4,Highly-Engaged")


def test_engagenets_videos_and_labels_are_read_and_nobody_in_the_picture_is_left_out(tmp_path):
    """The persons are in the names of the videos, which lie in folders of the splits."""
    for row in ENGAGENET_ROWS:
        write_video(tmp_path / "Train" / row.partition(",")[0], 0, frames=6)
    (tmp_path / "labels.csv").write_text(
        "\n".join(["chunk,label", *ENGAGENET_ROWS, "subject_5_y_vid_0_1.mp4,SNP(Subject Not Present)"])
    )
    said = []
    clips = read_annotation("labels.csv", str(tmp_path), load_classes("EngageNet"), say=said.append)
    assert [(clip.person, clip.label, clip.is_video, len(clip.frames)) for clip in clips] == [
        ("subject_3", 0, True, 6), ("subject_12", 3, True, 6),
    ]  # fmt: skip
    assert len(said) == 1 and "1 line left out" in said[0]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("clip,label\na.mp4,Engaged\n", "line 1: no column 'chunk'"),
        ("chunk,label\na.mp4,Very-Engaged\n", "line 2: unknown class 'Very-Engaged'"),
        ("chunk,label\na.mp4\n", "line 2: expected 2 columns"),
        ("chunk,label\na.mp4,Engaged\n", "line 2: no folder or video"),
    ],
)
def test_a_wrong_list_of_engagenet_is_one_line(tmp_path, text, part):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError) as error:
        read_annotation("labels.csv", str(tmp_path), load_classes("EngageNet"))
    assert f"labels.csv, {part}" in str(error.value)


def test_the_audit_decodes_videos(roots, capsys):
    status, screen = audit.main(flags(roots[0])), capsys.readouterr().out
    assert status == 0 and "cannot" not in screen, screen


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("images/P000/003.mp4#t=2.5,2 1 1", "list.txt, line 1: expected `video#t=FROM,TO` in seconds"),
        ("images/P000/003.mp4#t=2.41,2.5 1 1", "has no frame from 2.41 to 2.5 s"),
        ("images/P000/empty.mp4 1 1", "list.txt, line 1: "),
        ("images/P000/gone.mp4 1 1", "no folder or video"),
    ],
)
def test_a_wrong_line_is_named(mp4s, tmp_path, line, part, capsys):
    root = shutil.copytree(mp4s[0], tmp_path / "set")
    (root / "images/P000/empty.mp4").touch()
    (root / "list.txt").write_text(line)
    assert part in error_of([*FAST, *flags(root), "--output-dir", str(tmp_path / "run")], capsys)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "{video} 30 1",
            "{list}, line 1: {path} has 24 frames, the list says 30; replace the video, or correct the number "
            "(0: unknown)",
        ),
        (
            "{video}#t=1,2 16 1",
            "{list}, line 1: {path} has 10 frames from 1 to 2 s, the list says 16; replace the video, or correct the "
            "number (0: unknown)",
        ),
        (
            "{video}#t=1,3 0 1",
            "{list}, line 1: {path} ends at 2.4 s, the clip at 3 s; correct the seconds, or replace the video",
        ),
    ],
)
def test_a_video_that_is_shorter_than_its_list_says_is_one_line(roots, tmp_path, line, message, capsys):
    video = next(roots[0].glob("images/P000/003.*"))
    names = {"video": video.relative_to(roots[0]), "path": video, "list": tmp_path / "list.txt"}
    names["list"].write_text(line.format(**names))
    words = ["--root-dir", str(roots[0]), "--train-annotation", str(names["list"])]
    expected = f"error: {message.format(**names)}"
    assert error_of([*FAST, *words, "--test-annotation", str(names["list"])], capsys) == expected
    assert pack.main(["--out", str(tmp_path / "pack"), *words]) == 2
    assert capsys.readouterr().err.strip() == expected
    assert audit.main([*words, "--strict"]) == 1
    assert "1 clip missing on the disk" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("line", ["29 1", "#t=1,2.9 0 1"])
def test_half_a_second_may_be_missing(roots, tmp_path, line):
    """Times are rounded, and ffmpeg repeats frames where it extracts at a constant rate."""
    video = next(roots[0].glob("images/P000/003.*"))
    (tmp_path / "list.txt").write_text(f"{video}{'' if line.startswith('#') else ' '}{line}")
    (clip,) = read_annotation(str(tmp_path / "list.txt"), None, load_classes("RAER"))
    assert len(clip.frames) == (14 if "#" in line else 24)


def test_the_end_of_a_video_that_states_no_duration_is_that_of_its_last_frame(tmp_path):
    """Browsers record such files."""
    path = tmp_path / "live.mkv"
    write_video(path, 0, live="1")
    assert FileVideo(path).duration is None
    (tmp_path / "list.txt").write_text(f"{path}#t=1,2.9 0 1")
    assert len(read_annotation(str(tmp_path / "list.txt"), None, load_classes("RAER"))[0].frames) == 14
    (tmp_path / "list.txt").write_text(f"{path}#t=1,3 0 1")
    with pytest.raises(UserError, match=r"line 1: .*live.mkv ends at 2.4 s, the clip at 3 s"):
        read_annotation(str(tmp_path / "list.txt"), None, load_classes("RAER"))


@pytest.mark.parametrize(
    ("name", "codec", "more"),
    [
        ("a.avi", "libx264", {}),  # FFmpeg numbers its frames in decoding order
        ("a.mpg", "mpeg2video", {"bf": "2"}),  # no index
        ("a.mp4", "libx265", {"x265-params": "log-level=none"}),  # frames before a key frame need those before it
        ("a.mp4", "libx264", {"x264-params": "open-gop=1:scenecut=0"}),
    ],
)
def test_parts_are_exact_in_every_container(tmp_path, name, codec, more):
    path, frames, rate = tmp_path / name, 36, 25
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, options={"g": "12", **more})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(frames):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture(5, number), format="rgb24")))
        file.mux(stream.encode())
    times: list[float] = []
    video = FileVideo(path, threads=1)
    whole = [pixels for _, pixels in video.frames(times=times)]
    assert np.allclose(times, np.arange(frames) / rate, atol=1e-3) and video.count() == frames
    for first in range(frames - 2):
        span = (max(first - 0.5, 0) / rate, (first + 1.5) / rate)
        parts = dict(video.read([0, 1], span))
        assert video.count(span) == 2
        assert all(np.array_equal(parts[index], whole[first + index]) for index in (0, 1)), (name, first)


@pytest.mark.parametrize(("file", "line"), [("a.m4v", "a.m4v"), ("a.m4v", "a"), ("a.MP4", "a"), ("a.mpeg", "a.mpeg")])
def test_lists_find_videos_with_every_suffix(tmp_path, file, line):
    write_video(tmp_path / "P1/a.mp4", 0, frames=5)
    (tmp_path / "P1/a.mp4").rename(tmp_path / f"P1/{file}")
    (tmp_path / "list.txt").write_text(f"P1/{line} 0 1\n")
    (clip,) = read_annotation("list.txt", str(tmp_path), load_classes("RAER"))
    assert clip.folder.name == file and len(clip.frames) == 5 and clip.key == "P1/a"


def test_an_unreadable_frame_of_a_video_is_replaced_by_the_nearest_of_all(tmp_path, monkeypatch):
    """Frame 12 cannot be decoded; of the sampled frames 4 and 20 are left, but 11 is nearer."""
    write_video(tmp_path / "P1/a.mp4", 0)
    (tmp_path / "list.txt").write_text("P1/a 0 1\n")
    clips = read_annotation("list.txt", str(tmp_path), load_classes("RAER"))
    views = Views(size=32, segments=3, root=str(tmp_path), on_bad_frame="skip")
    expected = ClipDataset(clips, replace(views, segments=24))[0, 0, 0]
    read = FileVideo.read

    def without_one(self, indexes, span=None):
        return ((index, pixels) for index, pixels in read(self, indexes, span) if index != 12)

    monkeypatch.setattr(FileVideo, "read", without_one)
    item = ClipDataset(clips, views)[0, 0, 0]
    assert item["replaced_frames"] == 1
    for stream in ("face", "context"):
        assert np.array_equal(item[stream], expected[stream][[4, 11, 20]])
