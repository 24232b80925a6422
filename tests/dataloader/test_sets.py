"""The lists of each data set, as they are handed out, become clips on disk."""

import pytest

from dataloader.annotation import label_sets
from dataloader.classes import load_classes, translated, with_compounds
from tests.support.reading import make_frames, read_set
from utils.errors import UserError


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


def test_a_model_of_one_set_reads_the_lists_of_another_by_name(tmp_path):
    """Both sets have the seven classes, each in its own order."""
    make_frames(tmp_path, *(f"train/{folder}/1" for folder in ("Anger", "Happy", "Surprise")))
    text = "train/Anger/1 2 0\ntrain/Happy/1 2 3\ntrain/Surprise/1 2 6"
    for model in ("DFEW", "MAFW"):
        names = load_classes(model).names
        classes = translated(load_classes("CAER"), names, "best.pt")
        clips = read_set("CAER", tmp_path, text=text, classes=classes)
        assert [names[clip.label] for clip in clips] == ["anger", "happiness", "surprise"]
        assert classes.names == names and classes.source == "best.pt"


def test_a_class_that_the_model_does_not_know_is_named_by_its_line(tmp_path):
    make_frames(tmp_path, "1", "2")
    classes = translated(load_classes("MAFW"), load_classes("DFEW").names, "best.pt")
    with pytest.raises(UserError, match=r"list\.txt, line 2: contempt is none of the model's"):
        read_set("MAFW", tmp_path, text="1.mp4 anger\n2.mp4 contempt", classes=classes)
    with pytest.raises(UserError, match=r"best\.pt: no class of the model"):
        translated(load_classes("MAFW"), ("calm", "glad"), "best.pt")
