"""--targets: the form of its file, and errors that name the wrong line."""

import math

import numpy as np
import pytest

from dataloader.targets import read_targets
from tests.support.filming import film, picture
from tests.support.reading import make_frames
from utils.errors import UserError

GOOD = "clip,subject,alogia,avolition\na/1,anna,1,2.5\na/2,anna,-3,\nb/1,bert,,1e2\n"


@pytest.fixture
def root(tmp_path):
    make_frames(tmp_path, "a/1", "a/2", "b/1", "b/2")
    (tmp_path / "b/empty").mkdir()
    return tmp_path


def read(root, content):
    (root / "scores.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_targets("scores.csv", str(root))


def refused(root, content):
    with pytest.raises(UserError) as caught:
        read(root, content)
    message = str(caught.value)
    assert "scores.csv" in message and "\n" not in message
    return message


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.rstrip("\n"),
        "\ufeff" + GOOD,
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\n\n"),
        GOOD.replace(",", " , "),
        GOOD.replace("clip,subject", "Clip,SUBJECT"),
        GOOD.replace("anna", '"anna"').replace("2.5", '"2.5"'),
        GOOD + "\n\n",
    ],
)
def test_numbers_subjects_and_clips_are_read(root, content):
    targets = read(root, content)
    assert targets.names == ("alogia", "avolition") and targets.subjects == ["anna", "anna", "bert"]
    assert [clip.id for clip in targets.clips] == ["a/1", "a/2", "b/1"]
    np.testing.assert_array_equal(targets.values, [[1, 2.5], [-3, math.nan], [math.nan, 100]])
    first = targets.clips[0]
    assert first.person == "anna" and first.frames == ("1.jpg", "2.jpg") and first.folder == root / "a/1"


def test_clips_are_found_as_in_lists(root):
    text = GOOD.replace("a/1", f"{root}/a/1").replace("a/2", "a/2.mp4").replace("b/1", ".\\b\\1")
    assert [clip.folder.resolve() for clip in read(root, text).clips] == [root / "a/1", root / "a/2", root / "b/1"]


def test_videos_and_parts_of_them_are_clips(root):
    film(root / "v/c.mp4", [picture(0)] * 30)  # 20 pictures in a second
    clips = read(root, 'clip,subject,n\nv/c.mp4,anna,1\n"v/c.mp4#t=0.5,1",bert,2\n').clips
    assert [(clip.folder, len(clip.frames), clip.span) for clip in clips] == [
        (root / "v/c.mp4", 30, None),
        (root / "v/c.mp4", 10, (0.5, 1.0)),
    ]
    assert "`video#t=FROM,TO` in seconds" in refused(root, "clip,subject,n\nv/c.mp4#t=5,bert,2\n")
    assert "ends at 1.5 s, the clip at 9 s" in refused(root, 'clip,subject,n\n"v/c.mp4#t=0.5,9",bert,2\n')


def test_a_subject_in_quotes_may_hold_a_comma_and_a_name_any_letters(root):
    targets = read(root, 'clip,subject,"Müdigkeit, müde"\na/1,"Doe, J.",1\nb/1,Ögün,2\n')
    assert targets.names == ("Müdigkeit, müde",) and targets.subjects == ["Doe, J.", "Ögün"]


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("b/2,bert,1", ["3 columns", "4"]),
        ("b/2,bert,1,2,3", ["5 columns", "4"]),
        ("b/2;bert;1;2", ["1 columns", "4"]),
        ("b/2,,1,2", ["b/2", "subject"]),
        ("b/2,  ,1,2", ["b/2", "subject"]),
        ("b/none,bert,1,2", ["b/none", "--root-dir"]),
        ("b/empty,bert,1,2", ["empty", "no image"]),
        ("b/2,bert,high,2", ["alogia", "number", "high"]),
        ("b/2,bert,1,2 points", ["avolition", "number", "2 points"]),
        ("b/2,bert,1,nan", ["avolition", "number", "nan"]),
        ("b/2,bert,inf,2", ["alogia", "number", "inf"]),
        ("b/2,bert,1e999,2", ["alogia", "number", "1e999"]),
        ("b/2,bert,1_0,2", ["alogia", "number", "1_0"]),
        ("a/1,anna,1,2", ["a/1", "line 2"]),
        ("./a/1,anna,1,2", ["a/1", "line 2"]),
        ("a/1.mp4,bert,1,2", ["a/1", "line 2"]),
        (",bert,1,2", []),
    ],
)
def test_a_wrong_line_is_named(root, line, parts):
    message = refused(root, GOOD + line + "\n")
    assert all(part in message for part in ["scores.csv, line 5:", *parts]), message


@pytest.mark.parametrize(
    ("content", "line"), [(GOOD + "\n", 6), (GOOD + "\n\n\n", 8), (GOOD.replace("anna", '"anna\nmaria"', 1), 6)]
)
def test_empty_lines_and_the_lines_of_a_cell_are_counted(root, content, line):
    assert f"line {line}:" in refused(root, content + "b/2,bert,high,2\n")


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("", "clip,subject"),
        ("clip,subject", "clip,subject"),
        ("subject,clip,alogia,avolition", "subject,clip"),
        ("path,subject,alogia,avolition", "path,subject"),
        ("clip;subject;alogia;avolition", "clip;subject"),
        ("a/1,anna,1,2", "a/1,anna"),
        ("clip,subject,alogia,", "name"),
        ("clip,subject,alogia,alogia", "alogia"),
    ],
)
def test_a_wrong_first_line_is_shown_with_the_expected_one(root, header, part):
    assert part in refused(root, header + GOOD[GOOD.index("\n") :])


@pytest.mark.parametrize(
    ("content", "part"),
    [
        *(("clip,subject,alogia" + end, "no clip") for end in ("\n", "", "\n\n\n")),
        ("", "clip,subject"),
        ("\n\n", "clip,"),
    ],
)
def test_a_file_without_clips(root, content, part):
    assert part in refused(root, content)


@pytest.mark.parametrize("content", [b"\x00\x01\x02", GOOD.encode("utf-16"), b"clip,subject,\xff\na/1,x,1\n"])
def test_a_file_that_is_not_a_table_of_text_is_refused(root, content):
    refused(root, content)


@pytest.mark.parametrize("name", ["nowhere.csv", "a"])
def test_a_missing_file_and_a_folder_are_refused(root, name):
    with pytest.raises(UserError, match=f"--targets .*{name}") as caught:
        read_targets(name, str(root))
    assert "\n" not in str(caught.value)
