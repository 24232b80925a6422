"""python -m dataloader.audit: a set without errors has no finding, and each planted error is found alone."""

import os
import re
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from dataloader.audit import contents
from dataloader.audit.__main__ import main
from dataloader.audit.checks import SEVERITY
from dataloader.audit.contents import first_gap
from dataloader.classes import ANNOTATION, load_classes
from tests.support.auditing import NAMES, audit_report, counts_of
from tests.support.drawn import READERS, truth
from tests.support.tools import ROOT


def writing(file, content):
    return lambda data: (data.root / file).write_bytes(content)


def appending(split, line):
    return lambda data: data.clips[split].append(line)


def faces(change):
    return lambda data: data.boxes("face", change)


def bodies(box_of):
    return lambda data: data.boxes("body", lambda boxes: {clip: box_of(clip) for clip in boxes})


def no_glad(data):
    data.clips["train"] = [line for line in data.clips["train"] if line.endswith("0")]


def same_name(data):
    clip = data.clips["train"][0].split()[0]
    data.draw(data.root / "elsewhere" / clip)
    data.clips["train"].append(f"{data.root}/elsewhere/{clip} 3 0")


def without_frames(data):
    for frame in data.folder("test", 0).iterdir():
        frame.unlink()


def copied(split, number):
    def plant(data):
        shutil.rmtree(data.folder(split, number))
        shutil.copytree(data.folder("test", 0), data.folder(split, number))

    return plant


def cut_off(data):
    file = data.folder("test", 5) / "2.png"
    file.write_bytes(file.read_bytes()[:300])


def pipe(data):
    (data.folder("test", 5) / "2.png").unlink()
    os.mkfifo(data.folder("test", 5) / "2.png")


def broken_links(data):
    """Two clips without any frame: their equality cannot be detected."""
    for frame in [*data.folder("test", 5).iterdir(), *data.folder("test", 6).iterdir()]:
        frame.unlink()
        frame.symlink_to(data.root / "gone")


def redrawn(**how):
    def plant(data):
        shutil.rmtree(data.folder("test", 3))
        data.draw(data.folder("test", 3), **how)

    return plant


def unknown_persons(data):
    data.classes["persons"] = False


def ignored_labels(data):
    """A CSV in place of the list, with one more line of a label that the set ignores."""
    data.classes |= {
        "ignored_labels": ["8"],
        "csv_clip_column": "clip",
        "csv_label_column": "label",
        "csv_label_base": 0,
    }
    rows = [",".join(line.split()[::2]) for line in data.clips["test"]]
    (data.root / "test.txt").write_text("\n".join(["clip,label", *rows[:39], "RAER/P9/900,8", rows[39]]))


def published(**clips):
    def plant(data):
        parts = {"train": {"clips": clips.get("train", 8)}, "test": {"classes": {"glad": 20}}, "all": {"persons": 6}}
        data.classes["published"] = {"source": "a paper", "parts": parts}

    return plant


PLANTS = [
    ("list", writing("test.txt", b"\xff\xfe\x00\x81 binary"), ["test.txt"]),
    ("list", writing("test.txt", b"\n \n"), ["test.txt", "holds no clip"]),
    ("line", lambda data: data.clips["test"].insert(4, "RAER/P3/900 3"), ["test.txt, line 5"]),
    ("line", lambda data: data.clips.update(test=["nonsense"] * 7), ["7 lines", "test.txt, line 3"]),
    ("line", appending("test", "RAER/P3/900 3 glad"), ["test.txt, line 41", "'glad'"]),
    ("label", appending("train", "RAER/P1/000 3 2"), ["train.txt, line 9", "0..1"]),
    ("clip", lambda data: shutil.rmtree(data.folder("train", 2)), ["train.txt, line 3", "RAER/P1/002"]),
    ("clip", without_frames, ["test.txt, line 1", "no image"]),
    ("same_name", same_name, ["train.txt, line 9", "two clips named"]),
    ("two_labels", appending("train", "RAER/P1/000 3 1"), ["line 9", "glad, before calm"]),
    ("clip_shared person_shared", appending("train", "RAER/P3/008 3 0"), ["test.txt, line 1", "RAER/P3/008"]),
    ("content_shared", copied("train", 1), ["train.txt, line 2", "test.txt, line 1"]),
    ("content_repeated", copied("test", 9), ["test.txt, line 1", "test.txt, line 10"]),
    ("unreadable", cut_off, ["P3/013/2.png"]),
    ("unreadable", lambda data: (data.folder("test", 5) / "2.png").write_bytes(b""), ["P3/013/2.png"]),
    ("unreadable", broken_links, ["6 files", ".png: no such file"]),
    ("unreadable", pipe, ["P3/013/2.png: not a regular file"]),
    ("box_file", faces(lambda boxes: [1, 2]), ["face.json", "expected a table"]),
    ("box_file", faces(lambda boxes: {"of another set": {"1.png": [0, 0, 9, 9]}}), ["face.json"]),
    ("box_file", lambda data: (data.boxes("body"), writing("body.json", b"{")(data)), ["body.json, line 1"]),
    ("box_entry box_coverage", faces(lambda boxes: boxes | {"RAER/P3/008": [1]}), ["RAER/P3/008", "one box per frame"]),
    ("box_coverage", faces(lambda boxes: boxes | {"RAER/P3/008": {}}), ["test.txt, line 1: RAER/P3/008: 0%"]),
    ("boxes_size", bodies(lambda clip: [40, 0, 90, 50] if "/P3/" in clip else [0, 0, 20, 20]), ["10 clips", "24 x 24"]),
    ("box_outside", bodies(lambda clip: [0, 0, 20, 70] if "008" in clip else [0, 0, 20, 29]), ["line 1: RAER/P3/008"]),
    (
        "box_coverage",
        faces(lambda boxes: boxes | {key: {"1.png": [0, 0, 9, 9]} for key in boxes if "/P1/" in key}),
        ["train: face boxes for 66.7% of frames (calm 66.7%, glad 66.7%)"],
    ),
    ("person_shared", lambda data: data.add("train", "RAER/P5/900", 0), ["1 of 4 test persons", "P5"]),
    ("class_missing", no_glad, ["train has no clip of glad"]),
    ("few_clips", lambda data: data.clips["test"].pop(), ["glad 19), so one clip changes UAR by 2.63 points"]),
    ("frame_count", lambda data: (data.folder("test", 2) / "3.png").unlink(), ["1 fewer, 0 more", "3 listed, 2 exist"]),
    (
        "frame_count",
        lambda data: data.draw(data.folder("test", 2), ["4.png"]),
        ["0 fewer, 1 more", "3 listed, 4 exist"],
    ),
    ("clip_repeated", appending("test", "RAER/P3/008 3 0"), ["test.txt, line 41"]),
    ("tiny_frames", redrawn(size=9), ["test.txt, line 4", "9x9"]),
    ("sizes_change", lambda data: data.draw(data.folder("test", 7), ["1.png"], size=40), ["40x40", "24x24"]),
    ("frame_order", redrawn(names=("8.png", "9.png", "10.png")), ["10.png 8.png 9.png instead of 8.png 9.png 10.png"]),
    ("frame_gaps", redrawn(names=("1.png", "2.png", "4.png")), ["nothing between 2.png and 4.png"]),
    ("persons_unknown", unknown_persons, ["not known"]),
    ("labels_ignored", ignored_labels, ["test: 1 line left out", "test.txt, line 41"]),
    ("published_count", published(train=9), ["1 of 3 published counts differ", "train, clips: 9 published, 8 here"]),
]


def test_a_set_without_errors_has_no_finding_and_is_counted(clean):
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
def test_a_planted_error_is_the_only_finding(expected, plant, parts, clean, capsys):
    plant(clean)
    report = clean.audit()
    assert list(counts_of(report)) == expected.split(), report["findings"]
    text = " ".join(finding["text"] + " ".join(finding["examples"]) for finding in report["findings"])
    assert all(part in text for part in parts), text
    screen = capsys.readouterr().out
    for finding in report["findings"]:
        assert all(example in screen for example in finding["examples"])
        assert report["summary"][finding["severity"]] >= 1 and finding["severity"] == SEVERITY[finding["kind"]]


def test_a_set_with_all_published_counts_has_no_finding(clean, capsys):
    published()(clean)
    report = clean.audit()
    assert report["findings"] == []
    assert report["published"] == [
        {"part": part, "subject": subject, "published": count, "here": count}
        for part, subject, count in (("train", "clips", 8), ("test", "glad", 20), ("all", "persons", 6))
    ]
    assert "published by a paper:" in capsys.readouterr().out


def test_clips_that_are_not_on_the_disk_are_missing_from_the_published_ones(clean, capsys):
    published()(clean)
    shutil.rmtree(clean.folder("test", 1))
    (row,) = [row for row in clean.audit()["published"] if row["published"] != row["here"]]
    assert row == {"part": "test", "subject": "glad", "published": 20, "here": 19}
    assert re.search(r"^test +glad +20 +19 +1 missing$", capsys.readouterr().out, re.M)


def test_all_lists_are_compared_only_with_all_parts_and_validation_may_be_the_test_list(clean, capsys):
    published()(clean)
    parts = clean.classes["published"]["parts"]
    parts["validation"] = parts.pop("test")
    assert [row["part"] for row in clean.audit()["published"]] == ["train", "all", "validation"]
    parts["test"] = {"clips": 3}
    assert [row["part"] for row in clean.audit()["published"]] == ["train", "test"]


@pytest.mark.parametrize("dataset", [path.parent.name for path in sorted(ANNOTATION.glob("*/classes.json"))])
def test_published_counts_of_classes_add_up_and_have_a_source(dataset):
    published = load_classes(dataset).published or {"source": "-", "parts": {}}
    assert published["source"]
    for part in published["parts"].values():
        assert "classes" not in part or sum(part["classes"].values()) == part["clips"]


@pytest.mark.parametrize(
    ("dataset", "part", "clips"),
    [
        ("RAER", "train", 2241), ("RAER", "test", 528), ("CAER", "all", 13201), ("CAER-S", "all", 69999),
        ("RAF-DB", "train", 12271), ("RAF-DB", "test", 3068), ("FER2013", "train", 28709),
    ],
)  # fmt: skip
def test_the_published_counts_are_those_of_the_publishers(dataset, part, clips):
    assert load_classes(dataset).published["parts"][part]["clips"] == clips


def test_a_drawn_set_is_not_compared_with_the_published_one(drawn, tmp_path, capsys):
    report = audit_report(
        [f"@{ROOT}/recipes/data/raf_db.args", "--root-dir", str(drawn("raf-db"))], tmp_path / "audit.json"
    )
    assert report["published"] == [] and "published_count" not in counts_of(report)
    assert "published counts: not compared, since about.json says: Drawings" in capsys.readouterr().out


def test_the_counts_of_a_set_are_compared_with_those_of_its_publisher(drawn, tmp_path):
    root = Path(shutil.copytree(drawn("raf-db"), tmp_path / "set"))
    (root / "about.json").unlink()  # with it the set is known as a drawn one
    rows = [line.split() for line in (root / "basic/EmoLabel/list_patition_label.txt").read_text().splitlines()]
    here = Counter(label for name, label in rows if name.startswith("train"))
    report = audit_report([f"@{ROOT}/recipes/data/raf_db.args", "--root-dir", str(root)], tmp_path / "audit.json")
    counts = {row["subject"]: (row["published"], row["here"]) for row in report["published"] if row["part"] == "train"}
    assert counts["clips"] == (12271, sum(here.values())) and counts["fear"] == (281, here["2"])
    assert len(report["published"]) == 2 * 8


def test_every_kind_is_planted_above_and_explained_in_the_documents():
    assert {kind for expected, _, _ in PLANTS for kind in expected.split()} == set(SEVERITY)
    text = (ROOT / "annotation/README.md").read_text(encoding="utf-8")
    assert [kind for kind in SEVERITY if f"`{kind}`" not in text] == []


def test_one_error_does_not_hide_another(clean, capsys):
    """A training would stop at the first error. The audit counts all and names the first three of each kind."""
    clean.clips["test"] = ["nonsense", *clean.clips["test"], *["RAER/P3/008 3 9"] * 5, "RAER/P9/999 3 1"]
    cut_off(clean)
    report = clean.audit()
    assert counts_of(report) == {"line": 1, "label": 5, "clip": 1, "unreadable": 1}
    examples = report["findings"][1]["examples"]
    assert len(examples) == 3 and "line 42" in examples[0] and "and 2 more" in capsys.readouterr().out
    assert report["splits"]["test"]["clips"] == 41 and report["splits"]["test"]["lines_left_out"] == 6


def test_a_quick_audit_decodes_nothing(clean):
    cut_off(clean)
    (clean.folder("test", 6) / "1.png").write_bytes(b"no picture")
    copied("test", 9)(clean)
    report = clean.audit("--quick")
    assert counts_of(report) == {"unreadable": 1} and "sizes" not in report["splits"]["test"]
    assert "P3/014/1.png" in report["findings"][0]["examples"][0]
    assert counts_of(clean.audit())["unreadable"] == 2


def test_boxes_are_counted_by_clip_class_and_frame(clean):
    """One of 20 glad test clips has one box for three frames, another none: 55 of 60 frames."""
    clean.boxes("face", lambda boxes: boxes | {"RAER/P3/009": {"2.png": [0, 0, 5, 5]}, "RAER/P3/011": {"1.png": None}})
    face = clean.audit()["splits"]["test"]["boxes"]["face"]
    assert (face["clips"], face["clips_with_box"], face["frames"], face["frames_with_box"]) == (40, 39, 120, 115)
    assert face["classes"] == {"calm": 1.0, "glad": 55 / 60}
    assert face["clips_below"] == {"RAER/P3/011": 0.0, "RAER/P3/009": 1 / 3}
    assert face["width"] == 8.0  # of nearly all


def test_an_audit_of_a_folder_continues_after_an_unknown_class(clean):
    for folder in ("train.txt/calm/c0", "train.txt/glad/c1", "test.txt/calm/c2", "test.txt/happy/c3"):
        clean.draw(clean.root / folder)
    report = clean.audit()
    assert counts_of(report)["label"] == 1 and "'happy'" in report["findings"][0]["examples"][0]
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
def test_a_gap_is_a_step_that_is_longer_than_the_others(names, gap):
    assert first_gap(names) == gap


@pytest.mark.parametrize(
    ("plant", "status"), [(lambda data: None, 0), (unknown_persons, 0), (no_glad, 1), (cut_off, 1)]
)
def test_strict_is_an_exit_status_of_1_for_warnings_and_errors(plant, status, clean):
    plant(clean)
    assert main([*clean.arguments(), "--strict"]) == status
    assert main(clean.arguments()) == 0


def test_the_report_is_readable_at_100_columns(clean, capsys):
    appending("train", clean.clips["test"][0])(clean)
    report = clean.audit()
    lines = [line for line in capsys.readouterr().out.splitlines() if str(clean.root) not in line]
    assert max(map(len, lines)) <= 100
    calm = next(line for line in lines if line.startswith("calm"))
    assert calm.split() == ["calm", "5", "55.6%", "20", "50.0%", "2.50", "UAR", "points"]
    assert report["root_dir"] == str(clean.root)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ([], "no list of clips: name --train-annotation"),
        (["--train-annotation", "nowhere.txt"], "set/nowhere.txt: no such file"),
        (["--bounding-box-face", "nowhere.json"], "--bounding-box-face"),
        (["--json", "/nowhere/audit.json"], "--json /nowhere/audit.json"),
        (["--json", "train.txt/x.json"], "train.txt/x.json: not a directory"),
        (["--json", "."], "is a folder"),
        (["--json", ""], "--json is empty"),
        (["--make-folds", "2", "--out", "train.txt/folds"], "--out"),
        (["--make-folds", "2", "--out", "."], "is not empty"),
        (["--make-folds", "2", "--out", "/proc/folds"], "--out /proc/folds"),
        (["--make-folds", "2"], "needs --out"),
        (["--out", "folds"], "--out folds is not used without --make-folds"),
        (["--pool"], "--pool is not used without --make-folds"),
        (["--val-fraction", "0.3"], "--val-fraction 0.3 is not used without --make-folds"),
        (["--seed", "1"], "--seed 1 is not used without --make-folds"),
        (["--fold", "2"], "no path of this command holds {fold}"),
        (["--train-annotation", "{fold}.txt"], "--fold N"),
        (["--train-annotation", "{fold}.txt", "--fold", "one"], "--fold one"),
        (["--train-annotation", "{fold}.txt", "--fold", "all"], "no fold exists"),
        (["--strickt"], "did you mean --strict"),
        (["--dataset", "RAERR", "--class-texts", "nowhere.json"], "nowhere.json"),
    ],
)
def test_a_mistake_of_the_user_gives_a_one_line_error_and_status_2(more, part, clean, capsys, monkeypatch):
    words = [*clean.arguments(), *more] if more else []
    monkeypatch.chdir(clean.root)
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and part in err, err
    assert out == "" and not Path("folds").exists() and not Path("audit.json").exists()


def recipe(reader: str, drawn) -> list[str]:
    dataset, flags = READERS[reader]
    fold = flags if "--fold" in flags else []
    return [f"@{ROOT}/recipes/data/{reader}.args", "--root-dir", str(drawn(dataset)), *fold]


@pytest.mark.parametrize("reader", [name for name in READERS if name != "mafw_captions"])
def test_recipes_of_the_published_sets_name_their_lists(reader, drawn, tmp_path, capsys):
    report = audit_report(recipe(reader, drawn), tmp_path / "audit.json")
    assert report["summary"]["error"] == 0, report["findings"]
    assert report["splits"]["test"]["clips"] == len(truth(reader, drawn(READERS[reader][0])))
    assert ("--num-segments" in capsys.readouterr().out.splitlines()[0]) == (reader == "caer_s")


def test_every_fold_has_a_report(drawn, tmp_path):
    words = [f"@{ROOT}/recipes/data/dfew.args", "--root-dir", str(drawn("dfew"))]
    folds = audit_report(words, tmp_path / "audit.json")["folds"]
    assert list(folds) == ["1", "2", "3", "4", "5"]
    for fold, report in folds.items():
        assert report["splits"]["test"]["clips"] == len(truth("dfew", drawn("dfew"), int(fold)))
        assert "persons_unknown" in counts_of(report)


@pytest.mark.parametrize("reader", [name for name in READERS if "captions" not in name])
def test_folds_are_read_again_in_every_layout(reader, drawn, tmp_path):
    """AFEW has no lists: folds are lists of the clips of its folders."""
    out, words = tmp_path / "folds", [*recipe(reader, drawn), "--quick"]
    make = ["--make-folds", "3", "--out", str(out), "--pool"]
    splits = audit_report([*words, *make], tmp_path / "a.json")["splits"]
    for part in ("train", "val", "test"):
        suffix = next((out / "fold-1").glob(f"{part}.*")).suffix
        words += [f"--{part}-annotation", f"{out}/fold-{{fold}}/{part}{suffix}"]
    folds = audit_report([*words, "--fold", "all"], tmp_path / "b.json")["folds"]
    assert len(folds) == 3 and not any(report["summary"]["error"] for report in folds.values())
    for name in splits["test"]["classes"]:
        clips = sum(split["classes"][name]["clips"] for split in splits.values())
        assert clips == sum(report["splits"]["test"]["classes"][name]["clips"] for report in folds.values())


def test_an_interrupt_gives_a_one_line_message_and_leaves_no_files(clean, capsys, monkeypatch):
    """Ctrl-C arrives in the main thread while other threads read frames."""
    clips = []

    def interrupted(clip, quick):
        clips.append(clip)
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.05)
        return contents.ClipContent()

    monkeypatch.setattr(contents, "read_content", interrupted)
    words = [*clean.arguments(), "--json", str(clean.root / "audit.json")]
    assert main([*words, "--make-folds", "2", "--val-fraction", "0", "--out", str(clean.root / "folds")]) == 130
    out, err = capsys.readouterr()
    assert err.strip() == "stopped by Ctrl-C; nothing was written" and out == ""
    assert len(clips) < 10, "the others are not begun"
    assert not list(clean.root.glob("audit.json*")) and not list(clean.root.glob("*folds*"))


def test_a_set_without_boxes_is_reported_as_not_checked(clean, capsys):
    """The set of ``clean`` has face boxes only after ``boxes("face")`` was called."""
    assert main([*clean.arguments(), "--quick"]) == 0
    assert "boxes: not checked, no file was given" in capsys.readouterr().out.splitlines()
    clean.boxes("face")
    assert main([*clean.arguments(), "--quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["face", "test"] and "40 of 40" in line for line in lines)
    assert not any("boxes: not checked" in line for line in lines)  # frame sizes are not, because of --quick
