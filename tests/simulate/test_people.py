"""The drawn set: its bytes, its layout, its boxes and votes, its sentences, and how it behaves when things go wrong."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from simulate import Settings, describe_face, describe_scene, draw_still, write_set
from simulate.__main__ import main
from simulate.boxes import detect_body, detect_faces, face_of
from simulate.clip import behave, scene_of
from simulate.figure import phone_centre, pose_figure
from simulate.plan import TRAIN_PRIORS, plan_set
from simulate.stills import draw_moment

ROOT = Path(__file__).parents[2]
SMALL = Settings(persons=6, clips=20, width=160, height=120, frames=3)
MANY = Settings(persons=30, clips=400, imbalance="uniform", width=160, height=120, frames=4, seed=3)
EMOTION_WORDS = re.compile(
    r"neutral|enjoy|confus|fatigue|tired|distract|bored|happy|happi|sad|sleepy|puzzl|amus|joy|weary|calm|emotion|angry",
    re.I,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("small") / "set"
    assert write_set(out, SMALL, workers=1)
    return out


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("many") / "set"
    write_set(out, MANY, workers=2)
    return out


def read_list(out: Path, name: str) -> list[tuple[str, int, int]]:
    lines = (out / "annotation" / f"{name}.txt").read_text().splitlines()
    return [(folder, int(frames), int(label)) for folder, frames, label in (line.split(" ") for line in lines)]


def read_json(out: Path, name: str) -> dict:
    return json.loads((out / "annotation" / name).read_text())


def read_bytes(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def test_same_bytes_for_any_number_of_workers(small, tmp_path):
    write_set(tmp_path / "again", SMALL, workers=3)
    assert read_bytes(tmp_path / "again") == read_bytes(small)


def test_another_seed_gives_other_frames(small, tmp_path):
    write_set(tmp_path / "other", replace(SMALL, clips=10, seed=1), workers=1)
    assert not set(read_bytes(tmp_path / "other").values()) & set(read_bytes(small).values())


def test_layout_and_labels(small):
    clips = read_list(small, "train") + read_list(small, "test")
    assert len(clips) == len(set(clips)) == SMALL.clips
    for folder, frames, label in clips:
        assert re.fullmatch(r"RAER/images/SelfStudy/(Laboratory|Library|Dormitory|Classroom)/P\d{3}/\d{3}", folder)
        assert sorted(path.name for path in (small / folder).iterdir()) == [
            f"{n:05d}.jpg" for n in range(1, frames + 1)
        ]
        assert 1 <= label <= 5
    assert cv2.imread(str(small / clips[0][0] / "00001.jpg")).shape == (120, 160, 3)
    about = json.loads((small / "about.json").read_text())
    assert about["settings"] == SMALL.as_dict() and "no claim about RAER" in about["note"]


def test_class_counts():
    slots = plan_set(Settings(imbalance="raer"))
    train = Counter(slot.label for slot in slots if slot.list_name == "train")
    test = Counter(slot.label for slot in slots if slot.list_name == "test")
    assert set(test.values()) == {42} and sum(train.values()) == 490
    assert [train[label] / 490 for label in range(5)] == pytest.approx(TRAIN_PRIORS["raer"], abs=0.003)
    even = Counter(slot.label for slot in plan_set(Settings()) if slot.list_name == "train")
    assert [even[label] for label in range(5)] == [98] * 5
    fewest = Counter(slot.label for slot in plan_set(Settings(clips=10, persons=2)) if slot.list_name == "train")
    assert [fewest[label] for label in range(5)] == [1] * 5


def test_frame_numbers_are_mostly_thirty():
    frames = [len(behave(Settings(), slot)[0]) for slot in plan_set(Settings())[:40]]
    assert 30 <= min(frames) and max(frames) <= 36 and Counter(frames).most_common(1)[0][0] == 30


@pytest.mark.parametrize("clips", [10, 60, 300])
def test_persons_of_the_two_lists(clips):
    apart = plan_set(Settings(clips=clips, persons=20))
    mixed = plan_set(Settings(clips=clips, persons=20, split="published-like"))
    for slots, is_apart in ((apart, True), (mixed, False)):
        persons = {name: {slot.folder[:-4] for slot in slots if slot.list_name == name} for name in ("train", "test")}
        assert persons["test"].isdisjoint(persons["train"]) if is_apart else persons["test"] <= persons["train"]
        assert len({slot.folder for slot in slots}) == clips


def test_label_is_the_majority_of_ten_votes(many):
    lists = {folder: label for name in ("train", "test") for folder, _, label in read_list(many, name)}
    rows = list(csv.reader((many / "annotation" / "votes.csv").open()))
    assert rows[0] == ["clip", "label", "Neutrality", "Enjoyment", "Confusion", "Fatigue", "Distraction"]
    for folder, label, *votes in rows[1:]:
        votes = [int(vote) for vote in votes]
        assert sum(votes) == 10 and votes.count(max(votes)) == 1
        assert lists[folder] == int(label) == votes.index(max(votes)) + 1
    assert len(rows) == len(lists) + 1 and any(max(map(int, row[2:])) < 7 for row in rows[1:])


def test_boxes_lie_in_the_picture_around_the_head(many):
    slots, bodies = {slot.folder: slot for slot in plan_set(MANY)}, read_json(many, "body.json")
    for folder, boxes in list(read_json(many, "face.json").items())[:40]:
        scene, moments = scene_of(MANY, slots[folder]), behave(MANY, slots[folder])[0]
        for name, (left, top, right, bottom) in boxes.items():
            assert 0 <= left < right <= 160 and 0 <= top < bottom <= 120
            _, head, body = scene.draw(moments[int(name[:5]) - 1], np.random.default_rng(0))
            assert np.allclose((left, top, right, bottom), face_of(head), atol=5)
            assert 28 <= head[3] - head[1] <= 45  # 56 to 90 of 240
        if folder in bodies:
            left, top, right, bottom = bodies[folder]
            assert 0 <= left < right <= 160 and 0 <= top < bottom <= 120
            assert np.allclose((left, top), np.maximum(body[:2], 0), atol=16) and bottom > head[3] + 15


def test_a_held_phone_is_where_its_box_says(many):
    """Around the point that the hands hold it at; painted in another colour, nothing outside the box changes."""
    objects, found = read_json(many, "objects.json"), 0
    for slot in plan_set(MANY)[:60]:
        scene, moments = scene_of(MANY, slot), behave(MANY, slot)[0]
        boxes = objects[slot.folder]
        assert list(boxes) == [f"{n:05d}.jpg" for n in range(1, len(moments) + 1)]
        for moment, things in zip(moments, boxes.values(), strict=True):
            assert ("held phone" in things) == (moment.phone == "held")
            assert ("laptop" in things) == (moment.work == "laptop")
            if moment.phone != "held":
                continue
            found += 1
            left, top, right, bottom = things["held phone"]
            pictures = []
            for colour in ((0, 0, 0), (255, 255, 255)):
                scene.desk = replace(scene.desk, phone_colour=colour)
                pictures.append(scene.draw(moment, np.random.default_rng(0))[0].astype(int))
            rows, columns = np.nonzero(np.abs(pictures[0] - pictures[1]).max(axis=2) > 40)
            seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert np.allclose((left, top), seen[:2], atol=4) and right + 4 > seen[2] and bottom + 4 > seen[3]
    assert found > 10


def test_about_two_in_a_hundred_boxes_are_missing():
    rng, box = np.random.default_rng(0), (100.0, 40.0, 160.0, 120.0)
    faces = [len(detect_faces([box] * 30, 320, 240, rng)) for _ in range(4000)]
    assert 1 - sum(faces) / (4000 * 30) == pytest.approx(0.02, abs=0.006)
    assert 0 in faces and set(range(28, 31)) <= set(faces)
    assert np.mean([detect_body([box], 320, 240, rng) is None for _ in range(4000)]) == pytest.approx(0.02, abs=0.008)


def test_a_held_phone_is_outside_the_enlarged_face_box():
    settings, found = Settings(persons=20, clips=100, imbalance="uniform"), 0
    for slot in plan_set(settings):
        scene, moments = scene_of(settings, slot), behave(settings, slot)[0]
        for moment in moments[::6]:
            if moment.phone == "held":
                found += 1
                head = pose_figure(scene.identity, scene.outfit, moment).head
                corners = phone_centre(head, 0) + np.array([(-14, -23), (14, -23)])
                top = (corners @ scene.matrix[:, :2].T + scene.matrix[:, 2])[:, 1].min()
                assert top > scene.draw(moment, np.random.default_rng(0))[1][3] + 20
    assert found > 50


def test_colours_do_not_carry_the_label(many):
    """A linear probe on plain colour histograms must stay near the chance of 20 %."""

    def histogram(folder: str) -> np.ndarray:
        frames = [cv2.imread(str(path)) for path in sorted((many / folder).iterdir())]
        return np.mean([cv2.calcHist([f], [0, 1, 2], None, [8] * 3, [0, 256] * 3).ravel() / f.size for f in frames], 0)

    features = {n: np.stack([histogram(folder) for folder, _, _ in read_list(many, n)]) for n in ("train", "test")}
    labels = {name: [label for _, _, label in read_list(many, name)] for name in ("train", "test")}
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500))
    probe.fit(features["train"], labels["train"])
    assert balanced_accuracy_score(labels["test"], probe.predict(features["test"])) < 0.35


def test_still_is_a_picture_with_boxes_and_attributes():
    still = draw_still(np.random.default_rng(5))
    assert still.image.shape == (240, 320, 3) and still.image.dtype == np.uint8
    assert still.body_box[3] > still.face_box[3] > still.face_box[1] >= 0
    assert {"mouth", "brows", "eyes", "gaze", "posture", "hands", "object", "place"} <= set(still.attributes)
    assert np.array_equal(still.image, draw_still(np.random.default_rng(5)).image)


def test_captions_vary_stay_short_and_name_no_emotion():
    rng = np.random.default_rng(0)
    stills = [draw_still(rng, 64, 48).attributes for _ in range(60)]
    for describe in (describe_face, describe_scene):
        sentences = [describe(attributes, rng) for attributes in stills for _ in range(10)]
        assert len(set(sentences)) > 500
        for sentence in sentences:
            assert not EMOTION_WORDS.search(sentence), sentence
            assert 4 <= len(sentence.split()) <= 40 and sentence.endswith(".") and sentence[0].isupper()
    assert "phone" in " ".join(
        describe_scene(stills[0] | {"object": "phone", "target": "phone"}, rng) for _ in range(9)
    )
    assert len({draw_moment(rng).hand("left") for _ in range(300)}) >= 9


def test_attributes_follow_what_is_drawn():
    stills = [draw_still(np.random.default_rng(seed), 64, 48).attributes for seed in range(150)]
    for name, fewest in {"mouth": 6, "brows": 4, "eyes": 4, "gaze": 4, "head": 5, "posture": 4, "hands": 9}.items():
        assert len({attributes[name] for attributes in stills}) >= fewest, name
    for attributes in stills:
        assert attributes["target"] != "phone" or attributes["object"] == "phone"


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--clips", "0"], "--clips 0: expected"),
        (["--persons", "1"], "--persons 1: expected 2 to 999 with --split persons-apart"),
        (["--test-fraction", "1.5"], "--test-fraction 1.5"),
        (["--workers", "0"], "--workers 0"),
        (["--split", "none"], "--split: invalid choice"),
        (["--width", "wide"], "--width: invalid int value"),
        (["--clip", "10"], "unrecognized arguments: --clip 10"),
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


def test_existing_folders(small, tmp_path, capsys):
    flags = ["--persons", "6", "--clips", "20", "--width", "160", "--height", "120", "--frames", "3"]
    before = read_bytes(small)
    assert main(["--out", str(small), *flags]) == 0
    assert "already holds" in capsys.readouterr().out
    assert main(["--out", str(small), *flags, "--seed", "7"]) == 2
    assert "seed 42 instead of 7" in capsys.readouterr().err
    assert read_bytes(small) == before
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt", tmp_path / "notes.txt" / "below"):
        assert main(["--out", str(out), *flags]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("held_down", [False, True])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(number, held_down, tmp_path):
    command = [sys.executable, "-m", "simulate", "--out", str(tmp_path / "sim"), "--workers", "2"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        deadline = time.monotonic() + 30
        while not list(tmp_path.rglob("*.jpg")) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
        while held_down and run.poll() is None:
            time.sleep(0.005)
            run.send_signal(signal.SIGINT)
        error = run.communicate(timeout=30)[1]
    assert run.returncode == 130 and error.count("\n") == 1 and error.startswith("interrupted")
    assert not list(tmp_path.iterdir())
