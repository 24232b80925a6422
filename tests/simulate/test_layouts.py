"""Drawn sets in the layouts of published ones: their files, lists, folds and bytes, and RAER's layout as it was."""

import csv
import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from simulate import LayoutSettings, Settings, write_set
from simulate.__main__ import main
from simulate.layouts import LAYOUTS, plan_layout

SEVEN = ["happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear"]
ELEVEN = "anger disgust fear happiness neutral sadness surprise contempt anxiety helplessness disappointment".split()
CAER = ["Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise"]
AFFECT_FOLDER = dict(zip("Happy Sad Neutral Angry Surprise Disgust Fear".split(), range(7), strict=True))
SMALL = {
    "dfew": LayoutSettings(layout="dfew", clips=40, persons=12, frames=2),
    "ferv39k": LayoutSettings(layout="ferv39k", clips=30, persons=6, frames=2),
    "mafw": LayoutSettings(layout="mafw", clips=75, persons=12, frames=3),
    "afew": LayoutSettings(layout="afew", clips=30, persons=6, frames=2),
    "caer": LayoutSettings(layout="caer", clips=60, persons=6, frames=2, width=160, height=120),
    "caer-s": LayoutSettings(layout="caer-s", clips=30, persons=6, width=160, height=120),
    "daisee": LayoutSettings(layout="daisee", clips=30, persons=6, frames=2, width=160, height=120),
}
RAER_TEXTS = (
    "20fb0506844ee1469482d07703c8a256429bc59e825b940072444b7c0b0af99f"  # of all but the frames of the set below
)
RAER_COLOURS = [  # mean blue, green and red of the second frames of its first clips
    [134.2, 144.3, 158.3],
    [140.5, 167.8, 172.2],
    [151.2, 164.0, 187.5],
    [128.6, 141.1, 139.1],
]


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("layouts")
    for name, settings in SMALL.items():
        assert write_set(folder / name, settings, workers=1)
    return {name: folder / name for name in SMALL}


def read_rows(path: Path) -> list[list[str]]:
    return [line.split(" ") for line in path.read_text().splitlines()]


def files_of(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def read_bytes(root: Path) -> dict[str, bytes]:
    return {name: (root / name).read_bytes() for name in sorted(files_of(root))}


def frames_of(folders: list[str], count: int) -> set[str]:
    return {f"{folder}/{number:05d}.jpg" for folder in folders for number in range(1, count + 1)}


def persons_of(name: str) -> dict[str, int]:
    """Who is in which clip, which most published sets do not tell."""
    return {slot.folder: slot.person for slot in plan_layout(SMALL[name])}


def assert_folds(train: list[set[str]], test: list[set[str]], persons: dict[str, int]) -> None:
    """Every clip is tested once and trained on in all other folds; nobody is on both sides of a fold."""
    assert Counter(clip for fold in test for clip in fold) == Counter(set.union(*test))
    for learned, tested in zip(train, test, strict=True):
        assert learned | tested == set.union(*test) and not learned & tested
        assert {persons[clip] for clip in learned}.isdisjoint(persons[clip] for clip in tested)


def test_raer_is_what_it_was_before_there_were_other_layouts(tmp_path):
    flags = "--persons 4 --clips 12 --width 160 --height 120 --frames 3 --seed 7 --workers 1".split()
    assert main(["--out", str(tmp_path / "set"), "--layout", "raer", *flags]) == 0
    texts = {name: data for name, data in read_bytes(tmp_path / "set").items() if not name.endswith(".jpg")}
    assert json.loads(texts.pop("annotation/objects.json"))  # came later; all else as it was
    joined = b"".join(name.encode() + b"\0" + data for name, data in texts.items())
    assert hashlib.sha256(joined).hexdigest() == RAER_TEXTS
    seconds = sorted((tmp_path / "set").rglob("00002.jpg"))[:4]
    colours = [cv2.imread(str(path)).reshape(-1, 3).mean(0) for path in seconds]
    assert np.allclose(colours, RAER_COLOURS, atol=0.3)
    assert "layout" not in json.loads(texts["about.json"])["settings"]
    assert not write_set(tmp_path / "set", Settings(persons=4, clips=12, width=160, height=120, frames=3, seed=7))


def test_dfew(roots):
    names = [f"annotation/DFEW_set_{fold}_{part}.txt" for fold in range(1, 6) for part in ("train", "test")]
    rows = {name: read_rows(roots["dfew"] / name) for name in names}
    folders = [f"DFEW_Frame_Face/{number:05d}" for number in range(1, 41)]
    assert files_of(roots["dfew"]) == {"about.json", *names, *frames_of(folders, 2)}
    parts = {
        part: [{row[0] for row in rows[n]} for n in names if n.endswith(f"{part}.txt")] for part in ("train", "test")
    }
    assert_folds(parts["train"], parts["test"], persons_of("dfew"))
    assert set.union(*parts["test"]) == set(folders)
    labels = {path: label for name in names for path, frames, label in rows[name] if frames == "2"}
    assert len(labels) == 40 and set(labels.values()) == set("0123456")
    assert all({row[2] for row in rows[name]} == set("0123456") for name in names)
    assert cv2.imread(str(roots["dfew"] / "DFEW_Frame_Face/00001/00001.jpg")).shape == (128, 128, 3)


def test_ferv39k(roots):
    root, persons = roots["ferv39k"], persons_of("ferv39k")
    lists = {part: read_rows(root / "annotation" / f"{part}_image.txt") for part in ("train", "test")}
    for part, rows in lists.items():
        captions = json.loads((root / "annotation" / f"{part}_descriptions.json").read_text())
        keys = []
        for path, frames, label in rows:
            top, scene, emotion, number = path.split("/")
            assert top == "2_ClipsforFaceCrop" and re.fullmatch(r"\d{4}", number) and frames == "2"
            assert AFFECT_FOLDER[emotion] == int(label)
            keys.append(f"{scene}_{emotion}_{number}")
        assert list(captions) == keys
    paths = [row[0] for rows in lists.values() for row in rows]
    texts = {f"annotation/{part}_{kind}" for part in lists for kind in ("image.txt", "descriptions.json")}
    assert len(set(paths)) == 30 and files_of(root) == {"about.json", *texts, *frames_of(paths, 2)}
    train, test = ({persons[row[0]] for row in lists[part]} for part in ("train", "test"))
    assert train.isdisjoint(test)


def read_mafw(root: Path, kind: str, part: str) -> list[dict[str, str]]:
    """{video: label} of each fold, the two files of a list compared on the way."""
    folds = []
    for fold in range(1, 6):
        folder = root / "Train_Test_Set" / kind
        plain = dict(read_rows(folder / "no_caption_new" / f"set_{fold}" / f"{part}.txt"))
        data = (folder / "with_caption_new" / f"set_{fold}" / f"{part}.txt").read_bytes()
        assert data.count(b"\r\n") == data.count(b"\n") == len(plain)
        rows = [line.split("\t") for line in data.decode("gbk").removesuffix("\r\n").split("\r\n")]
        assert {video: label for video, label, _, _ in rows} == plain
        assert all(re.search("[\u4e00-\u9fff]", chinese) and english.isascii() for _, _, chinese, english in rows)
        folds.append(plain)
    return folds


def test_mafw(roots):
    root = roots["mafw"]
    targets = list(csv.DictReader((root / "targets.csv").open()))
    persons = {f"{row['clip'].rpartition('/')[2]}.mp4": row["subject"] for row in targets}
    for kind in ("single", "compound"):
        train, test = read_mafw(root, kind, "train"), read_mafw(root, kind, "test")
        assert_folds([set(fold) for fold in train], [set(fold) for fold in test], persons)
        labels = {video: label.split("_") for fold in test for video, label in fold.items()}
        assert {emotion for label in labels.values() for emotion in label} == set(ELEVEN)
        assert len(labels) == {"single": 60, "compound": 75}[kind]
        assert Counter(map(len, labels.values())) == {"single": {1: 60}, "compound": {1: 60, 2: 15}}[kind]
        assert all(set(fold.values()) == set(ELEVEN) for fold in test) or kind == "compound"
    folders = [f"data/faces/{number:05d}" for number in range(1, 76)]
    lists = {name for name in files_of(root) if name.startswith("Train_Test_Set/")}
    assert len(lists) == 2 * 2 * 5 * 2
    assert files_of(root) == {"about.json", "targets.csv", *lists, *frames_of(folders, 3)}
    assert [row["clip"] for row in targets] == folders and len(set(persons.values())) == 12
    scores = np.array([[float(row["expressivity"]), float(row["withdrawal"])] for row in targets])
    assert 0 <= scores.min() and scores.max() <= 10 and (scores.std(0) > 0.8).all()


def test_afew(roots):
    folders = {str(Path(name).parent) for name in files_of(roots["afew"]) - {"about.json"}}
    assert files_of(roots["afew"]) == {"about.json", *frames_of(list(folders), 2)} and len(folders) == 30
    persons = persons_of("afew")
    cast = {part: {persons[f] for f in folders if f.split("/")[1] == part} for part in ("train", "validation")}
    assert cast["train"] and cast["validation"] and cast["train"].isdisjoint(cast["validation"])
    for part in cast:
        assert {f.split("/")[2] for f in folders if f.split("/")[1] == part} == set(AFFECT_FOLDER)
    assert all(re.fullmatch(r"AFEW_Face/\w+/\w+/\d{9}", folder) for folder in folders)


def assert_boxes(boxes: dict[str, list[int]], keys: set[str]) -> None:
    """A box for each key, within a picture of 160 x 120, as high as faces there are: about 35 pixels."""
    assert set(boxes) == keys
    for left, top, right, bottom in boxes.values():
        assert 0 <= left < right <= 160 and 0 <= top < bottom <= 120
        assert 28 <= bottom - top <= 55 and 22 <= right - left <= 60


def test_caer(roots):
    root, persons = roots["caer"], persons_of("caer")
    lists = {part: read_rows(root / "annotation" / f"{part}.txt") for part in ("train", "validation", "test")}
    for part, rows in lists.items():
        assert {label for _, _, label in rows} == set("0123456")
        for path, frames, label in rows:
            assert re.fullmatch(rf"{part}/{CAER[int(label)]}/\d{{4}}\.avi", path) and frames == "2"
    folders = [f"CAER/{row[0].removesuffix('.avi')}" for rows in lists.values() for row in rows]
    texts = {f"annotation/{name}" for name in ("train.txt", "validation.txt", "test.txt", "face.json")}
    assert files_of(root) == {"about.json", *texts, *frames_of(folders, 2)} and len(folders) == 60
    assert_boxes(json.loads((root / "annotation/face.json").read_text()), set(folders))
    cast = [{persons[f] for f in folders if f.split("/")[1] == part} for part in lists]
    assert sum(map(len, cast)) == len(set.union(*cast)) == 6
    assert cv2.imread(str(root / folders[0] / "00001.jpg")).shape == (120, 160, 3)


def test_caer_s(roots):
    root, paths = roots["caer-s"], []
    for part in ("train", "test"):
        three, two = (read_rows(root / "annotation" / sub / f"{part}.txt") for sub in ("", "two_columns"))
        assert [(path, int(label) - 1) for path, _, label in three] == [(path, int(label)) for path, label in two]
        for path, frames, label in three:
            folder = "Angry" if (part, label) == ("train", "1") else CAER[int(label) - 1]
            assert re.fullmatch(rf"{part}/{folder}/\d{{4}}\.png", path) and frames == "1"
        paths += [f"CAER-S/{row[0]}" for row in three]
    texts = {f"annotation/{name}" for name in ("train.txt", "test.txt", "face.json")}
    texts |= {"annotation/two_columns/train.txt", "annotation/two_columns/test.txt"}
    assert files_of(root) == {"about.json", *texts, *paths} and len(paths) == 30
    assert_boxes(json.loads((root / "annotation/face.json").read_text()), set(paths))
    assert (root / paths[0]).read_bytes().startswith(b"\x89PNG")


def test_daisee(roots):
    root, paths, cast = roots["daisee"], [], {}
    for part in ("train", "test"):
        three, six = (read_rows(root / "annotation" / sub / f"{part}.txt") for sub in ("", "six_columns"))
        assert [row[:2] for row in three] == [row[:2] for row in six]
        for (path, frames, label), (*_, boredom, engagement, confusion, frustration) in zip(three, six, strict=True):
            assert re.fullmatch(rf"DAiSEE/{part}/\d{{6}}/\d{{4}}", path) and frames == "2"
            assert int(engagement) == int(label) - 1 and {boredom, confusion, frustration} <= set("0123")
        assert {label for _, _, label in three} == set("1234")
        paths += [row[0] for row in three]
        cast[part] = {row[0].split("/")[2] for row in three}
    texts = {f"annotation/{sub}{part}.txt" for sub in ("", "six_columns/") for part in cast}
    assert files_of(root) == {"about.json", *texts, *frames_of(paths, 2)} and len(set(paths)) == 30
    assert cast["train"].isdisjoint(cast["test"])


def test_about_tells_the_layout(roots):
    classes = dict.fromkeys(("dfew", "ferv39k", "afew"), SEVEN) | dict.fromkeys(("caer", "caer-s"), CAER)
    classes |= {"mafw": ELEVEN, "daisee": ["Very Low", "Low", "High", "Very High"]}
    assert set(classes) == set(LAYOUTS) == set(roots)
    for name, root in roots.items():
        about = json.loads((root / "about.json").read_text())
        assert about["classes"] == classes[name] and about["settings"]["layout"] == name
        assert "simulated" in about["note"] and about["paths"]


@pytest.mark.parametrize("name, workers", [("mafw", 1), ("daisee", 2), ("caer-s", 1)])
def test_same_settings_same_bytes(name, workers, roots, tmp_path):
    write_set(tmp_path / "again", SMALL[name], workers=workers)
    assert read_bytes(tmp_path / "again") == read_bytes(roots[name])


def test_two_layouts_share_no_frame(roots):
    names = ("dfew", "ferv39k", "mafw", "afew")
    frames = [data for name in names for file, data in read_bytes(roots[name]).items() if file.endswith(".jpg")]
    assert len(set(frames)) == len(frames) == 2 * (40 + 30 + 30) + 3 * 75


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--layout", "DFEW"], "--layout: invalid choice"),
        (["--layout", "dfew", "--split", "persons-apart"], "--split means nothing with --layout dfew"),
        (["--layout", "mafw", "--test-fraction", "0.2"], "--test-fraction means nothing with --layout mafw"),
        (["--layout", "afew", "--width", "320"], "--width means nothing with --layout afew"),
        (["--layout", "caer-s", "--frames", "8"], "--frames means nothing with --layout caer-s"),
        (["--layout", "dfew", "--clips", "34"], "--clips 34: expected enough for one of each of 7 classes"),
        (["--layout", "mafw", "--persons", "4"], "--persons 4: expected 5 to 999"),
        (["--layout", "caer", "--test-fraction", "1"], "--test-fraction 1.0"),
    ],
)
def test_mistakes_are_one_line(arguments, expected, tmp_path, capsys):
    try:
        code = main(["--out", str(tmp_path / "set"), *arguments])
    except SystemExit as end:
        code = end.code
    error = capsys.readouterr().err
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1 and expected in error
    assert not list(tmp_path.iterdir())


def test_a_folder_with_another_layout_is_left_alone(roots, capsys):
    flags = ["--clips", "40", "--persons", "12", "--frames", "2"]
    assert main(["--out", str(roots["dfew"]), "--layout", "dfew", *flags]) == 0
    assert "already holds" in capsys.readouterr().out
    assert main(["--out", str(roots["dfew"]), *flags]) == 2
    assert "layout dfew instead of raer" in capsys.readouterr().err
