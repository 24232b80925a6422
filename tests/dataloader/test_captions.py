"""Captions find their clips whatever their keys look like."""

import json

import pytest

from dataloader.annotation import read_captions
from tests.support.reading import make_frames, read_set
from utils.errors import UserError

LIST = "2_ClipsforFaceCrop/Action/Happy/0267 2 0\n2_ClipsforFaceCrop/Crime/Fear/0001 2 6"


@pytest.fixture
def root(tmp_path):
    make_frames(tmp_path, "2_ClipsforFaceCrop/Action/Happy/0267", "2_ClipsforFaceCrop/Crime/Fear/0001")
    return tmp_path


def write_captions(root, content):
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
def test_a_caption_finds_its_clip_however_it_is_keyed(root, key, value):
    clips = read_set("FERV39k", root, text=LIST, captions=write_captions(root, {key: value}))
    assert [clip.caption for clip in clips] == ["He smiles.", None]


def test_captions_of_other_clips_are_refused(root):
    with pytest.raises(UserError, match=r"list\.txt: none of its clips \(Action/Happy/0267"):
        read_set("FERV39k", root, text=LIST, captions=write_captions(root, {"Daily_Sad_1": "x"}))


@pytest.mark.parametrize(
    "content", [[], {}, {"a": ""}, {"a": []}, {"a": [3]}, {"a": 3}, {"a": {}}, {"a": "x", "./a": "y"}, '{"a": ']
)
def test_a_broken_captions_file_is_named(root, content):
    with pytest.raises(UserError, match=r"captions\.json"):
        write_captions(root, content)
