"""Simulated sets in the layouts of published ones: files, lists, folds, and persons that are in one part only."""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from simulate.layouts import LAYOUTS
from tests.support.drawn import AFFECTNET, ELEVEN, LEVELS, RAF_DB, SEVEN, SMALL, files_of, rows_of

CAER = ["Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]
FOLDER_LABEL = dict(zip("Happy Sad Neutral Angry Surprise Disgust Fear".split(), range(7), strict=True))
PARTS = ("train", "test")


def assert_files(root: Path, texts: Iterable[str], folders: Iterable[str], frames: int) -> None:
    """A set has its description, its texts and its frames, nothing else, and no frame twice."""
    pictures = [f"{folder}/{number:05d}.jpg" for folder in folders for number in range(1, frames + 1)]
    files = files_of(root)
    assert set(files) == {"about.json", *texts, *pictures}
    assert len({files[name] for name in pictures}) == len(pictures)


def assert_apart(name: str, parts: Iterable[Iterable[str]]) -> None:
    """Every person is in exactly one of the parts, which are lists of folders or pictures."""
    persons = {slot.folder: slot.person for slot in SMALL[name].plan()}  # most published sets do not name persons
    casts = [{persons[folder] for folder in part} for part in parts]
    assert all(casts) and sum(map(len, casts)) == len(set.union(*casts)) == SMALL[name].persons


def assert_folds(train: list[Iterable[str]], test: list[Iterable[str]], persons: dict[str, int | str]) -> None:
    """Every clip is tested once and trained on in all other folds; no person is in both lists of a fold."""
    clips = Counter(clip for fold in test for clip in fold)
    assert set(clips.values()) == {1}
    for train_fold, test_fold in zip(train, test, strict=True):
        assert Counter([*train_fold, *test_fold]) == clips
        assert {persons[clip] for clip in train_fold}.isdisjoint(persons[clip] for clip in test_fold)


def test_dfew(drawn):
    root, names = drawn("dfew"), [f"annotation/DFEW_set_{k}_{part}.txt" for part in PARTS for k in range(1, 6)]
    rows, folders = (
        [rows_of(root / name) for name in names],
        [f"DFEW_Frame_Face/{number:05d}" for number in range(1, 41)],
    )
    assert_files(root, names, folders, 3)
    paths = [[path for path, _, _ in part] for part in rows]
    assert_folds(paths[:5], paths[5:], {slot.folder: slot.person for slot in SMALL["dfew"].plan()})
    assert set().union(*paths) == set(folders)
    assert len({(path, label) for part in rows for path, frames, label in part if frames == "3"}) == 40
    assert all({label for _, _, label in part} == set("0123456") for part in rows)
    assert cv2.imread(str(root / folders[0] / "00001.jpg")).shape == (128, 128, 3)


def test_ferv39k(drawn):
    root, paths = drawn("ferv39k"), {}
    for part in PARTS:
        keys, paths[part] = [], []
        for path, frames, label in rows_of(root / f"annotation/{part}_image.txt"):
            folder, scene, emotion, number = path.split("/")
            assert folder == "2_ClipsforFaceCrop" and re.fullmatch(r"\d{4}", number) and frames == "3"
            assert FOLDER_LABEL[emotion] == int(label)
            keys.append(f"{scene}_{emotion}_{number}")
            paths[part].append(path)
        assert list(json.loads((root / f"annotation/{part}_descriptions.json").read_text())) == keys
    texts = [f"annotation/{part}_{kind}" for part in PARTS for kind in ("image.txt", "descriptions.json")]
    assert_files(root, texts, paths["train"] + paths["test"], 3)
    assert_apart("ferv39k", paths.values())


def read_mafw(root: Path, kind: str, part: str) -> list[dict[str, str]]:
    """Return {video: label} of each fold, after comparing the two files of each list."""
    folds = []
    for fold in range(1, 6):
        folder = root / "Train_Test_Set" / kind
        plain = dict(rows_of(folder / "no_caption_new" / f"set_{fold}" / f"{part}.txt"))
        data = (folder / "with_caption_new" / f"set_{fold}" / f"{part}.txt").read_bytes()
        assert data.count(b"\r\n") == data.count(b"\n") == len(plain)
        rows = [line.split("\t") for line in data.decode("gbk").removesuffix("\r\n").split("\r\n")]
        assert {video: label for video, label, _, _ in rows} == plain
        assert all(re.search("[\u4e00-\u9fff]", chinese) and english.isascii() for _, _, chinese, english in rows)
        folds.append(plain)
    return folds


def test_mafw(drawn):
    root = drawn("mafw")
    targets = list(csv.DictReader((root / "targets.csv").open()))
    persons = {f"{row['clip'].rpartition('/')[2]}.mp4": row["subject"] for row in targets}
    for kind, clips, blends in (("single", 60, 0), ("compound", 75, 15)):
        train, test = read_mafw(root, kind, "train"), read_mafw(root, kind, "test")
        assert_folds(train, test, persons)
        labels = [label.split("_") for fold in test for label in fold.values()]
        assert {emotion for label in labels for emotion in label} == set(ELEVEN)
        assert Counter(map(len, labels)) == Counter({1: clips - blends, 2: blends})
        assert all(set(fold.values()) == set(ELEVEN) for fold in test) or kind == "compound"
    folders = [f"data/faces/{number:05d}" for number in range(1, 76)]
    lists = {name for name in files_of(root) if name.startswith("Train_Test_Set/")}
    assert len(lists) == 2 * 2 * 5 * 2
    assert_files(root, ["targets.csv", *lists], folders, 3)
    assert [row["clip"] for row in targets] == folders and len(set(persons.values())) == 12
    scores = np.array([[float(row["expressivity"]), float(row["withdrawal"])] for row in targets])
    assert 0 <= scores.min() and scores.max() <= 10 and (scores.std(0) > 0.8).all()


def test_afew(drawn):
    folders = sorted({name.rpartition("/")[0] for name in files_of(drawn("afew"))} - {""})
    assert_files(drawn("afew"), [], folders, 3)
    assert len(folders) == 30 and all(re.fullmatch(r"AFEW_Face/\w+/\w+/\d{9}", folder) for folder in folders)
    parts = [[folder for folder in folders if folder.split("/")[1] == part] for part in ("train", "validation")]
    assert all({folder.split("/")[2] for folder in part} == set(FOLDER_LABEL) for part in parts)
    assert_apart("afew", parts)


def assert_boxes(root: Path, keys: Iterable[str]) -> None:
    """Check one box for each key, inside a picture of 160 x 120, with the height of faces: about 35 pixels."""
    boxes = json.loads((root / "annotation/face.json").read_text())
    assert set(boxes) == set(keys)
    for x0, y0, x1, y1 in boxes.values():
        assert 0 <= x0 < x1 <= 160 and 0 <= y0 < y1 <= 120
        assert 28 <= y1 - y0 <= 55 and 22 <= x1 - x0 <= 60


def test_caer(drawn):
    root, folders = drawn("caer"), {}
    for part in ("train", "validation", "test"):
        rows = rows_of(root / f"annotation/{part}.txt")
        assert {label for _, _, label in rows} == set("0123456")
        for path, frames, label in rows:
            assert re.fullmatch(rf"{part}/{CAER[int(label)]}/\d{{4}}\.avi", path) and frames == "2"
        folders[part] = [f"CAER/{path.removesuffix('.avi')}" for path, _, _ in rows]
    paths = sum(folders.values(), [])
    assert_files(
        root, [f"annotation/{name}" for name in ("train.txt", "validation.txt", "test.txt", "face.json")], paths, 2
    )
    assert len(paths) == 60
    assert_boxes(root, paths)
    assert_apart("caer", folders.values())
    assert cv2.imread(str(root / paths[0] / "00001.jpg")).shape == (120, 160, 3)


def test_caer_s(drawn):
    root, paths = drawn("caer-s"), {}
    for part in PARTS:
        three, two = (rows_of(root / "annotation" / folder / f"{part}.txt") for folder in ("", "two_columns"))
        assert [(path, int(label) - 1) for path, _, label in three] == [(path, int(label)) for path, label in two]
        for path, frames, label in three:
            folder = "Angry" if (part, label) == ("train", "1") else CAER[int(label) - 1]
            assert re.fullmatch(rf"{part}/{folder}/\d{{4}}\.png", path) and frames == "1"
        paths[part] = [f"CAER-S/{path}" for path, _, _ in three]
    texts = [f"annotation/{folder}{part}.txt" for folder in ("", "two_columns/") for part in PARTS]
    pictures = paths["train"] + paths["test"]
    assert_files(root, [*texts, "annotation/face.json", *pictures], [], 0)
    assert len(set(pictures)) == 30 and all((root / path).read_bytes()[:4] == b"\x89PNG" for path in pictures)
    assert_boxes(root, pictures)
    assert_apart("caer-s", paths.values())


def test_daisee(drawn):
    root, paths = drawn("daisee"), {}
    header = "ClipID,Boredom,Engagement,Confusion,Frustration "  # as in DAiSEE, with a space at the end
    for part in PARTS:
        three, six = (rows_of(root / "annotation" / folder / f"{part}.txt") for folder in ("", "six_columns"))
        labels = (root / f"DAiSEE/Labels/{part.title()}Labels.csv").read_bytes().decode().split("\r\n")
        assert labels[0] == header and labels[-1] == "" and len(labels) == len(six) + 2
        for (path, frames, label), (*start, boredom, engagement, confusion, frustration), row in zip(
            three, six, labels[1:-1], strict=True
        ):
            assert start == [path, frames] and frames == "2"
            assert re.fullmatch(rf"DAiSEE/DataSet/{part.title()}/(\d{{6}})/\1\d{{4}}", path)
            assert row == f"{path.split('/')[-1]}.avi,{boredom},{engagement},{confusion},{frustration}"
            assert int(engagement) == int(label) - 1 and {boredom, confusion, frustration} <= set("0123")
        assert {label for _, _, label in three} == set("1234")
        paths[part] = [path for path, _, _ in three]
    texts = [f"annotation/{folder}{part}.txt" for folder in ("", "six_columns/") for part in PARTS]
    texts += [f"DAiSEE/Labels/{part.title()}Labels.csv" for part in PARTS]
    assert_files(root, texts, paths["train"] + paths["test"], 2)
    assert_apart("daisee", paths.values())
    assert {path.split("/")[3] for path in paths["train"]}.isdisjoint(path.split("/")[3] for path in paths["test"])


def test_engagenet(drawn):
    root, paths, texts = drawn("engagenet"), {}, []
    for part in ("train", "validation", "test"):
        texts.append(f"{part}_engagement_labels.csv")
        header, *lines = (root / texts[-1]).read_text().splitlines()
        rows = [line.split(",") for line in lines]
        assert header == "chunk,label" and {label for _, label in rows} == set(LAYOUTS["engagenet"].classes)
        paths[part] = [f"{part.title()}/{clip.removesuffix('.mp4')}" for clip, _ in rows]
    assert_files(root, texts, [path for part in paths.values() for path in part], 2)
    assert_apart("engagenet", paths.values())
    persons = [{path.partition("_vid_")[0].partition("subject_")[2] for path in part} for part in paths.values()]
    assert len(set.union(*persons)) == sum(map(len, persons)) == 6


def test_raf_db(drawn):
    root, text = drawn("raf-db"), "basic/EmoLabel/list_patition_label.txt"
    rows = rows_of(root / text)
    names = [name for name, _ in rows]
    assert {label for _, label in rows} == set("1234567") and len(set(names)) == len(names) == 40
    assert all(re.fullmatch(r"(train|test)_\d{5}\.jpg", name) for name in names)
    pictures = [f"basic/Image/aligned/{name.replace('.jpg', '_aligned.jpg')}" for name in names]
    assert_files(root, [text, *pictures], [], 0)
    assert_apart("raf-db", [[path for path in pictures if part in path] for part in ("train_", "test_")])


def test_affectnet(drawn):
    root, paths = drawn("affectnet"), {}
    texts = [f"Manually_Annotated_file_lists/{part}.csv" for part in ("training", "validation")]
    for text in texts:
        lines = (root / text).read_text().splitlines()
        assert (lines[0][:20] == "subDirectory_filePat") == ("training" in text)
        rows = [line.split(",") for line in lines if "subDirectory" not in line]
        assert {len(row) for row in rows} == {9} and {row[6] for row in rows} == {*"01234567", "10"}
        paths[text] = [f"Manually_Annotated_Images/{row[0]}" for row in rows if row[6] != "10"]
    assert_files(root, [*texts, *sum(paths.values(), [])], [], 0)
    assert_apart("affectnet", paths.values())


def test_fer2013_is_the_same_as_folders_as_pixels_and_as_votes(drawn):
    root = drawn("fer2013")
    header, *rows = [line.split(",") for line in (root / "fer2013.csv").read_text().splitlines()]
    columns, *votes = [line.split(",") for line in (root / "fer2013new.csv").read_text().splitlines()]
    assert header == ["emotion", "pixels", "Usage"] and len(rows) == len(votes) == 60
    assert ",".join(columns) == (
        "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
    )
    folders = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
    names = "angry disgust fear happy sad surprise neutral".split()
    left = {path: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in root.glob("*/*/*.png")}
    assert len(left) == 60
    for number, ((label, pixels, usage), vote) in enumerate(zip(rows, votes, strict=True)):
        picture = np.array(pixels.split(), int).reshape(48, 48)
        (same,) = [path for path, content in left.items() if np.array_equal(content, picture)]
        assert same.relative_to(root).parts[:2] == (folders[usage], names[int(label)])
        assert vote[:2] == [usage, f"fer{number:07d}.png"] and sum(map(int, vote[2:])) == 10
        most = columns[2:][int(np.argmax(list(map(int, vote[2:]))))]
        assert most == LAYOUTS["fer2013"].classes[int(label)]


@pytest.mark.parametrize("name", SMALL)
def test_about_names_the_layout(name, drawn):
    classes = dict.fromkeys(("dfew", "ferv39k", "afew"), SEVEN) | dict.fromkeys(("caer", "caer-s"), CAER)
    classes |= {"mafw": ELEVEN, "daisee": LEVELS, "raf-db": RAF_DB, "affectnet": AFFECTNET}
    classes["engagenet"] = ["Not-Engaged", "Barely-engaged", "Engaged", "Highly-Engaged"]
    classes["fer2013"] = "anger disgust fear happiness sadness surprise neutral".split()
    assert set(classes) == set(LAYOUTS) == set(SMALL)
    about = json.loads((drawn(name) / "about.json").read_text())
    assert about["classes"] == classes[name] and about["settings"]["layout"] == name
    assert "simulated" in about["note"] and about["paths"]


def test_two_layouts_share_no_frame(drawn):
    names = ("dfew", "ferv39k", "mafw", "afew")
    frames = [data for name in names for file, data in files_of(drawn(name)).items() if file.endswith(".jpg")]
    assert len(set(frames)) == len(frames) == 3 * (40 + 30 + 30 + 75)
