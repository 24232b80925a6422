"""--mode attention: the files for clips and classes, what is refused, and the position of a map on a frame."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from apps.attention.pictures import SquareSource, context_source, interpolate, padding_share, paint, spread
from apps.drawing import VideoWriter
from dataloader.crops import crop_context, letterbox
from dataloader.video import FileVideo
from tests.support import published as files
from tests.support.containers import write_container
from tests.support.filming import film, picture
from tests.support.pictures import draw_blank
from tests.support.published import Recipe, write_class_texts
from tests.support.tiny import NAMES, as_arguments
from tests.support.tools import ROOT, Run, error_of, run_main

QUICK = ["--mode", "attention", "--device", "cpu", "--workers", "0"]
FIFTH, SIXTH = "RAER/images/SelfStudy/Library/P004/024", "RAER/images/SelfStudy/Library/P004/020"


def explain(checkpoint, folder, *words) -> Run:
    run = run_main([*QUICK, "--eval-checkpoint", str(checkpoint), *words], folder)
    assert run.status == 0, run.err
    return run


def clips_of(run: Run) -> list[dict]:
    return json.loads((run.folder / "attention.json").read_text(encoding="utf-8"))["clips"]


@pytest.fixture(scope="module")
def explained(best, tmp_path_factory) -> Run:
    return explain(best, tmp_path_factory.mktemp("attention") / "run")


def test_one_clip_of_each_class_is_explained_as_it_was_predicted(explained, trained):
    rows, predictions = clips_of(explained), {row["clip"]: row for row in trained.predictions}
    assert [row["label"] for row in rows] == list(NAMES)
    for row in rows:
        scored = predictions[row["clip"]]
        assert (row["label"], row["predicted"]) == (scored["label"], scored["predicted"])
        assert row["explained"] == row["predicted"]
        assert row["probability"] == pytest.approx(float(scored[f"prob_{row['predicted']}"]), abs=1e-4)
        assert next(clip for clip in predictions if predictions[clip]["label"] == row["label"]) == row["clip"]


def test_shares_of_frames_and_streams_sum_to_one(explained):
    for row in clips_of(explained):
        frames = row["frames"]
        assert [frame["frame"] for frame in frames] == ["00002.png", "00004.png", "00006.png", "00008.png"]
        for stream, share in row["shares"].items():
            assert sum(frame[stream] for frame in frames) == pytest.approx(share)
        assert sum(row["shares"].values()) == pytest.approx(1) and 0 <= row["padding"] < 1


def test_every_clip_has_a_picture_and_a_video_of_all_its_frames(explained):
    for row in clips_of(explained):
        with Image.open(explained.folder / row["picture"]) as sheet:
            assert sheet.width > 900 and sheet.height > 700 and np.unique(np.array(sheet)).size > 50
        with av.open(str(explained.folder / row["video"])) as video:
            stream = video.streams.video[0]
            pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
            assert stream.codec_context.name == "h264" and stream.average_rate == 12
        assert len(pictures) == 8  # all frames of the clip, of which the model saw 4
        assert all(np.abs(a.astype(int) - b).max() > 40 for a, b in zip(pictures[:-1], pictures[1:], strict=True))
    names = {path.name for path in explained.folder.iterdir()}
    assert names == {"config.json", "log.txt", "attention", "attention.json"}
    assert not [path for path in (explained.folder / "attention").iterdir() if path.suffix not in (".png", ".mp4")]


def test_a_summary_is_printed(explained):
    lines = [line for line in explained.out.splitlines() if "shown: evidence for" in line]
    assert len(lines) == 5 and all("face " in line and "in its padding" in line for line in lines)


@pytest.fixture
def no_sheets(monkeypatch):
    monkeypatch.setattr("apps.attention.run.draw_clip", draw_blank)


def test_clips_and_class_can_be_selected(best, tmp_path, no_sheets):
    run = explain(best, tmp_path / "run", "--clips", SIXTH, f"{FIFTH}/", "--explain", "fatigue")
    rows = clips_of(run)
    assert [row["clip"] for row in rows] == [SIXTH, FIFTH]
    assert {row["explained"] for row in rows} == {"Fatigue"} and rows[1]["predicted"] == "Distraction"
    assert rows[1]["explained_probability"] < rows[1]["probability"]
    (row,) = clips_of(explain(best, tmp_path / "label", "--clips", FIFTH, "--explain", "label"))
    assert row["explained"] == "Distraction" and row["shares"] != rows[1]["shares"]


def test_the_calibration_temperature_divides_the_logits(best, tmp_path, no_sheets):
    content = torch.load(best, weights_only=True)
    torch.save(content | {"calibration": {"temperature": 1e3, "fitted_on": "val", "clips": 10}}, tmp_path / "best.pt")
    row = clips_of(explain(tmp_path / "best.pt", tmp_path / "run", "--clips", FIFTH))[0]
    assert row["probability"] == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize(("family", "frames"), [("clip_caer", 8), ("dfer_clip", 8), ("emoclip", 2)])
def test_published_files_are_explained(family, frames, tiny_flags, tmp_path, no_sheets):
    """The published EmoCLIP sees every fourth frame."""
    path = tmp_path / "model.pth"
    words = ["--pack", "none"]
    if family == "emoclip":
        torch.save(files.emoclip(Recipe(depth=2)).state, path)
        words += ["--class-texts", str(write_class_texts(tmp_path / "five.json", NAMES, label_base=1))]
    else:
        write_container(path, getattr(files, family)(Recipe()))
    flags = {name: value for name, value in tiny_flags.items() if family == "clip_caer" or "body" not in name}
    run = explain(path, tmp_path / "run", *as_arguments(flags), "--clips", FIFTH, *words)
    row = clips_of(run)[0]
    assert set(row["shares"]) == ({"face", "context"} if family == "clip_caer" else {"face"})
    assert (row["padding"] is None) == (family != "clip_caer") and len(row["frames"]) == frames


def test_single_frames_have_a_picture_and_no_video(frame_model, tmp_path, no_sheets):
    rows = clips_of(explain(frame_model, tmp_path / "run"))
    assert rows and all("video" not in row and len(row["frames"]) == 1 for row in rows)
    assert all((tmp_path / "run" / row["picture"]).exists() for row in rows)


def test_unreadable_frames_are_reported_and_shown_grey(best, tiny_flags, tmp_path, no_sheets):
    root = tmp_path / "set"
    shutil.copytree(Path(tiny_flags["--root-dir"]) / FIFTH, root / FIFTH)
    (root / "list.txt").write_text(f"{FIFTH} 8 5\n", encoding="utf-8")
    for name in ("00001.png", "00002.png"):
        (root / FIFTH / name).write_bytes(b"no picture")
    flags = {name: str(Path(tiny_flags["--root-dir"]) / file) for name, file in tiny_flags.items() if "box" in name}
    flags |= {"--root-dir": str(root), "--test-annotation": "list.txt", "--on-bad-frame": "skip"}
    run = explain(best, tmp_path / "run", *as_arguments(flags))
    assert "no image in 2 frame files" in run.out and len(clips_of(run)) == 1
    with av.open(str(run.folder / clips_of(run)[0]["video"])) as video:
        first, *_, last = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    panel = np.s_[100:300, 20:200]
    assert abs(first[panel].astype(int) - 128).max() < 8 and last[panel].std() > 8


def test_a_video_is_read_once_while_its_video_is_written(best, tmp_path, monkeypatch, no_sheets):
    """One pass for the model and one for the video, which holds no frame that comes later than the one it writes."""
    film(tmp_path / "a.mp4", [picture(4 * n) for n in range(30)])  # 20 in a second
    (tmp_path / "list.txt").write_text("a.mp4#t=0.5,1.5 0 2\n", encoding="utf-8")
    passes, ahead, read, add = [], [], FileVideo.read, VideoWriter.add

    def count_read(video, *place):
        passes.append(0)
        for frame in read(video, *place):
            passes[-1] += 1
            yield frame

    def count_added(writer, seconds, pixels):
        ahead.append(passes[-1] - len(ahead))
        add(writer, seconds, pixels)

    monkeypatch.setattr(FileVideo, "read", count_read)
    monkeypatch.setattr(VideoWriter, "add", count_added)
    (tmp_path / "face.json").write_text('{"a.mp4#t=0.5,1.5": {"00001.jpg": [20, 30, 60, 70]}}', encoding="utf-8")
    (tmp_path / "body.json").write_text('{"a.mp4#t=0.5,1.5": [10, 10, 150, 110]}', encoding="utf-8")
    words = ["--root-dir", str(tmp_path), "--test-annotation", "list.txt"]
    words += ["--bounding-box-face", "face.json", "--bounding-box-body", "body.json"]
    explain(best, tmp_path / "run", *words)
    assert passes == [4, 20]  # the model sees 4 frames
    assert len(ahead) == 20 and max(ahead) <= 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--explain", "Fatige"], "--explain Fatige: no such class; did you mean Fatigue?"),
        (["--explain", "zzz"], "predicted, label, or one of Neutrality, Enjoyment"),
        (["--clips", f"{FIFTH[:-1]}9x"], "not in annotation/test.txt; did you mean RAER/images"),
        (["--clips", "qqq"], "--clips qqq: not in annotation/test.txt; its first clip is RAER/images"),
        (["--streams", "face"], "--streams face: this checkpoint was trained with both"),
        (["--pack", "packed"], "--mode attention needs the frames"),
        (["--clips", "P004/024"], "--clips P004/024: not in annotation/test.txt; did you mean RAER/images"),
        (["--targets", "numbers.csv"], "predicts classes; name --test-annotation FILE"),
        (["--test-annotation", "nowhere.txt"], "nowhere.txt"),
        (["--stride", "3"], "--stride is not used by"),
        (["--class-texts", f"{ROOT}/annotation/DFEW/classes.json"], "a checkpoint has fixed prompts"),
    ],
)
def test_mistakes_end_in_one_line_and_leave_no_folder(words, expected, best, tmp_path, capsys):
    call = [*QUICK, "--eval-checkpoint", str(best), "--output-dir", str(tmp_path / "run"), *words]
    assert expected in error_of(call, capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"family": "sequence", "config": {"model": {"model": "sequence"}}},
            "a sequence model reads stored features, not pictures",
        ),
        ({"config": {"model": {"task": "regression"}}}, "predicts numbers"),
    ],
)
def test_models_that_cannot_be_explained_are_refused(changes, expected, best, tmp_path, capsys):
    content = torch.load(best, weights_only=True)
    if "config" in changes:
        model = content["config"]["model"] | changes["config"]["model"]
        changes = changes | {"config": content["config"] | {"model": model}}
    torch.save(content | changes, tmp_path / "other.pt")
    assert expected in error_of([*QUICK, "--eval-checkpoint", str(tmp_path / "other.pt")], capsys)


def test_mistakes_without_a_checkpoint_in_another_mode_and_in_the_folder(best, tmp_path, capsys):
    assert "--mode attention needs --eval-checkpoint FILE" in error_of(QUICK, capsys)
    line = error_of(["--mode", "eval", "--eval-checkpoint", "x.pt", "--explain", "label"], capsys)
    assert "--explain belongs to --mode attention, not to --mode eval" in line
    (tmp_path / "file").write_text("")
    line = error_of([*QUICK, "--eval-checkpoint", str(best), "--output-dir", str(tmp_path / "file" / "run")], capsys)
    assert "choose another with --output-dir" in line


# -- where a map lies on a frame ------------------------------------------------------------------------------------


@pytest.mark.parametrize("box", [(30.0, 10.0, 130.0, 110.0), (5.0, 40.0, 155.0, 90.0), (60.0, 0.0, 90.0, 120.0), None])
def test_the_inside_of_a_square_excludes_the_letterbox(box):
    white = np.full((120, 160, 3), 255, np.uint8)
    square = letterbox(crop_context(white, box), 112)
    source = context_source(160, 120, box, 112)
    rows, columns = np.nonzero(square[..., 0])
    assert source.inside == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert source.area == ((0, 0, 160, 120) if box is None else tuple(map(int, box)))


def test_padding_gets_its_share_by_area():
    source = SquareSource((0, 0, 100, 50), (0, 28, 112, 84))  # a quarter above, a quarter below
    assert padding_share(np.ones((3, 7, 7)), [source] * 3, 112) == pytest.approx(0.5)
    maps = np.zeros((1, 7, 7))
    maps[0, 1, 3] = 2.0  # rows 16 to 32: a quarter of the patch is inside
    assert padding_share(maps, [source], 112) == pytest.approx(0.75)
    assert padding_share(np.zeros((1, 7, 7)), [source], 112) == 0


def test_a_map_is_cut_and_enlarged_to_its_part_of_the_frame():
    values = np.zeros((4, 4))
    values[1, 2] = 1.0  # the patch of x 64 to 96, y 32 to 64 in a square of 128
    enlarged = spread(values, SquareSource((0, 0, 200, 100), (0, 32, 128, 96)), 128, (100, 200))
    y, x = np.unravel_index(enlarged.argmax(), enlarged.shape)
    assert enlarged.shape == (100, 200) and enlarged.min() >= 0
    assert x == pytest.approx(80 / 128 * 200, abs=2) and y == pytest.approx((48 - 32) / 64 * 100, abs=2)


def test_no_relevance_leaves_the_picture_grey_and_high_relevance_colours_it():
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3)).astype(np.uint8)
    plain, covered = paint(picture, np.zeros((8, 8))), paint(picture, np.ones((8, 8)))
    assert (plain == plain[..., :1]).all() and plain.std() > 10
    assert covered.std(axis=(0, 1)).max() < 0.4 * plain.std() and covered[..., 0].mean() > 200


def test_maps_between_two_frames_are_interpolated():
    maps = np.array([[[0.0]], [[4.0]], [[2.0]]])
    values = interpolate(maps, [1, 5, 6], [0, 1, 2, 3, 5, 6, 9])
    assert values.ravel().tolist() == [0, 0, 1, 2, 4, 2, 2]
    assert interpolate(maps[:1], [3], [0, 3, 7]).ravel().tolist() == [0, 0, 0]
