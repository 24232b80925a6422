"""Lines of lists in every layout: their content, and errors that name the line."""

from dataclasses import replace

import pytest

from dataloader.classes import ListFormat, load_classes
from dataloader.layouts import read_lines
from utils.errors import UserError


def read(folder, dataset, content, **changes):
    path = folder / "list.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_lines(path, replace(load_classes(dataset), **changes)))


def error(folder, dataset, content, **changes):
    with pytest.raises(UserError) as caught:
        read(folder, dataset, content, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def names(dataset, lines):
    """The class names of the lines, so that the order of labels is tested independently."""
    classes = load_classes(dataset)
    return ["_".join(classes.names[label] for label in line.labels) for line in lines]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_byte_order_marks_line_ends_and_blank_lines_are_ignored(tmp_path, ending, mark):
    lines = read(tmp_path, "MAFW", mark + ending.join(["1.mp4 fear", "", "  ", "2.mp4\tanger\t怒\tA frown.", ""]))
    assert [(line.path, line.where[-1], line.caption) for line in lines] == [
        ("1.mp4", "1", None),
        ("2.mp4", "4", "A frown."),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk"])
def test_captions_may_be_utf8_or_gbk(tmp_path, encoding):
    text = "03747.mp4\tanger\t一个男人皱着眉头\tA man’s brows are low.\r\n"
    (line,) = read(tmp_path, "MAFW", text.encode(encoding))
    assert line.caption == "A man’s brows are low."
    assert read(tmp_path, "MAFW", "1.mp4\tanger\t他\t\n2.mp4\tfear\t\t".encode(encoding))[0].caption is None


def test_only_lists_with_captions_may_be_gbk(tmp_path):
    assert "not a UTF-8 text file" in error(tmp_path, "DFEW", "路径 3 1".encode("gbk"))
    assert "neither a UTF-8 nor a GBK" in error(tmp_path, "MAFW", b"\xff\xff 1.mp4 anger")


def test_the_two_lists_of_mafw_count_in_two_orders(tmp_path):
    """The numbers of DFER-CLIP's lists, written by hand."""
    listed = "happiness sadness neutral anger surprise disgust fear contempt anxiety helplessness disappointment"
    listed = listed.split()
    by_number = read(tmp_path, "MAFW", "\n".join(f"x/faces/{n:05d} 9 {n}" for n in range(11)))
    assert names("MAFW", by_number) == listed
    by_name = read(tmp_path, "MAFW", "\n".join(f"{n:05d}.mp4 {name}" for n, name in enumerate(listed)))
    assert [line.labels for line in by_name] == [line.labels for line in by_number]
    assert load_classes("MAFW").names[:3] == ("anger", "disgust", "fear")


def test_a_csv_counts_from_one_and_pads_its_numbers(tmp_path):
    lines = read(tmp_path, "DFEW", 'video_name,label\n1,1\n"00012", 7\n16372.mp4,4\n')
    assert [line.path for line in lines] == ["00001", "00012", "16372"]
    assert names("DFEW", lines) == ["happiness", "fear", "anger"]


def test_daisees_own_csv_is_read_with_its_header_to_the_last_blank(tmp_path):
    header = "ClipID,Boredom,Engagement,Confusion,Frustration "
    lines = read(tmp_path, "DAiSEE", f"{header}\r\n1100011002.avi,0,2,0,0\r\n5563720249.mp4,3,0,1,2\r\n")
    assert [line.path for line in lines] == ["110001/1100011002", "556372/5563720249"]
    assert names("DAiSEE", lines) == ["High", "Very Low"]


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("DAiSEE-Binary", ["Not Engaged", "Not Engaged", "Engaged", "Engaged"]),  # levels 0 and 1 against 2 and 3
        ("DAiSEE-Three", ["Low Engagement", "Low Engagement", "High Engagement", "Very High Engagement"]),
        ("DAiSEE-Boredom", ["Low Boredom", "Very High Boredom", "Very Low Boredom", "High Boredom"]),
        ("DAiSEE-Confusion", ["High Confusion", "Low Confusion", "Very High Confusion", "Very Low Confusion"]),
    ],
)
def test_other_labels_of_daisee(tmp_path, dataset, expected):
    rows = ["1,0,2,3", "3,1,1,0", "0,2,3,1", "2,3,0,2"]
    content = "\n".join(["ClipID,Boredom,Engagement,Confusion,Frustration ", *(f"1.avi,{row}" for row in rows)])
    assert names(dataset, read(tmp_path, dataset, content)) == expected


def test_any_csv_is_read_by_its_columns(tmp_path):
    (tmp_path / "list.csv").write_text('"emotion", rater,clip\n"Fatigue",7,"a, b/01.mp4"\nconfusion,8,c\\02\n')
    classes = load_classes("RAER", None, "clip", "emotion")
    lines = list(read_lines(tmp_path / "list.csv", classes))
    assert [line.path for line in lines] == ["a, b/01", "c/02"]
    assert names("RAER", lines) == ["Fatigue", "Confusion"]
    with pytest.raises(UserError, match="list.csv, line 1: no column 'video_name'; the columns are emotion, rater, cl"):
        list(read_lines(tmp_path / "list.csv", load_classes("RAER")))


@pytest.mark.parametrize(
    ("dataset", "content", "line", "parts"),
    [
        ("DFEW", "video_name,label\n1,1\n2,0\n", 3, ["label 0 is outside 1..7", "count from 1"]),
        ("DFEW", "video_name,label\n1\n", 2, ["expected 2 columns", "video_name and label"]),
        ("DFEW", "video_name,label\n,3\n", 2, ["expected 2 columns", "video_name and label"]),
        ("DFEW", "video_name,label\n1,happy\n", 2, ["whole number", "happy"]),
        ("DFEW", "video_name,emotion\n1,1\n", 1, ["no column 'label'", "video_name, emotion", "--label-column"]),
        ("DFEW", "video_name,label,label\n1,1,1\n", 1, ["two columns 'label'"]),
        ("FERV39k", "video_name,label\n1,1\n", 2, ["'1' is a number", "csv_label_base", "FERV39k"]),
        ("FERV39k", "video_name,label\n1,hapy\n", 2, ["unknown class 'hapy'", "did you mean Happy"]),
        ("DAiSEE", "ClipID,Boredom,Engagement,Confusion,Frustration \n1.avi,0,4,0,0\n", 2, ["4 is outside 0..3"]),
        ("DFEW", "a 3 0\nb 3 7\n", 2, ["label 7 is outside 0..6", "count from 0"]),
        ("DFEW", "a 3 0\n\nb 7\n", 3, ["path frames label"]),
        ("DAiSEE", "a 300 1 4 0 0\n", 1, ["engagement", "label 4 is outside 0..3"]),
        ("DAiSEE", "a 300 9 1 0 0\n", 1, ["boredom", "label 9"]),
        ("DAiSEE", "a 300 1 1 0\n", 1, ["path frames boredom engagement confusion frustration"]),
        ("DAiSEE", "a 300 0\n", 1, ["label 0 is outside 1..4"]),
        ("MAFW", "1.mp4 anger\n2.mp4\n", 2, ["expected `video class`", "1 columns"]),
        ("MAFW", "1.mp4\tanger\tx\n", 1, ["3 columns"]),
        ("MAFW", "1.mp4\tanger\tx\ty\tz\n", 1, ["5 columns"]),
        ("MAFW", "1.mp4 anger fear\n", 1, ["3 columns"]),
        ("MAFW", "\tanger\n", 1, ["columns"]),
        ("MAFW", "1.mp4 angre\n", 1, ["unknown class 'angre'", "did you mean anger"]),
        ("MAFW", "1.mp4 anger_xyz\n", 1, ["unknown class 'xyz'", "helplessness"]),
        ("MAFW", "1.mp4 anger_anger\n", 1, ["twice"]),
        ("MAFW", "1.mp4 anger_\n", 1, ["unknown class ''"]),
        ("MAFW", "a/faces/1 3 11\n", 1, ["label 11 is outside 0..10"]),
        ("MAFW", "a/faces/1 3 x\n", 1, ["whole numbers", "x"]),
        ("CAER", "train/Anger/1.avi 3 0\ntrain/Anger/2.avi 3 1\n", 2, ["disgust", "Anger/", "check the first label"]),
        ("CAER", "train/Angst/1.avi 3 0\n", 1, ["unknown class 'Angst'", "folder above the clip"]),
        ("CAER", "1.avi 3 0\n", 1, ["folder above the clip"]),
        ("CAER-S", "train/Anger/1.png 1 1\ntrain/Anger/2.png 1 0\n", 2, ["label 0 is outside 1..7"]),
        ("CAER-S", "train/Disgust/1.png 1 1\n", 1, ["anger", "Disgust/"]),
        ("CAER-S", "train/Disgust/1.png 2\n", 1, ["fear", "Disgust/"]),
        ("CAER-S", "train/Disgust/1.png\n", 1, ["image label"]),
        ("CAER-S", "train/Disgust/1 1 2\n", 1, ["image label"]),
        ("CAER-S", "train/Disgust/1.png 1 two\n", 1, ["whole number", "two"]),
        ("CAER-S", "train/Disgust/1.png 1 2 3\n", 1, ["expected `image number label`"]),
    ],
)
def test_a_wrong_line_is_named_with_its_number(tmp_path, dataset, content, line, parts):
    message = error(tmp_path, dataset, content)
    assert all(part in message for part in [f"list.txt, line {line}", *parts]), message


def test_two_columns_need_a_stated_base(tmp_path):
    assert read(tmp_path, "CAER-S", "train/Anger/a 7.PNG 0")[0].path == "train/Anger/a 7.PNG"
    assert "two_column_label_base" in error(tmp_path, "CAER-S", "train/Anger/1.png 0", format=ListFormat())


def test_a_set_counted_from_the_wrong_number_is_detected_by_its_folders(tmp_path):
    folders = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
    right = "\n".join(f"test/{folder}/{n}.png {n}" for n, folder in enumerate(folders))
    assert len(read(tmp_path, "CAER-S", right)) == 7
    wrong = "\n".join(f"test/{folder}/{n}.png {n + 1}" for n, folder in enumerate(folders))
    assert "line 1" in error(tmp_path, "CAER-S", wrong)
