"""Every kind of finding: a set without a fault has none, one planted fault is found, and nothing else is."""

import json
import shutil

import pytest
from PIL import Image

from dataloader.audit.__main__ import main
from dataloader.audit.checks import SEVERITY, first_gap
from tests.support.auditing import NAMES, Set, kinds
from tests.support.tools import ROOT


@pytest.fixture
def clean(tmp_path):
    return Set(tmp_path / "set")


def write(file, content):
    return lambda one: (one.root / file).write_bytes(content)


def no_glad(one):
    one.clips["train"] = [line for line in one.clips["train"] if line.endswith("0")]


def other_place(one):
    clip = one.clips["train"][0].split()[0]
    one.draw(one.root / "elsewhere" / clip)
    one.clips["train"].append(f"{one.root}/elsewhere/{clip} 3 0")


def without_frames(one):
    for frame in one.folder("test", 0).iterdir():
        frame.unlink()


def copied(split, number):
    def plant(one):
        shutil.rmtree(one.folder(split, number))
        shutil.copytree(one.folder("test", 0), one.folder(split, number))

    return plant


def shared(one):
    one.clips["train"].append(one.clips["test"][0])


def cut_off(one):
    file = one.folder("test", 5) / "2.png"
    file.write_bytes(file.read_bytes()[:300])


def broken_links(one):
    """Two clips of which nothing is left: nobody knows that they were the same."""
    for number in (5, 6):
        for frame in one.folder("test", number).iterdir():
            frame.unlink()
            frame.symlink_to(one.root / "gone")


def redrawn(**how):
    def plant(one):
        shutil.rmtree(one.folder("test", 3))
        one.draw(one.folder("test", 3), **how)

    return plant


def faces(change):
    return lambda one: one.boxes("face", change)


def unknown_persons(one):
    one.classes = one.classes | {"persons": False}


def first_frame(size):
    return lambda one: Image.new("RGB", (size, size)).save(one.folder("test", 7) / "1.png")


PLANTS = [
    ("list", write("test.txt", b"\xff\xfe\x00\x81 binary"), ["test.txt"]),
    ("list", write("test.txt", b"\n \n"), ["test.txt", "holds no clip"]),
    ("line", lambda one: one.clips["test"].insert(4, "RAER/P3/900 3"), ["test.txt, line 5"]),
    ("line", lambda one: one.clips["test"].append("RAER/P3/900 3 glad"), ["test.txt, line 41", "'glad'"]),
    ("label", lambda one: one.clips["train"].append("RAER/P1/000 3 2"), ["train.txt, line 9", "0..1"]),
    ("clip", lambda one: shutil.rmtree(one.folder("train", 2)), ["train.txt, line 3", "RAER/P1/002"]),
    ("clip", without_frames, ["test.txt, line 1", "no image"]),
    ("same_name", other_place, ["train.txt, line 9", "two clips of one name"]),
    ("two_labels", lambda one: one.clips["train"].append("RAER/P1/000 3 1"), ["line 9", "glad, before calm"]),
    ("clip_shared person_shared", shared, ["test.txt, line 1", "RAER/P3/008"]),
    ("content_shared", copied("train", 1), ["train.txt, line 2", "test.txt, line 1"]),
    ("content_repeated", copied("test", 9), ["test.txt, line 1", "test.txt, line 10"]),
    ("unreadable", cut_off, ["P3/013/2.png"]),
    ("unreadable", lambda one: (one.folder("test", 5) / "2.png").write_bytes(b""), ["P3/013/2.png"]),
    ("unreadable", broken_links, ["6 frames", "P3/013/1.png: no such file"]),
    ("box_file", faces(lambda boxes: [1, 2]), ["face.json", "object keyed by clip"]),
    ("box_file", faces(lambda boxes: {"of another set": {"1.png": [0, 0, 9, 9]}}), ["face.json"]),
    ("box_file", lambda one: (one.boxes("body"), write("body.json", b"{")(one)), ["body.json, line 1"]),
    ("box_entry box_coverage", faces(lambda boxes: boxes | {"RAER/P3/008": [1]}), ["RAER/P3/008", "one box a frame"]),
    ("box_coverage", faces(lambda boxes: boxes | {"RAER/P3/008": {}}), ["test.txt, line 1: RAER/P3/008: 0%"]),
    (
        "box_coverage",
        faces(lambda boxes: boxes | {key: {"1.png": [0, 0, 9, 9]} for key in boxes if "/P1/" in key}),
        ["train: face boxes for 66.7% of frames (calm 66.7%, glad 66.7%)"],
    ),
    ("person_shared", lambda one: one.add("train", "RAER/P5/900", 0), ["1 of 4 test persons", "P5"]),
    ("class_missing", no_glad, ["train has no clip of glad"]),
    ("few_clips", lambda one: one.clips["test"].pop(), ["glad 19 (2.63)"]),
    ("frame_count", lambda one: (one.folder("test", 2) / "3.png").unlink(), ["1 fewer, 0 more", "3 listed, 2 there"]),
    ("frame_count", lambda one: one.draw(one.folder("test", 2), ["4.png"]), ["0 fewer, 1 more", "3 listed, 4 there"]),
    ("clip_repeated", lambda one: one.clips["test"].append(one.clips["test"][0]), ["test.txt, line 41"]),
    ("tiny_frames", redrawn(size=9), ["test.txt, line 4", "9x9"]),
    ("sizes_change", first_frame(40), ["40x40", "24x24"]),
    ("frame_order", redrawn(names=("8.png", "9.png", "10.png")), ["10.png 8.png 9.png instead of 8.png 9.png 10.png"]),
    ("frame_gaps", redrawn(names=("1.png", "2.png", "4.png")), ["nothing between 2.png and 4.png"]),
    ("persons_unknown", unknown_persons, ["not known"]),
]


def test_a_set_without_a_fault_has_no_finding_and_is_counted(clean):
    clean.boxes("face")
    clean.boxes("body")
    report = clean.audit()
    assert report["findings"] == [] and report["summary"] == {"error": 0, "warning": 0, "note": 0}
    train, test = report["splits"]["train"], report["splits"]["test"]
    assert (train["clips"], train["persons"], train["frames"], train["median_frames"]) == (8, 2, 24, 3)
    assert (test["clips"], test["persons"], test["frames"]) == (40, 4, 120)
    assert test["classes"]["glad"] == {"clips": 20, "prior": 0.5, "uar_points_of_a_clip": 2.5}
    assert test["sizes"] == {"24x24": 120}
    for kind in ("face", "body"):
        assert test["boxes"][kind]["frames_with_box"] == 120 and test["boxes"][kind]["clips_below"] == {}


@pytest.mark.parametrize(("expected", "plant", "parts"), PLANTS, ids=[f"{n}-{p[0]}" for n, p in enumerate(PLANTS)])
def test_one_fault_is_found_and_nothing_else(expected, plant, parts, clean, capsys):
    plant(clean)
    report = clean.audit()
    assert kinds(report) == dict.fromkeys(expected.split(), 1), report["findings"]
    said = " ".join(finding["text"] + " ".join(finding["examples"]) for finding in report["findings"])
    assert all(part in said for part in parts), said
    shown = capsys.readouterr().out
    for finding in report["findings"]:
        assert all(example in shown for example in finding["examples"])
        assert report["summary"][finding["severity"]] >= 1 and finding["severity"] == SEVERITY[finding["kind"]]


def test_every_kind_is_planted_above_and_explained_in_the_documents():
    assert {kind for expected, _, _ in PLANTS for kind in expected.split()} == set(SEVERITY)
    text = (ROOT / "annotation/README.md").read_text(encoding="utf-8")
    assert [kind for kind in SEVERITY if f"`{kind}`" not in text] == []


def test_one_fault_does_not_hide_another(clean):
    """The first fault would end a training; here all are counted, and the first three of each kind are named."""
    clean.clips["test"] = ["nonsense", *clean.clips["test"], *["RAER/P3/008 3 9"] * 5, "RAER/P9/999 3 1"]
    cut_off(clean)
    report = clean.audit()
    found = {finding["kind"]: finding for finding in report["findings"]}
    assert {kind: one["count"] for kind, one in found.items()} == {"line": 1, "label": 5, "clip": 1, "unreadable": 1}
    assert len(found["label"]["examples"]) == 3 and "line 42" in found["label"]["examples"][0]
    assert report["splits"]["test"]["clips"] == 41 and report["splits"]["test"]["lines_left_out"] == 6


def test_a_list_whose_every_line_is_broken_still_gives_a_report(clean, capsys):
    clean.clips["test"] = ["nonsense"] * 7
    report = clean.audit()
    assert kinds(report) == {"line": 1} and report["findings"][0]["count"] == 7
    assert report["splits"]["test"]["clips"] == 0
    assert "and 4 more" in capsys.readouterr().out


def test_a_quick_look_decodes_nothing(clean):
    cut_off(clean)
    (clean.folder("test", 6) / "1.png").write_bytes(b"no picture")
    copied("test", 9)(clean)
    report = clean.audit("--quick")
    assert kinds(report) == {"unreadable": 1} and report["findings"][0]["count"] == 1
    assert "P3/014/1.png" in report["findings"][0]["examples"][0] and "sizes" not in report["splits"]["test"]
    assert clean.audit()["findings"][0]["count"] == 2


def test_boxes_are_counted_by_clip_class_and_frame(clean):
    """One of 20 glad test clips has one box for three frames, another none: 56 of 60 frames."""
    clean.boxes("face", lambda boxes: boxes | {"RAER/P3/009": {"2.png": [0, 0, 5, 5]}, "RAER/P3/011": {"1.png": None}})
    face = clean.audit()["splits"]["test"]["boxes"]["face"]
    assert (face["clips"], face["clips_with_box"], face["frames"], face["frames_with_box"]) == (40, 39, 120, 115)
    assert face["classes"] == {"calm": 1.0, "glad": 55 / 60}
    assert face["clips_below"] == {"RAER/P3/011": 0.0, "RAER/P3/009": 1 / 3}
    assert face["width"] == 8.0  # of nearly all


def test_a_folder_in_place_of_a_list_goes_on_after_a_class_that_it_does_not_know(tmp_path):
    one = Set(tmp_path / "set")
    for number, (split, name) in enumerate([("train", "calm"), ("train", "glad"), ("test", "calm"), ("test", "happy")]):
        one.draw(
            one.root / f"{split}.txt" / name / f"P{number}" if False else one.root / f"{split}.txt/{name}/c{number}"
        )
    report = one.audit()
    found = {finding["kind"]: finding for finding in report["findings"]}
    assert found["label"]["count"] == 1 and "'happy'" in found["label"]["examples"][0]
    assert (report["splits"]["train"]["clips"], report["splits"]["test"]["clips"]) == (2, 1)


@pytest.mark.parametrize(
    ("names", "gap"),
    [
        (NAMES, None),
        (("a_000.jpg", "a_005.jpg", "a_010.jpg"), None),
        (("a_000.jpg", "a_005.jpg", "a_015.jpg"), "nothing between a_005.jpg and a_015.jpg"),
        (("x.jpg", "y.jpg", "z.jpg"), None),
        (("1.jpg", "9.jpg"), None),
    ],
)
def test_a_gap_is_a_step_longer_than_the_others(names, gap):
    assert first_gap(names) == gap


@pytest.mark.parametrize(("plant", "status"), [(lambda one: None, 0), (unknown_persons, 0), (no_glad, 1), (cut_off, 1)])
def test_strict_is_an_exit_status_of_1_for_warnings_and_errors(plant, status, clean):
    plant(clean)
    assert main([*clean.arguments(), "--strict"]) == status
    assert main(clean.arguments()) == 0


def test_the_report_is_readable_at_100_columns(clean, capsys):
    shared(clean)
    clean.audit()
    lines = [line for line in capsys.readouterr().out.splitlines() if str(clean.root) not in line]
    assert max(map(len, lines)) <= 100
    assert [line for line in lines if line.startswith("calm")] == ["calm       5  55.6%    20  50.0%  2.50 UAR points"]
    assert json.loads((clean.root / "audit.json").read_text())["root_dir"] == str(clean.root)
