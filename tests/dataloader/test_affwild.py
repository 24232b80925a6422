"""Aff-Wild2's layout read from files written here: labels, frames, merged tasks, folds, and wrong files."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataloader.affwild import describe_videos, group_of, part_videos, read_task_sets
from dataloader.frame_labels import find_labelled, read_labels
from utils.errors import UserError

VA = "valence,arousal"
EXPR = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
AU = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
HEADERS = {"va": VA, "expr": EXPR, "au": AU}
CHALLENGES = {"va": "VA_Estimation_Challenge", "expr": "EXPR_Recognition_Challenge", "au": "AU_Detection_Challenge"}
TRAIN, VALIDATION = "Train_Set", "Validation_Set"


def folder_of(root, task, part=TRAIN):
    return root / "annotations" / CHALLENGES[task] / part


def write_labels(folder, id, header, *rows):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{id}.txt").write_text("\n".join([header, *rows]) + "\n")
    return folder / f"{id}.txt"


def write_frames(root, id, numbers):
    (root / "cropped_aligned" / id).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        (root / "cropped_aligned" / id / f"{number:05d}.jpg").write_bytes(b"x")


def write_set(root, members, frames=6):
    """``members``: {(task, part): ids}, every frame with a file and the same label."""
    rows = {"va": "0.5,-0.5", "expr": "4", "au": ",".join("010000000000")}
    for (task, part), ids in members.items():
        for id in ids:
            write_labels(folder_of(root, task, part), id, HEADERS[task], *[rows[task]] * frames)
            write_frames(root, id, range(1, frames + 1))
    return root


def read_train(root, task, with_frames=True):
    """The training videos that a test has written; the validation video is added here."""
    write_set(root, {(task, VALIDATION): ["held"]})
    return read_task_sets(root, [task], 0, with_frames)[0]


def ids(videos):
    return [video.id for video in videos]


def test_lines_belong_to_frames_from_1_and_missing_files_are_none(tmp_path):
    write_frames(tmp_path, "a_left", [2, 4, 5])
    write_labels(folder_of(tmp_path, "va"), "a_left", VA, "0.1,0.2", "-5,-5", "-1,1", "0.3,-5", "-5,0.25")
    (video,) = read_train(tmp_path, "va")
    assert video.id == "a_left" and video.folder == tmp_path / "cropped_aligned/a_left" and len(video) == 5
    assert video.files == (None, "00002.jpg", None, "00004.jpg", "00005.jpg")
    assert video.missing.tolist() == [True, False, True, False, False]
    nan = np.nan  # one -5 makes the frame invalid
    np.testing.assert_array_equal(
        video.labels["va"], np.float32([[0.1, 0.2], [nan, nan], [-1, 1], [nan, nan], [nan, nan]])
    )
    assert video.labels["va"].dtype == np.float32 and video.is_labelled


def test_expressions_and_action_units(tmp_path):
    expr = read_labels(write_labels(tmp_path, "e", EXPR, "0", "7", "-1", "3"), "expr")
    assert expr.dtype == np.int64 and expr.tolist() == [0, 7, -1, 3]
    rows = ["1,0,0,0,0,0,0,0,0,0,0,1", "1,0,0,0,-1,0,0,0,0,0,0,1", ",".join(["-1"] * 12)]
    au = read_labels(write_labels(tmp_path, "a", AU, *rows), "au")
    assert au.shape == (3, 12) and au.dtype == np.float32
    assert au[0].tolist() == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1] and np.isnan(au[1:]).all()
    assert find_labelled("expr", expr).tolist() == [True, True, False, True]
    assert find_labelled("au", au).tolist() == [True, False, False]


def test_line_ends_byte_order_marks_and_spaces_of_other_systems(tmp_path):
    path = tmp_path / "v.txt"
    path.write_bytes("\ufeffvalence, arousal\r\n0.5, -0.25\r\n-5,-5\r\n\r\n".encode())
    labels = read_labels(path, "va")
    assert labels.shape == (2, 2) and labels[0].tolist() == [0.5, -0.25] and np.isnan(labels[1]).all()


@pytest.mark.parametrize(
    ("task", "text", "expected"),
    [
        ("va", f"{EXPR}\n0\n", "line 1: expected valence,arousal for va"),
        ("va", "", "line 1: expected valence,arousal for va, got ''"),
        ("expr", f"{AU}\n0\n", "line 1: expected Neutral,Anger"),
        ("va", f"{VA}\n", "has no line below its header"),
        ("va", f"{VA}\n0,0\n0.5\n", "line 3: 1 columns, expected 2"),
        ("va", f"{VA}\n0,0\n\n0,0\n", "line 3: 1 columns, expected 2"),
        ("au", f"{AU}\n0,0,0\n", "line 2: 3 columns, expected 12"),
        ("va", f"{VA}\n0,0\n0,1.2\n", "line 3: expected a number from -1 to 1, or -5 for none, got '1.2'"),
        ("va", f"{VA}\n0,nan\n", "line 2: expected a number from -1 to 1"),
        ("va", f"{VA}\n0,0.1_0\n", "line 2: expected a number from -1 to 1"),
        ("va", f"{VA}\n0,0\n0,\n", "line 3: expected a number from -1 to 1, or -5 for none, got ''"),
        ("expr", f"{EXPR}\n0\n8\n", "line 3: expected a whole number from 0 to 7, or -1 for none, got '8'"),
        ("expr", f"{EXPR}\n2.5\n", "got '2.5'"),
        ("expr", f"{EXPR}\nHappy\n", "got 'Happy'"),
        ("au", f"{AU}\n{','.join('0' * 12)}\n{','.join('0' * 11)},2\n", "line 3: expected a whole number from 0 to 1"),
    ],
)
def test_wrong_label_files_give_a_one_line_error(task, text, expected, tmp_path):
    path = tmp_path / "v.txt"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_labels(path, task)
    assert expected in str(error.value) and str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def in_frames(root, name):
    return root / "cropped_aligned/1" / name


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: write_frames(root, "1", range(1, 61)), "6 label lines for 60 frame files up to 00060.jpg"),
        (lambda root: in_frames(root, "1.png").touch(), "(00001.jpg and 1.png|1.png and 00001.jpg) are both frame 1"),
        (lambda root: in_frames(root, "00000.jpg").touch(), "00000.jpg: frames are named by their number from 1"),
        (lambda root: shutil.rmtree(in_frames(root, "")), "Train_Set/1.txt: no folder .*1 with its frames"),
        (lambda root: shutil.rmtree(root / "cropped_aligned"), "no folder cropped_aligned with the frames of the"),
        (lambda root: shutil.rmtree(folder_of(root, "va")), "no folder annotations/VA_Estimation_Challenge/Train_Set"),
        (lambda root: (folder_of(root, "va") / "1.txt").unlink(), "Train_Set: holds no label file"),
        (lambda root: (root / "annotations/VA/Train_Set").mkdir(parents=True), "both hold the va labels for train"),
        (lambda root: write_labels(folder_of(root, "expr"), "1", EXPR, *["4"] * 90), "6 label lines, .*1.txt has 90"),
        (lambda root: write_set(root, {("va", TRAIN): ["9"]}), "9.txt: the same video"),
    ],
)
def test_a_broken_set_is_refused(tmp_path, damage, message):
    members = {TRAIN: ["1"], VALIDATION: ["9"]}
    root = write_set(tmp_path, {(task, part): members[part] for task in ("va", "expr") for part in members})
    damage(root)
    with pytest.raises(UserError, match=message):
        read_task_sets(root, ["va", "expr"], 0)


@pytest.mark.parametrize(
    ("fold", "train", "message"),
    [
        (-1, ["1"], "--fold -1: expected 0 to 4"),
        (5, ["1"], "--fold 5: expected 0 to 4"),
        (4, ["1", "2"], "fold 4 has no validation video for va"),
        (1, ["1", "9"], "9.txt: the same video"),
    ],
)
def test_an_impossible_fold_is_refused(tmp_path, fold, train, message):
    root = write_set(tmp_path, {("va", TRAIN): train, ("va", VALIDATION): ["9"]})
    with pytest.raises(UserError, match=message):
        read_task_sets(root, ["va"], fold)


def test_videos_without_any_valid_label_are_reported(tmp_path):
    write_labels(folder_of(tmp_path, "va"), "empty", VA, "-5,-5", "-5,-5")
    with pytest.raises(UserError, match="none of its 1 videos has a valid label"):
        read_train(tmp_path, "va", with_frames=False)
    write_labels(folder_of(tmp_path, "va"), "full", VA, "-5,-5", "0.5,0.25", "0.25,0.25")
    videos = read_train(tmp_path, "va", with_frames=False)
    assert [(video.id, video.is_labelled) for video in videos] == [("empty", False), ("full", True)]
    assert not videos[0].missing.any()  # the frames were not checked
    assert describe_videos(videos) == [
        "2 videos, 5 frames, 5 with a file",
        "va: 2 of 5 frames labelled, in 1 video; valence 0.38 ± 0.12, arousal 0.25 ± 0.00",
        "1 video without any valid label, left out of training: empty",
    ]


def test_videos_without_any_frame_and_files_beyond_the_last_line_are_reported(tmp_path):
    write_set(tmp_path, {("va", TRAIN): ["v"]}, frames=20)
    write_frames(tmp_path, "v", range(21, 24))
    (video,) = read_train(tmp_path, "va")
    assert len(video.files) == 20 and video.spare_files == 3
    assert describe_videos([video])[-1] == "3 frame files beyond the last label line, left out: v"
    shutil.rmtree(tmp_path / "cropped_aligned/v")
    (tmp_path / "cropped_aligned/v").mkdir()
    lines = describe_videos(read_train(tmp_path, "va"))
    assert lines[0] == "1 video, 20 frames, 0 with a file"
    assert lines[-1] == "1 video without any frame file, left out of training: v"


def test_class_counts_and_rates(tmp_path):
    write_labels(folder_of(tmp_path, "expr"), "v", EXPR, "0", "4", "4", "-1")
    (line,) = describe_videos(read_train(tmp_path, "expr", with_frames=False))[1:]
    assert line.startswith("expr: 3 of 4 frames labelled, in 1 video; Neutral 1, Anger 0") and "Happiness 2" in line
    write_labels(folder_of(tmp_path, "au"), "v", AU, ",".join("100000000001"), ",".join("100000000000"))
    (line,) = describe_videos(read_train(tmp_path, "au", with_frames=False))[1:]
    assert "AU1 100.0 %, AU2 0.0 %" in line and line.endswith("AU26 50.0 %")


def test_tasks_are_merged_by_video(tmp_path):
    members = {("va", TRAIN): ["1", "2"], ("expr", TRAIN): ["2", "3"]}
    root = write_set(tmp_path, members | {("va", VALIDATION): ["10"], ("expr", VALIDATION): ["10", "9"]})
    annotation = root / "annotations" / CHALLENGES["expr"]
    annotation.rename(annotation.with_name("EXPR_Classification_Challenge"))
    (root / "annotations").rename(root / "6th_ABAW_Annotations")  # the name of the challenge
    train, validation = read_task_sets(root, ["va", "expr"], 0)
    assert ids(train) == ["1", "2", "3"] and ids(validation) == ["9", "10"]
    labelled = {v.id: [bool(find_labelled(t, v.labels[t]).all()) for t in ("va", "expr")] for v in train + validation}
    assert labelled == {
        "1": [True, False], "2": [True, True], "3": [False, True], "9": [False, True], "10": [True, True],
    }  # fmt: skip
    assert all(v.labels["va"].shape == (6, 2) and v.labels["expr"].shape == (6,) for v in train)
    assert ids(read_task_sets(root, ["va"], 0)[0]) == ["1", "2"]


def test_files_of_one_video_may_differ_a_little_in_length(tmp_path):
    root = write_set(tmp_path, {(task, part): [part] for task in ("va", "expr") for part in (TRAIN, VALIDATION)})
    write_labels(folder_of(root, "expr"), TRAIN, EXPR, *["4"] * 9)
    video = read_task_sets(root, ["va", "expr"], 0)[0][0]
    assert len(video) == 9 and np.isnan(video.labels["va"][6:]).all() and (video.labels["expr"] == 4).all()


# folds


@pytest.fixture(scope="module")
def challenge(tmp_path_factory):
    """Twelve train groups, two of them pairs, and three validation groups; 1 trains one task, validates another."""
    train = [*map(str, range(1, 11)), "11_left", "11_right", "12_left", "12_right"]
    validation = ["20", "21_left", "21_right", "22"]
    members = {("va", TRAIN): train, ("va", VALIDATION): validation}
    members |= {("expr", TRAIN): train[1:8], ("expr", VALIDATION): ["1", "22"]}
    return write_set(tmp_path_factory.mktemp("challenge"), members), {*train, *validation}


def test_fold_0_is_the_official_split_by_task(challenge):
    train, validation = read_task_sets(challenge[0], ["va"], 0)
    assert ids(validation) == ["20", "21_left", "21_right", "22"] and len(train) == 14
    train, validation = ({v.id: v for v in videos} for videos in read_task_sets(challenge[0], ["va", "expr"], 0))
    assert find_labelled("va", train["1"].labels["va"]).all()
    assert not find_labelled("expr", train["1"].labels["expr"]).any()
    assert not find_labelled("va", validation["1"].labels["va"]).any()
    assert find_labelled("expr", validation["1"].labels["expr"]).all()


def test_folds_1_to_4_validate_on_every_other_video_once_and_keep_pairs(challenge):
    root, everyone = challenge
    parts, official, held_out = part_videos(root), {"1", "20", "21_left", "21_right", "22"}, []
    assert set(parts) == everyone and {id for id, part in parts.items() if part == 0} == official
    for fold in range(1, 5):
        train, validation = (set(ids(videos)) for videos in read_task_sets(root, ["va"], fold))
        assert train | validation == everyone and not train & validation
        assert not {group_of(id) for id in train} & {group_of(id) for id in validation}
        assert validation == {id for id in everyone if parts[id] == fold}
        held_out += validation
    assert sorted(held_out) == sorted(everyone - official)
    sizes = [sum(part == fold for part in parts.values()) for fold in range(1, 5)]
    assert max(sizes) - min(sizes) <= 1  # 13 videos of one length, pairs together: 4, 3, 3, 3


@pytest.mark.parametrize("fold", range(1, 5))
def test_folds_are_the_same_for_every_task(challenge, fold):
    va, expr, merged = (set(ids(read_task_sets(challenge[0], t, fold)[1])) for t in (["va"], ["expr"], ["va", "expr"]))
    assert expr <= va == merged


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=8, max_size=30))
def test_parts_have_similar_lengths(tmp_path_factory, lengths):
    root = tmp_path_factory.mktemp("parts")
    for number, length in enumerate(lengths):
        write_labels(folder_of(root, "va"), str(number), VA, *["0,0"] * length)
    parts = part_videos(root)
    totals = [sum(n + 1 for i, n in enumerate(lengths) if parts[str(i)] == part) for part in range(1, 5)]
    assert max(totals) - min(totals) <= max(lengths) + 1  # no part is ahead by more than the last it was given
