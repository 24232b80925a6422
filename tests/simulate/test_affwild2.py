"""The simulated set in Aff-Wild2's layout: its files, and labels that agree with each other and with the faces."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score

from dataloader.affwild import group_of, read_task_sets
from dataloader.frame_labels import ACTION_UNITS, TASKS, find_labelled
from simulate import VideoSettings, write_set
from simulate.affwild2 import (
    CENTRES,
    id_of,
    length_of,
    read_video_labels,
    sample_course,
    sample_runs,
    show_course,
    weigh_regions,
)  # fmt: skip
from simulate.emotions import Temper
from tests.support.drawn import files_of

CHALLENGES = {"VA_Estimation_Challenge", "EXPR_Recognition_Challenge", "AU_Detection_Challenge"}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("affwild2") / "set"
    assert write_set(out, VideoSettings(clips=16, frames=60), workers=1)
    return out


def test_the_files(root):
    names = set(files_of(root))
    frames = {name for name in names if name.startswith("cropped_aligned/")}
    labels = {name for name in names if name.startswith("annotations/")}
    assert names == frames | labels | {"about.json"}
    assert all(re.fullmatch(r"cropped_aligned/\d{3}(_left|_right)?/\d{5}\.jpg", name) for name in frames)
    assert {name.split("/")[1] for name in labels} == CHALLENGES
    assert {name.split("/")[2] for name in labels} == {"Train_Set", "Validation_Set"}
    assert {len((root / name).read_text().splitlines()) for name in labels} == {61}  # a header, a line for each frame
    assert cv2.imread(str(root / sorted(frames)[0])).shape == (112, 112, 3)
    about = json.loads((root / "about.json").read_text())
    assert about["settings"]["layout"] == "affwild2" and "simulated" in about["note"] and about["paths"]


def test_the_set_is_read_with_gaps_invalid_labels_and_different_videos_per_task(root):
    sets = {task: read_task_sets(root, [task], 0) for task in TASKS}  # train and validation
    ids = {task: [{video.id for video in part} for part in parts] for task, parts in sets.items()}
    for part in range(2):
        assert len({frozenset(ids[task][part]) for task in TASKS}) > 1
        pairs = {name for name in ids["va"][part] if group_of(name) != name}
        assert len(pairs) == 2 and len(set(map(group_of, pairs))) == 1 and all(pairs <= ids[t][part] for t in TASKS)
    train, validation = (set.union(*(ids[task][part] for task in TASKS)) for part in range(2))
    assert len(train) == 11 and len(validation) == 5 and not train & validation
    for task, parts in sets.items():
        videos = [video for part in parts for video in part]
        valid = np.concatenate([find_labelled(task, video.labels[task]) for video in videos])
        assert 0.8 < valid.mean() < 1
        missing = np.concatenate([video.missing for video in videos])
        assert 0.01 < missing.mean() < 0.3 and np.diff(missing).sum() <= missing.sum() / 2  # in runs of 4 or more
        assert all(video.spare_files == 0 for video in videos)


def test_paired_videos_have_equal_lengths_and_others_differ():
    settings = VideoSettings(clips=8)
    slots = settings.plan()
    lengths = {id_of(slot): length_of(settings, slot) for slot in slots}
    groups = {group: {n for name, n in lengths.items() if group_of(name) == group} for group in map(group_of, lengths)}
    assert all(len(values) == 1 for values in groups.values()) and len(groups) == 6
    assert len(set(lengths.values())) > 3 and all(400 <= length <= 900 for length in lengths.values())
    assert len({slot.person for slot in slots}) == 8


def test_courses_are_smooth_bounded_and_visit_every_region():
    course = sample_course(4000, np.random.default_rng(0))
    assert course.shape == (4000, 3) and np.abs(course).max() <= 1
    assert np.abs(np.diff(course, axis=0)).max() < 0.15  # a change of direction takes many frames
    assert course[:, 0].std() > 0.3 and course[:, 1].std() > 0.3
    weights = weigh_regions(course)
    np.testing.assert_allclose(weights.sum(1), 1)
    nearest = np.linalg.norm(course[:, None] - CENTRES, axis=2).argmin(1)
    assert (weights.argmax(1) == nearest).all()
    shares = np.bincount(nearest, minlength=8) / 4000
    assert shares.min() > 0.04 and shares.max() < 0.35
    changes = np.flatnonzero(np.diff(nearest))
    assert 4000 / len(changes) > 15  # duration of an expression in frames


def test_each_expression_has_about_its_share_of_the_frames():
    rng = np.random.default_rng(1)
    shares = [sample_runs(600, 0.1, rng).mean() for _ in range(200)]
    assert 0.07 < np.mean(shares) < 0.16
    assert not any(sample_runs(frames, 0.05, rng).all() for frames in (1, 2, 3, 10) for _ in range(50))


def draw_features(seed: int, frames: int = 700) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The parameters of the face in each frame of a video, (frames, 27), and its labels."""
    rng = np.random.default_rng(seed)
    course = sample_course(frames, rng)
    moments, _ = show_course(course, Temper(rng), rng)
    names = "brow_raise brow_furrow brow_tilt eyelid gaze_y smile mouth_open mouth_press pitch".split()
    latents = np.array([[getattr(moment, name) for name in names] for moment in moments])
    return np.hstack([latents, np.maximum(latents, 0), latents**2]), read_video_labels(course, moments, rng)


def ccc(a, b):
    return 2 * np.cov(a, b, bias=True)[0, 1] / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)


@pytest.fixture(scope="module")
def faces():
    """Features and labels of 16 persons and of 6 new ones."""
    videos = [draw_features(seed) for seed in range(22)]
    return [
        (np.concatenate([x for x, _ in part]), {task: np.concatenate([y[task] for _, y in part]) for task in TASKS})
        for part in (videos[:16], videos[16:])
    ]


def test_faces_show_valence_arousal_and_expression_of_new_persons(faces):
    (X, Y), (X_new, Y_new) = faces
    predictions = Ridge(1.0).fit(X, Y["va"]).predict(X_new)
    scores = [ccc(predictions[:, axis], Y_new["va"][:, axis]) for axis in range(2)]
    assert min(scores) > 0.6, scores
    scale = X.std(0)
    expression = LogisticRegression(max_iter=300).fit(X[::3] / scale, Y["expr"][::3, 0])
    assert f1_score(Y_new["expr"][:, 0], expression.predict(X_new / scale), average="macro") > 0.55


def test_every_action_unit_is_present_and_absent(faces):
    for _, labels in faces:
        rates = dict(zip(ACTION_UNITS, labels["au"].mean(0), strict=True))
        assert all(0.02 < rate < 0.6 for rate in rates.values()), rates


def test_action_units_change_the_face_as_their_names_say(faces):
    (X, labels), _ = faces
    raise_, furrow, _, eyelid, _, smile, opening, press, _ = X.T[:9]
    unit = dict(zip(ACTION_UNITS, labels["au"].T.astype(bool), strict=True))
    for name, latent, sign in (
        ("AU1", raise_, 1), ("AU2", raise_, 1), ("AU4", furrow, 1), ("AU6", smile, 1), ("AU7", eyelid, -1),
        ("AU10", smile, -1), ("AU12", smile, 1), ("AU15", smile, -1), ("AU23", press, 1), ("AU24", press, 1),
        ("AU25", opening, 1), ("AU26", opening, 1),
    ):  # fmt: skip
        assert sign * (latent[unit[name]].mean() - latent[~unit[name]].mean()) > 0.1, name
    for first, second in (("AU26", "AU25"), ("AU24", "AU23"), ("AU6", "AU12")):
        assert not (unit[first] & ~unit[second]).any()  # the first implies the second
    assert not (unit["AU12"] & unit["AU15"]).any() and not (unit["AU23"] & unit["AU25"]).any()
