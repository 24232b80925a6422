"""Lists of every set become clips on disk, with their captions, or an error that names the line."""

import json
from dataclasses import replace

import pytest

from dataloader.annotation import label_sets, read_annotation, read_captions
from dataloader.classes import Classes, load_classes, translated, with_compounds
from tests.support.reading import make_frames, read_set
from utils.errors import UserError

CLASSES = Classes(("Calm", "Glad", "Lost"), 1, {}, "test", has_persons=True)


@pytest.fixture
def root(tmp_path):
    folders = ("RAER/images/P1/001", "RAER/images/P1/002", "RAER/images/P 2/00 3")
    make_frames(tmp_path, *folders, names=("2.jpg", "10.jpg", "1.jpg", "Thumbs.db"))
    return tmp_path


def read(root, text, classes=CLASSES, **changes):
    return read_set("test", root, text=text, classes=replace(classes, **changes))


def refused(dataset, root, text, classes=None):
    with pytest.raises(UserError) as caught:
        read_set(dataset, root, text=text, classes=classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_line_becomes_a_clip(root):
    (clip,) = read(root, "RAER/images/P1/001 30 3\n")
    assert (clip.id, clip.listed_frames, clip.label) == ("RAER/images/P1/001", 30, 2)
    assert clip.folder == root / "RAER/images/P1/001" and clip.frames == ("1.jpg", "2.jpg", "10.jpg")
    assert clip.frame_path(2) == clip.folder / "10.jpg"
    assert clip.person == "images/P1" and clip.caption is None
    assert read(root, "RAER/images/P1/001 30 3\n", has_persons=False)[0].person is None


def test_spaces_in_paths_are_kept_and_around_lines_ignored(root):
    clips = read(root, "\ufeff\n  RAER/images/P 2/00 3  30\t2 \r\n\nRAER/images/P1/001 3 1")
    assert [(clip.id, clip.label) for clip in clips] == [("RAER/images/P 2/00 3", 1), ("RAER/images/P1/001", 0)]


def test_a_list_is_also_searched_below_the_root(root, monkeypatch):
    (root / "lists").mkdir()
    (root / "lists/a.txt").write_text("RAER/images/P1/001 3 1")
    monkeypatch.chdir("/")
    assert len(read_annotation("lists/a.txt", str(root), CLASSES)) == 1


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("RAER/images/P1/001 3 0", ["label 0", "1..3", "Calm", "count from 1"]),
        ("RAER/images/P1/001 3", ["expected", "path frames label"]),
        ("RAER/images/P1/001 many 1", ["whole numbers", "many"]),
        ("RAER/images/P9/001 3 1", ["no folder", "P9/001", "--root-dir"]),
        ("RAER/empty 3 1", ["RAER/empty", "no image"]),
        ("/ 3 1", ["/", "no image"]),
        ("x" * 300 + "/001 3 1", ["no folder"]),
    ],
)
def test_a_wrong_line_is_named_with_its_number(root, line, parts):
    make_frames(root, "RAER/empty", names=("Thumbs.db",))
    message = refused("test", root, f"RAER/images/P1/001 3 1\n\n{line}\n", CLASSES)
    assert all(part in message for part in ["list.txt, line 3", *parts]), message


def test_an_empty_list_a_missing_list_and_a_binary_file_are_named(root):
    (root / "empty.txt").write_text("\n\n")
    (root / "list.bin").write_bytes(b"\xff\xfe\x00\x01")
    for name in ("empty.txt", "gone.txt", "list.bin", "RAER"):
        with pytest.raises(UserError, match=name):
            read_annotation(str(root / name), None, CLASSES)


# the published form of the lists


@pytest.mark.parametrize(
    ("dataset", "line", "folder", "key", "name", "listed", "person"),
    [
        ("RAER", "RAER/images/P1/001 30 3", "RAER/images/P1/001", "images/P1/001", "Confusion", 30, "images/P1"),
        ("MAFW", "03747.mp4 contempt", "data/faces/03747", "03747", "contempt", None, None),
        ("MAFW", "03747.mp4\tAnger", "faces/03747", "03747", "anger", None, None),
        ("MAFW", "03747.mp4\tanxiety\t他\tShe looks around.", "03747", "03747", "anxiety", None, None),
        ("CAER", "train/Anger/0001.avi 60 0", "CAER/train/Anger/0001", "train/Anger/0001", "anger", 60, None),
        ("CAER", "train/Anger/00 01.avi\t60 0", "train/Anger/00 01", "train/Anger/00 01", "anger", 60, None),
        ("DFEW", "video_name,label\r\n1,1\r\n", "DFEW_Frame_Face/00001", "00001", "happiness", None, None),
        ("DFEW", "video_name,label\r\n12345,7\r\n", "DFEW_Frame_Face/12345", "12345", "fear", None, None),
        ("DFEW", "/x/DFEW/DFEW_Frame_Face/00001 40 3", "DFEW_Frame_Face/00001", "00001", "anger", 40, None),
        (
            "FERV39k", "/y/FERV/2_ClipsforFaceCrop/Action/Happy/0267 40 0", "2_ClipsforFaceCrop/Action/Happy/0267",
            "Action/Happy/0267", "happiness", 40, None,
        ),
        ("AFEW", "AFEW_Face/train/Sad/1 40 1", "AFEW_Face/train/Sad/1", "train/Sad/1", "sadness", 40, None),
        ("DAiSEE", "DataSet/Train/1/2 300 4", "DataSet/Train/1/2", "DataSet/Train/1/2", "Very High", 300,
         "DataSet/Train/1"),
        ("DAiSEE", "Train/1/2 300 0 3 1 2", "Train/1/2", "Train/1/2", "Very High", 300, "Train/1"),
        ("DAiSEE", "Train/1/2 300 3 0 3 3", "Train/1/2", "Train/1/2", "Very Low", 300, "Train/1"),
    ],
)  # fmt: skip
def test_the_lists_of_every_set_find_their_clips(tmp_path, dataset, line, folder, key, name, listed, person):
    make_frames(tmp_path, folder)
    (clip,) = read_set(dataset, tmp_path, text=line)
    assert (clip.folder, clip.key, load_classes(dataset).names[clip.label]) == (tmp_path / folder, key, name)
    assert (clip.listed_frames, clip.person, len(clip.frames)) == (listed, person, 2)


def test_a_damaged_video_is_distinguished_from_a_missing_one(tmp_path):
    (tmp_path / "train/Anger").mkdir(parents=True)
    (tmp_path / "train/Anger/0001.avi").write_bytes(b"x")
    message = refused("CAER", tmp_path, "train/Anger/0001.avi 60 0")
    assert "line 1" in message and "0001.avi: cannot be read as a video" in message
    assert "line 1: no folder" in refused("CAER", tmp_path, "train/Anger/0002.avi 60 0")


class TestCompounds:
    TEXT = "1.mp4 disgust_anger\n2.mp4 fear\n3.mp4 anger_disgust"

    def test_a_compound_line_needs_compound_classes(self, tmp_path):
        make_frames(tmp_path, "faces/1", "faces/2", "faces/3")
        message = refused("MAFW", tmp_path, self.TEXT)
        assert "list.txt, line 1: anger_disgust" in message and "--label-type compound" in message
        base = load_classes("MAFW")
        sets = label_sets("list.txt", str(tmp_path), base)
        assert sets == {frozenset({0, 1}), frozenset({2})}
        clips = read_set("MAFW", tmp_path, classes=with_compounds(base, sets))
        assert [clip.label for clip in clips] == [11, 2, 11]  # eleven base classes come first
        message = refused("MAFW", tmp_path, self.TEXT, with_compounds(base, set()))
        assert "list.txt, line 1" in message and "combination" in message

    def test_numbers_of_a_compound_set_are_base_classes(self, tmp_path):
        make_frames(tmp_path, "faces/1")
        classes = with_compounds(load_classes("MAFW"), {frozenset({0, 1})})
        (clip,) = read_set("MAFW", tmp_path, text="faces/1 2 0", classes=classes)
        assert classes.names[clip.label] == "happiness"


class TestImages:
    @pytest.fixture
    def root(self, tmp_path):
        make_frames(tmp_path, "CAER-S/train/Angry", "CAER-S/test/Disgust", names=("1.png", "23.png"))
        return tmp_path

    @pytest.mark.parametrize("below", ["CAER-S", "."])
    def test_an_image_is_a_clip_of_one_frame(self, root, below):
        """The lists repeat the split's folder; the root may be the folder above the set or the set's own."""
        text = "train/train/Angry/1.png 7 1\ntest/test/Disgust/23.png 2 2"
        first, second = read_set("CAER-S", root / below, text=text)
        assert (first.frames, first.label, first.listed_frames) == (("1.png",), 0, None)
        assert first.folder.resolve() == root / "CAER-S/train/Angry" and first.frame_path(0).is_file()
        assert (first.key, second.key, second.label) == ("train/Angry/1", "test/Disgust/23", 1)

    @pytest.mark.parametrize("line", ["train/train/Angry/1.png 1 1", "train/Angry/1.png 0", "train\\Angry\\1.png 0"])
    def test_the_label_of_an_image_counts_from_the_base_of_its_columns(self, root, line):
        (clip,) = read_set("CAER-S", root, text=line)
        assert (clip.key, clip.label) == ("train/Angry/1", 0)

    def test_a_missing_image_and_two_images_of_one_name_are_refused_but_not_a_repeated_line(self, root):
        image = "CAER-S/train/Angry/1.png 0\n"
        assert len(read_set("CAER-S", root, text=image * 2)) == 2
        message = refused("CAER-S", root, image.replace("1.png", "9.png"))
        assert "list.txt, line 1: no image" in message and "Angry/9.png" in message
        (root / "CAER-S/train/Angry/1.jpg").write_bytes(b"x")
        message = refused("CAER-S", root, image + image.replace("png", "jpg"))
        assert "line 2: CAER-S/train/Angry/1.jpg and CAER-S/train/Angry/1.png are two clips" in message


class TestOtherModels:
    @pytest.mark.parametrize("model", ["DFEW", "MAFW"])
    def test_a_model_of_one_set_reads_the_lists_of_another_by_name(self, tmp_path, model):
        """Both sets have the seven classes, each in its own order."""
        make_frames(tmp_path, *(f"train/{folder}/1" for folder in ("Anger", "Happy", "Surprise")))
        names = load_classes(model).names
        classes = translated(load_classes("CAER"), names, "best.pt")
        text = "train/Anger/1 2 0\ntrain/Happy/1 2 3\ntrain/Surprise/1 2 6"
        clips = read_set("CAER", tmp_path, text=text, classes=classes)
        assert [names[clip.label] for clip in clips] == ["anger", "happiness", "surprise"]
        assert classes.names == names and classes.source == "best.pt"

    def test_a_class_that_the_model_does_not_know_is_named_by_its_line(self, tmp_path):
        make_frames(tmp_path, "1", "2")
        classes = translated(load_classes("MAFW"), load_classes("DFEW").names, "best.pt")
        message = refused("MAFW", tmp_path, "1.mp4 anger\n2.mp4 contempt", classes)
        assert "list.txt, line 2: contempt is not a class of the model" in message
        with pytest.raises(UserError, match=r"best\.pt: no class of the model"):
            translated(load_classes("MAFW"), ("calm", "glad"), "best.pt")


class TestCaptions:
    LIST = "2_ClipsforFaceCrop/Action/Happy/0267 2 0\n2_ClipsforFaceCrop/Crime/Fear/0001 2 6"

    def read(self, root, captions):
        make_frames(root, "2_ClipsforFaceCrop/Action/Happy/0267", "2_ClipsforFaceCrop/Crime/Fear/0001")
        (root / "captions.json").write_text(captions if isinstance(captions, str) else json.dumps(captions))
        return read_set("FERV39k", root, text=self.LIST, captions=read_captions("captions.json", str(root)))

    @pytest.mark.parametrize("key", ["Action_Happy_0267", "/x/2_ClipsforFaceCrop/Action/Happy/0267"])
    @pytest.mark.parametrize("value", ["He smiles.", ["He smiles.", "He looks up."]])
    def test_a_caption_finds_its_clip_with_any_form_of_key(self, tmp_path, key, value):
        assert [clip.caption for clip in self.read(tmp_path, {key: value})] == ["He smiles.", None]

    def test_a_caption_of_the_list_belongs_to_its_clip(self, tmp_path):
        make_frames(tmp_path, "data/faces/1", "data/faces/2")
        clips = read_set("MAFW", tmp_path, text="1.mp4\tanger\t他\tA man frowns.\n2.mp4\tfear")
        assert [clip.caption for clip in clips] == ["A man frowns.", None]

    def test_captions_of_other_clips_are_refused(self, tmp_path):
        with pytest.raises(UserError, match=r"list\.txt: none of its clips \(Action/Happy/0267"):
            self.read(tmp_path, {"Daily_Sad_1": "x"})

    @pytest.mark.parametrize(
        "content", [[], {}, {"a": ""}, {"a": []}, {"a": [3]}, {"a": 3}, {"a": {}}, {"a": "x", "./a": "y"}, '{"a": ']
    )
    def test_a_broken_captions_file_is_named(self, tmp_path, content):
        with pytest.raises(UserError, match=r"captions\.json"):
            self.read(tmp_path, content)
