"""JSON files from elsewhere: what is parsed, what is refused, and the messages of the type check."""

import json
import os
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from utils.errors import UserError
from utils.json_files import Range, check_type, parse_json, read_json


class Clip(TypedDict):
    key: str
    label: Annotated[int, Range(0, 10)]
    lengths: list[int]
    boxes: dict[str, list[float] | None]
    note: NotRequired[str]


class Index(TypedDict):
    format: Literal[1, 2]
    size: tuple[int, int]
    clips: list[Clip]


CLIP = {"key": "P1/001", "label": 3, "lengths": [5, 6], "boxes": {"face": [0, 1.5], "body": None}}
INDEX = {"format": 1, "size": [4, 3], "clips": [CLIP], "more": "is allowed"}


def test_content_of_the_right_type_is_returned_unchanged(tmp_path):
    (tmp_path / "index.json").write_text(json.dumps(INDEX), encoding="utf-8")
    assert read_json(tmp_path / "index.json", Index) == INDEX


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clips": {}}, "clips: expected a list, got a table of 0"),
        ({"clips": [CLIP, 5]}, "clips, 1: expected a table, got 5"),
        ({"clips": [{"key": "a"}]}, "clips, 0: lacks 'boxes'"),
        ({"clips": [CLIP | {"label": 11}]}, "clips, 0, label: expected a number from 0 to 10, got 11"),
        ({"clips": [CLIP | {"label": True}]}, "clips, 0, label: expected a whole number, got true"),
        ({"clips": [CLIP | {"lengths": [1, 2.5]}]}, "clips, 0, lengths, 1: expected a whole number, got 2.5"),
        ({"clips": [CLIP | {"note": None}]}, "clips, 0, note: expected a text, got null"),
        ({"clips": [CLIP | {"boxes": {"face": ["x"]}}]}, 'clips, 0, boxes, face, 0: expected a finite number, got "x"'),
        ({"clips": [CLIP | {"boxes": {"face": [float("inf")]}}]}, "boxes, face, 0: expected a finite number, got inf"),
        ({"format": "1"}, 'format: expected 1 or 2, got "1"'),
        ({"format": True}, "format: expected 1 or 2, got true"),
        ({"size": [1]}, "size: expected a list of 2, got 1"),
        ({"size": [1, None]}, "size, 1: expected a whole number, got null"),
    ],
)
def test_the_first_wrong_entry_is_named(change, message):
    with pytest.raises(UserError) as error:
        check_type(INDEX | change, Index, "index.json")
    assert str(error.value).startswith("index.json: ") and str(error.value).endswith(message)


@pytest.mark.parametrize("kind", [int, float, str, None, list[Any], Literal["a"], int | str])
def test_an_object_is_not_accepted_as_another_type(kind):
    with pytest.raises(UserError, match="expected"):
        check_type({}, kind, "x")


def test_quoted_values_in_messages_are_short():
    with pytest.raises(UserError) as error:
        check_type({"k" * 5000: "v" * 5000}, dict[str, int], "x")
    assert len(str(error.value)) < 250


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1,\n "a": 2}', "the key 'a' is twice"),
        (b'{"a": [1,\n 2', "line 2, column 3: broken JSON"),
        (b'["\\ud800"]', "half a surrogate pair"),
        (b'{"\\udc00": 1}', "half a surrogate pair"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[\n" + b"1" * 5000 + b"]", "line 2: broken JSON (a number of too many digits)"),
        (b"\xff\xfe[]", "not a UTF-8 text file"),
        (b"", "line 1, column 1: broken JSON"),
    ],
)
def test_broken_json_gives_a_one_line_error_that_names_the_file(tmp_path, text, message):
    (tmp_path / "x.json").write_bytes(text)
    with pytest.raises(UserError) as error:
        read_json(tmp_path / "x.json")
    assert str(error.value).startswith(str(tmp_path / "x.json")) and message in str(error.value)


def test_letters_written_as_surrogate_pairs_are_read():
    assert parse_json('["\\ud83d\\ude00", "\\\\ud800"]') == ["\U0001f600", "\\ud800"]


def test_names_of_files_that_are_not_utf8_are_read():
    name = os.fsdecode(b"caf\xe9")
    assert parse_json(json.dumps([name])) == [name]


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(UserError, match="not a regular file"):
        read_json(tmp_path / "pipe.json")


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match="gone.json: no such file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(UserError, match="is a folder"):
        read_json(tmp_path)
