"""The simulated set in RAER's layout: bytes, lists, boxes and votes; only behaviour reveals the label."""

import csv
import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from simulate import Settings, write_set
from simulate.__main__ import main
from simulate.figure import Figure, phone_centre
from simulate.raer import TRAIN_PRIORS, behave, detect_body, detect_faces, scene_of
from simulate.scene import face_of
from tests.support.drawn import files_of, rows_of

SMALL = Settings(persons=6, clips=20, width=160, height=120, frames=3)
LARGE = Settings(persons=30, clips=400, imbalance="uniform", width=160, height=120, frames=4, seed=3)
TEXTS = "20fb0506844ee1469482d07703c8a256429bc59e825b940072444b7c0b0af99f"  # of the files of this set without frames
COLOURS = [  # mean blue, green and red of the second frames of its first clips
    [134.2, 144.3, 158.3], [140.5, 167.8, 172.2], [151.2, 164.0, 187.5], [128.6, 141.1, 139.1],
]  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("small") / "set"
    assert write_set(out, SMALL, workers=1)
    return out


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("large") / "set"
    write_set(out, LARGE, workers=1)
    return out


def read_lists(root: Path) -> dict[str, list[tuple[str, int, int]]]:
    """(folder, frames, label) of the clips of both lists."""
    return {
        name: [(folder, int(n), int(label)) for folder, n, label in rows_of(root / f"annotation/{name}.txt")]
        for name in ("train", "test")
    }


def read_json(root: Path, name: str) -> dict:
    return json.loads((root / "annotation" / name).read_text())


def test_the_raer_set_has_the_same_bytes_as_before_other_layouts_existed(tmp_path):
    flags = "--persons 4 --clips 12 --width 160 --height 120 --frames 3 --seed 7 --workers 1".split()
    assert main(["--out", str(tmp_path / "set"), "--layout", "raer", *flags]) == 0
    texts = {name: data for name, data in files_of(tmp_path / "set").items() if not name.endswith(".jpg")}
    assert json.loads(texts.pop("annotation/objects.json"))  # added later; everything else is unchanged
    content = b"".join(name.encode() + b"\0" + data for name, data in texts.items())
    assert hashlib.sha256(content).hexdigest() == TEXTS
    frames = sorted((tmp_path / "set").rglob("00002.jpg"))[:4]
    colours = [cv2.imread(str(path)).reshape(-1, 3).mean(0) for path in frames]
    assert np.allclose(colours, COLOURS, atol=0.3)
    assert "layout" not in json.loads(texts["about.json"])["settings"]
    assert not write_set(tmp_path / "set", Settings(persons=4, clips=12, width=160, height=120, frames=3, seed=7))


def test_a_different_seed_gives_different_frames(small, tmp_path):
    write_set(tmp_path / "other", replace(SMALL, clips=10, seed=1), workers=1)
    assert not set(files_of(tmp_path / "other").values()) & set(files_of(small).values())


def test_files_and_labels(small):
    clips = sum(read_lists(small).values(), [])
    assert len(clips) == len(set(clips)) == SMALL.clips
    for folder, frames, label in clips:
        assert re.fullmatch(r"RAER/images/SelfStudy/(Laboratory|Library|Dormitory|Classroom)/P\d{3}/\d{3}", folder)
        assert list(files_of(small / folder)) == [f"{n:05d}.jpg" for n in range(1, frames + 1)]
        assert 1 <= label <= 5
    assert cv2.imread(str(small / clips[0][0] / "00001.jpg")).shape == (120, 160, 3)
    about = json.loads((small / "about.json").read_text())
    assert about["settings"] == asdict(SMALL) and "no claim about RAER" in about["note"]


def test_clips_of_one_frame(tmp_path):
    write_set(tmp_path / "set", replace(SMALL, clips=10, frames=1), workers=1)
    assert {frames for clips in read_lists(tmp_path / "set").values() for _, frames, _ in clips} == {1}


def count_labels(settings: Settings, list_name: str) -> list[int]:
    labels = Counter(slot.label for slot in settings.plan() if slot.list_name == list_name)
    return [labels[label] for label in range(5)]


def test_class_counts():
    train = count_labels(Settings(imbalance="raer"), "train")
    assert count_labels(Settings(imbalance="raer"), "test") == [42] * 5 and sum(train) == 490
    assert [count / 490 for count in train] == pytest.approx(TRAIN_PRIORS["raer"], abs=0.003)
    assert count_labels(Settings(), "train") == [98] * 5
    assert count_labels(Settings(clips=10, persons=2), "train") == [1] * 5


def test_a_large_set_tests_enough_persons_and_clips():
    settings = Settings(persons=160, clips=2400, imbalance="raer", test_fraction=0.4)
    test = [slot for slot in settings.plan() if slot.list_name == "test"]
    assert len({slot.person for slot in test}) >= 60
    assert min(count_labels(settings, "test")) >= 60 and len(test) == 960


def test_frame_numbers_are_mostly_thirty():
    frames = [len(behave(Settings(), slot)[0]) for slot in Settings().plan()[:40]]
    assert 30 <= min(frames) and max(frames) <= 36 and Counter(frames).most_common(1)[0][0] == 30


@pytest.mark.parametrize("clips", [10, 60, 300])
@pytest.mark.parametrize("split", ["persons-apart", "published-like"])
def test_persons_of_the_two_lists(clips, split):
    slots = Settings(clips=clips, persons=20, split=split).plan()
    train, test = ({slot.folder[:-4] for slot in slots if slot.list_name == name} for name in ("train", "test"))
    assert test.isdisjoint(train) if split == "persons-apart" else test <= train
    assert len({slot.folder for slot in slots}) == clips


def test_label_is_the_majority_of_ten_votes(large):
    labels = {folder: label for clips in read_lists(large).values() for folder, _, label in clips}
    rows = list(csv.reader((large / "annotation" / "votes.csv").open()))
    assert rows[0] == ["clip", "label", "Neutrality", "Enjoyment", "Confusion", "Fatigue", "Distraction"]
    for folder, label, *votes in rows[1:]:
        votes = [int(vote) for vote in votes]
        assert sum(votes) == 10 and votes.count(max(votes)) == 1
        assert labels[folder] == int(label) == votes.index(max(votes)) + 1
    assert len(rows) == len(labels) + 1 and any(max(map(int, row[2:])) < 7 for row in rows[1:])


def test_boxes_are_inside_the_picture_and_around_the_head(large):
    slots, bodies = {slot.folder: slot for slot in LARGE.plan()}, read_json(large, "body.json")
    for folder, boxes in list(read_json(large, "face.json").items())[:40]:
        scene, moments = scene_of(LARGE, slots[folder]), behave(LARGE, slots[folder])[0]
        for name, (x0, y0, x1, y1) in boxes.items():
            assert 0 <= x0 < x1 <= 160 and 0 <= y0 < y1 <= 120
            _, head, body = scene.draw(moments[int(name[:5]) - 1], np.random.default_rng(0))
            assert np.allclose((x0, y0, x1, y1), face_of(head), atol=5)
            assert 28 <= head[3] - head[1] <= 45  # 56 to 90 of 240
        if folder in bodies:
            x0, y0, x1, y1 = bodies[folder]
            assert 0 <= x0 < x1 <= 160 and 0 <= y0 < y1 <= 120
            assert np.allclose((x0, y0), np.maximum(body[:2], 0), atol=16) and y1 > head[3] + 15


def test_a_held_phone_is_inside_its_box(large):
    """The box is around the hands; with another colour of the phone, nothing outside the box changes."""
    objects, phones = read_json(large, "objects.json"), 0
    for slot in LARGE.plan()[:60]:
        scene, moments = scene_of(LARGE, slot), behave(LARGE, slot)[0]
        assert list(objects[slot.folder]) == [f"{n:05d}.jpg" for n in range(1, len(moments) + 1)]
        for moment, boxes in zip(moments, objects[slot.folder].values(), strict=True):
            assert ("held phone" in boxes) == (moment.phone == "held")
            assert ("laptop" in boxes) == (moment.work == "laptop")
            if moment.phone != "held":
                continue
            phones += 1
            pictures = []
            for colour in ((0, 0, 0), (255, 255, 255)):
                scene.desk.phone_colour = colour
                pictures.append(scene.draw(moment, np.random.default_rng(0))[0].astype(int))
            rows, columns = np.nonzero(np.abs(pictures[0] - pictures[1]).max(axis=2) > 40)
            x0, y0, x1, y1 = boxes["held phone"]
            assert np.allclose((x0, y0), (columns.min(), rows.min()), atol=4)
            assert x1 + 4 > columns.max() + 1 and y1 + 4 > rows.max() + 1
    assert phones > 10


def test_about_two_in_a_hundred_boxes_are_missing():
    rng, box = np.random.default_rng(0), (100.0, 40.0, 160.0, 120.0)
    faces = [len(detect_faces([box] * 30, 320, 240, rng)) for _ in range(4000)]
    assert 1 - sum(faces) / (4000 * 30) == pytest.approx(0.02, abs=0.006)
    assert 0 in faces and set(range(28, 31)) <= set(faces)
    assert np.mean([detect_body([box], 320, 240, rng) is None for _ in range(4000)]) == pytest.approx(0.02, abs=0.008)


def test_a_held_phone_is_outside_the_enlarged_face_box():
    settings, phones = Settings(persons=20, clips=100, imbalance="uniform"), 0
    for slot in settings.plan():
        scene, moments = scene_of(settings, slot), behave(settings, slot)[0]
        for moment in moments[::6]:
            if moment.phone == "held":
                phones += 1
                head = Figure(scene.identity, scene.outfit, moment).head
                corners = phone_centre(head, 0) + np.array([(-14, -23), (14, -23)])
                y = (corners @ scene.matrix[:, :2].T + scene.matrix[:, 2])[:, 1].min()
                assert y > scene.draw(moment, np.random.default_rng(0))[1][3] + 20
    assert phones > 50


def test_colours_do_not_reveal_the_label(large):
    """A linear probe on plain colour histograms must stay near the chance of 20 %."""

    def histogram(folder: str) -> np.ndarray:
        frames = [cv2.imread(str(path)) for path in sorted((large / folder).iterdir())]
        return np.mean([cv2.calcHist([f], [0, 1, 2], None, [8] * 3, [0, 256] * 3).ravel() / f.size for f in frames], 0)

    lists = read_lists(large)
    features = {name: np.stack([histogram(folder) for folder, _, _ in clips]) for name, clips in lists.items()}
    labels = {name: [label for _, _, label in clips] for name, clips in lists.items()}
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=500))
    probe.fit(features["train"], labels["train"])
    assert balanced_accuracy_score(labels["test"], probe.predict(features["test"])) < 0.35
