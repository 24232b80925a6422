"""Lists: every line becomes a clip on disk, or an error that names the line."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dataloader.annotation import label_sets, read_annotation
from dataloader.captions import read_captions
from dataloader.classes import Classes, load_classes, with_compounds
from utils.errors import UserError

CLASSES = Classes(("Calm", "Glad", "Lost"), 1, {}, "test", has_persons=True)


@pytest.fixture
def root(tmp_path):
    for name in ("RAER/images/P1/001", "RAER/images/P1/002", "RAER/images/P 2/00 3"):
        (tmp_path / name).mkdir(parents=True)
        for frame in ("2.jpg", "10.jpg", "1.jpg", "Thumbs.db"):
            (tmp_path / name / frame).write_bytes(b"x")
    return tmp_path


def read(root, text, base=1, encoding="utf-8", root_dir="given"):
    (root / "list.txt").write_bytes(text.encode(encoding))
    classes = replace(CLASSES, label_base=base)
    return read_annotation(str(root / "list.txt"), str(root) if root_dir == "given" else root_dir, classes)


def error(root, text, base=1):
    with pytest.raises(UserError) as caught:
        read(root, text, base)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_line_becomes_a_clip(root):
    (clip,) = read(root, "RAER/images/P1/001 30 3\n")
    assert (clip.id, clip.listed_frames, clip.label) == ("RAER/images/P1/001", 30, 2)
    assert clip.folder == root / "RAER/images/P1/001" and clip.frames == ("1.jpg", "2.jpg", "10.jpg")
    assert clip.frame_path(2) == clip.folder / "10.jpg"
    assert clip.person == "images/P1"


def test_a_set_may_not_say_who_is_in_a_clip(root):
    (root / "list.txt").write_text("RAER/images/P1/001 30 3")
    (clip,) = read_annotation(str(root / "list.txt"), str(root), replace(CLASSES, has_persons=False))
    assert clip.person is None and clip.caption is None


def test_a_person_is_the_same_however_the_list_spells_the_path(root):
    spellings = ["RAER/images/P1/001", f"{root}/RAER/images/P1/001", "RAER\\images\\P1\\001"]
    assert {read(root, f"{written} 30 3\n")[0].person for written in spellings} == {"images/P1"}


def test_labels_count_from_the_sets_own_base(root):
    assert [clip.label for clip in read(root, "RAER/images/P1/001 3 1\nRAER/images/P1/002 3 3")] == [0, 2]
    assert [clip.label for clip in read(root, "RAER/images/P1/001 3 0\nRAER/images/P1/002 3 2", base=0)] == [0, 2]


def test_blanks_in_paths_and_around_lines_are_kept_apart(root):
    clips = read(root, "\ufeff\n  RAER/images/P 2/00 3  30\t2 \r\n\nRAER/images/P1/001 3 1")
    assert [(clip.id, clip.label) for clip in clips] == [("RAER/images/P 2/00 3", 1), ("RAER/images/P1/001", 0)]


@pytest.mark.parametrize(
    "written",
    [
        "RAER/images/P1/001",
        "./RAER/images/P1/001/",
        "RAER\\images\\P1\\001",
        "/media/F/FERDataset/AER-DB/RAER/images/P1/001",
        "D:\\data\\RAER\\images\\P1\\001",
        "{root}/RAER/images/P1/001",
    ],
)
def test_a_clip_is_found_whatever_prefix_and_slash_its_path_has(root, written):
    (clip,) = read(root, written.format(root=root) + " 3 1")
    assert clip.folder.resolve() == (root / "RAER/images/P1/001").resolve() and len(clip.frames) == 3


def test_the_root_may_be_the_raer_folder_itself(root):
    (clip,) = read(root, "/old/place/RAER/images/P1/001 3 1", root_dir=str(root / "RAER"))
    assert len(clip.frames) == 3


def test_a_list_is_looked_for_below_the_root_too(root, monkeypatch):
    (root / "lists").mkdir()
    (root / "lists/a.txt").write_text("RAER/images/P1/001 3 1")
    monkeypatch.chdir(Path("/"))
    assert len(read_annotation("lists/a.txt", str(root), CLASSES)) == 1


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("RAER/images/P1/001 3 0", ["label 0", "1..3", "Calm"]),
        ("RAER/images/P1/001 3 4", ["label 4", "1..3"]),
        ("RAER/images/P1/001 3 -1", ["label -1"]),
        ("RAER/images/P1/001 3", ["expected", "path frames label"]),
        ("RAER/images/P1/001", ["expected"]),
        ("RAER/images/P1/001 many 1", ["whole numbers", "many"]),
        ("RAER/images/P1/001 3 1.0", ["whole numbers", "1.0"]),
        ("RAER/images/P9/001 3 1", ["no folder", "P9/001", "--root-dir"]),
        ("RAER/empty 3 1", ["RAER/empty", "no image"]),
        ("x" * 300 + "/001 3 1", ["no folder"]),
    ],
)
def test_a_line_at_fault_is_named_with_its_number(root, line, parts):
    (root / "RAER/empty").mkdir()
    (root / "RAER/empty/Thumbs.db").write_bytes(b"x")
    message = error(root, f"RAER/images/P1/001 3 1\n\n{line}\n")
    assert "list.txt, line 3" in message
    for part in parts:
        assert part in message, message


def test_zero_based_lists_are_refused_not_shifted(root):
    assert "count from 1" in error(root, "RAER/images/P1/001 3 0")


def test_an_empty_list_a_missing_list_and_a_binary_file_are_named(root):
    assert "list.txt" in error(root, "\n\n")
    (root / "list.bin").write_bytes(b"\xff\xfe\x00\x01")
    for name in ("gone.txt", "list.bin", "RAER"):
        with pytest.raises(UserError, match=name):
            read_annotation(str(root / name), None, CLASSES)


def make_frames(root, *folders, names=("1.jpg", "2.jpg")):
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            (root / folder / name).write_bytes(b"x")


def read_set(dataset, root, file="list.txt", text=None, captions=None, classes=None):
    if text is not None:
        (root / file).write_text(text, encoding="utf-8")
    return read_annotation(file, str(root), classes or load_classes(dataset), captions=captions)


@pytest.mark.parametrize("place", ["data/faces/", "faces/", ""])
def test_the_frames_of_mafw_lie_in_one_of_three_places(tmp_path, place):
    make_frames(tmp_path, f"{place}03747")
    (clip,) = read_set("MAFW", tmp_path, text="03747.mp4 anger")
    assert (clip.id, clip.key, clip.label, clip.listed_frames) == ("03747.mp4", "03747", 0, None)
    assert clip.folder == tmp_path / f"{place}03747" and clip.person is None


def test_a_caption_of_the_list_goes_with_the_clip(tmp_path):
    make_frames(tmp_path, "data/faces/1", "data/faces/2")
    one, other = read_set("MAFW", tmp_path, text="1.mp4\tanger\t他\tA man frowns.\n2.mp4\tfear")
    assert one.caption == "A man frowns." and other.caption is None


def test_a_compound_line_needs_compound_classes(tmp_path):
    make_frames(tmp_path, "faces/1", "faces/2", "faces/3")
    text = "1.mp4 disgust_anger\n2.mp4 fear\n3.mp4 anger_disgust"
    with pytest.raises(UserError, match=r"list\.txt, line 1: anger_disgust .*--label-type compound"):
        read_set("MAFW", tmp_path, text=text)
    base = load_classes("MAFW")
    sets = label_sets("list.txt", str(tmp_path), base)
    assert sets == {frozenset({0, 1}), frozenset({2})}
    clips = read_set("MAFW", tmp_path, classes=with_compounds(base, sets))
    assert [clip.label for clip in clips] == [11, 2, 11]  # eleven base classes come first
    with pytest.raises(UserError, match=r"list\.txt, line 1.*combination"):
        read_set("MAFW", tmp_path, classes=with_compounds(base, set()))


def test_numbers_of_a_compound_set_are_base_classes(tmp_path):
    make_frames(tmp_path, "faces/1")
    classes = with_compounds(load_classes("MAFW"), {frozenset({0, 1})})
    (clip,) = read_set("MAFW", tmp_path, text="faces/1 2 0", classes=classes)
    assert classes.names[clip.label] == "happiness"


class TestImages:
    LINES = "train/train/Angry/1.png 7 1\ntest/test/Disgust/23.png 2 2"

    @pytest.fixture
    def root(self, tmp_path):
        make_frames(tmp_path, "CAER-S/train/Angry", "CAER-S/test/Disgust", names=("1.png", "23.png"))
        return tmp_path

    @pytest.mark.parametrize("below", ["CAER-S", "."])
    def test_an_image_is_a_clip_of_one_frame(self, root, below):
        """The lists repeat the split's folder; the root may be the folder above the set or the set's own."""
        one, other = read_set("CAER-S", root / below, text=self.LINES)
        assert (one.frames, one.label, one.listed_frames) == (("1.png",), 0, None)
        assert one.folder.resolve() == root / "CAER-S/train/Angry" and one.frame_path(0).is_file()
        assert (one.key, other.key, other.label) == ("train/Angry/1", "test/Disgust/23", 1)

    @pytest.mark.parametrize(
        "spelling",
        ["train/Angry/1.png", "CAER-S/train/Angry/1.png", "/else/CAER-S/train/Angry/1.png", "train\\Angry\\1.png"],
    )
    def test_its_key_is_the_same_however_it_is_spelled(self, root, spelling):
        assert read_set("CAER-S", root, text=f"{spelling} 0")[0].key == "train/Angry/1"
        assert read_set("CAER-S", root / "CAER-S", text=f"{spelling} 0")[0].key == "train/Angry/1"

    def test_a_missing_image_is_named(self, root):
        with pytest.raises(UserError, match=r"list\.txt, line 1: no image .*Angry/9\.png"):
            read_set("CAER-S", root, text="CAER-S/train/Angry/9.png 0")

    def test_two_images_of_one_name_are_refused(self, root):
        (root / "CAER-S/train/Angry/1.jpg").write_bytes(b"x")
        with pytest.raises(UserError, match=r"line 2: .*1\.jpg and .*1\.png are two clips"):
            read_set("CAER-S", root, text="CAER-S/train/Angry/1.png 0\nCAER-S/train/Angry/1.jpg 0")

    def test_a_line_may_stand_twice(self, root):
        assert len(read_set("CAER-S", root, text="CAER-S/train/Angry/1.png 0\n" * 2)) == 2


def test_a_list_may_name_the_video_of_a_clip(tmp_path):
    make_frames(tmp_path, "CAER/train/Anger/0001")
    (clip,) = read_set("CAER", tmp_path, text="train/Anger/0001.avi 60 0")
    assert (clip.key, clip.label, clip.listed_frames) == ("train/Anger/0001", 0, 60)
    assert clip.folder == tmp_path / "CAER/train/Anger/0001"


def test_a_video_without_its_frames_is_told_apart_from_nothing(tmp_path):
    (tmp_path / "train/Anger").mkdir(parents=True)
    (tmp_path / "train/Anger/0001.avi").write_bytes(b"x")
    with pytest.raises(UserError, match=r"line 1: .*0001\.avi is a video; extract its frames to .*Anger/0001/ first"):
        read_set("CAER", tmp_path, text="train/Anger/0001.avi 60 0")
    with pytest.raises(UserError, match=r"line 1: no folder .*0002\.avi"):
        read_set("CAER", tmp_path, text="train/Anger/0002.avi 60 0")


def test_a_csv_names_folders_by_their_numbers(tmp_path):
    make_frames(tmp_path, "DFEW_Frame_Face/00001", "DFEW_Frame_Face/12345")
    clips = read_set("DFEW", tmp_path, text="video_name,label\r\n1,1\r\n12345,7\r\n")
    assert [(clip.key, clip.label) for clip in clips] == [("00001", 0), ("12345", 6)]


def test_another_machines_prefix_is_left_out(tmp_path):
    make_frames(tmp_path, "DFEW_Frame_Face/00001", "2_ClipsforFaceCrop/Action/Happy/0267")
    (clip,) = read_set("DFEW", tmp_path, text="/data/EECS-X/DFEW/DFEW_Frame_Face/00001 40 3")
    assert clip.folder == tmp_path / "DFEW_Frame_Face/00001" and clip.key == "00001"
    (clip,) = read_set("FERV39k", tmp_path, text="/other/FERV/2_ClipsforFaceCrop/Action/Happy/0267 40 0")
    assert clip.key == "Action/Happy/0267" and len(clip.frames) == 2


def test_daisee_knows_persons_and_takes_the_engagement(tmp_path):
    make_frames(tmp_path, "DataSet/Train/110001/1100011002")
    for line in ("DataSet/Train/110001/1100011002 300 4", "DataSet/Train/110001/1100011002 300 0 3 1 2"):
        (clip,) = read_set("DAiSEE", tmp_path, text=line)
        assert (clip.label, clip.listed_frames, clip.person) == (3, 300, "DataSet/Train/110001")


class TestFolders:
    @pytest.fixture
    def root(self, tmp_path):
        make_frames(tmp_path, "AFEW_Face/train/Happy/000046280", "AFEW_Face/train/HAPPY2/x")
        (tmp_path / "AFEW_Face/train/HAPPY2").rename(tmp_path / "AFEW_Face/train/sad")
        make_frames(tmp_path, "AFEW_Face/train/Happy/000012", "AFEW_Face/train/Fear/3", "AFEW_Face/train/.cache/3")
        (tmp_path / "AFEW_Face/train/Fear/notes.txt").write_text("x")
        return tmp_path

    def test_folders_are_classes_and_clips(self, root):
        clips = read_set("AFEW", root, "AFEW_Face/train")
        found = {clip.id: clip.label for clip in clips}
        prefix = "AFEW_Face/train/"
        assert found == {
            f"{prefix}Happy/000012": 0,
            f"{prefix}Happy/000046280": 0,
            f"{prefix}sad/x": 1,
            f"{prefix}Fear/3": 6,
        }
        assert [clip.key for clip in clips] == [
            "train/Fear/3",
            "train/Happy/000012",
            "train/Happy/000046280",
            "train/sad/x",
        ]
        assert all(clip.frames == ("1.jpg", "2.jpg") and clip.listed_frames is None for clip in clips)
        assert read_set("AFEW", root, f"{root}/AFEW_Face/train/")[0].key == "train/Fear/3"

    def test_an_unknown_class_folder_is_named(self, root):
        make_frames(root, "AFEW_Face/train/Hapy/1")
        with pytest.raises(UserError, match=r"AFEW_Face/train: unknown class 'Hapy'; did you mean Happy"):
            read_set("AFEW", root, "AFEW_Face/train")

    def test_a_clip_without_frames_is_named(self, root):
        (root / "AFEW_Face/train/Fear/9").mkdir()
        with pytest.raises(UserError, match=r"Fear/9.*no image"):
            read_set("AFEW", root, "AFEW_Face/train")

    @pytest.mark.parametrize(
        ("stray", "part"),
        [("Fear/1.avi", "extract"), ("Fear/1.png", "folder of frames"), ("1.png", "like the classes")],
    )
    def test_media_where_no_clip_can_be_are_refused(self, root, stray, part):
        (root / "AFEW_Face/train" / stray).write_bytes(b"x")
        with pytest.raises(UserError, match=part) as caught:
            read_set("AFEW", root, "AFEW_Face/train")
        assert os.path.basename(stray) in str(caught.value)

    def test_a_folder_without_classes_holds_no_clip(self, root):
        (root / "empty").mkdir()
        with pytest.raises(UserError, match="empty: holds no clip; expected folders"):
            read_set("AFEW", root, "empty")

    def test_images_may_stand_in_class_folders(self, root):
        make_frames(root, "CAER-S/test/Anger", names=("1.png", "note.txt"))
        (clip,) = read_set("CAER-S", root, "CAER-S/test")
        assert (clip.key, clip.label, clip.frames) == ("test/Anger/1", 0, ("1.png",))


class TestCaptions:
    LIST = "2_ClipsforFaceCrop/Action/Happy/0267 2 0\n2_ClipsforFaceCrop/Crime/Fear/0001 2 6"

    @pytest.fixture
    def root(self, tmp_path):
        make_frames(tmp_path, "2_ClipsforFaceCrop/Action/Happy/0267", "2_ClipsforFaceCrop/Crime/Fear/0001")
        return tmp_path

    def captions(self, root, content):
        (root / "captions.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return read_captions("captions.json", str(root))

    @pytest.mark.parametrize(
        "key",
        [
            "Action_Happy_0267",
            "Action/Happy/0267",
            "2_ClipsforFaceCrop/Action/Happy/0267",
            "/x/2_ClipsforFaceCrop/Action/Happy/0267",
            "y/Action/Happy/0267.mp4",
        ],
    )
    @pytest.mark.parametrize("value", ["He smiles.", ["He smiles.", "He looks up."]])
    def test_a_caption_finds_its_clip_however_it_is_keyed(self, root, key, value):
        clips = read_set("FERV39k", root, text=self.LIST, captions=self.captions(root, {key: value}))
        assert [clip.caption for clip in clips] == ["He smiles.", None]

    def test_captions_of_other_clips_are_refused(self, root):
        with pytest.raises(UserError, match=r"list\.txt: none of its clips \(Action/Happy/0267"):
            read_set("FERV39k", root, text=self.LIST, captions=self.captions(root, {"Daily_Sad_1": "x"}))

    @pytest.mark.parametrize(
        "content", [[], {}, {"a": ""}, {"a": []}, {"a": [3]}, {"a": 3}, {"a": {}}, {"a": "x", "./a": "y"}, '{"a": ']
    )
    def test_a_broken_captions_file_is_named(self, root, content):
        with pytest.raises(UserError, match=r"captions\.json"):
            self.captions(root, content)
