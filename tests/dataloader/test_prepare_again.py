"""python -m dataloader.prepare into a folder of an earlier call: what continues, what is kept, what is refused."""

import json
import os
import shutil
import signal

import pytest

from tests.support.filming import film, find_red, picture
from tests.support.forked import Forked
from tests.support.preparing import (
    FLAGS,
    clip_folders,
    file_contents,
    film_face,
    prepare,
    read_list,
    refusal,
    run,
    write,
)
from utils.files import acquire_lock


@pytest.fixture
def words(tmp_path) -> list:
    """A set of the videos a, b and c with one clip each."""
    for name in "abc":
        film_face(tmp_path / f"in/{name}.mp4")
    words = [tmp_path / "in", "--out", tmp_path / "set", *FLAGS]
    assert run(*words)[0] == 0
    return words


def test_repeating_the_command_changes_nothing(videos, prepared, capsys):
    frame = next((prepared / "images").rglob("*.jpg"))
    before, contents = frame.stat().st_mtime_ns, file_contents(prepared)
    status, out, _ = prepare(videos, prepared, "--test-share", "0.3", capsys=capsys)
    assert status == 0 and "4 of 4 videos done" in out
    assert frame.stat().st_mtime_ns == before and file_contents(prepared) == contents


class StoppingDetector:
    """Ends the call in the second video: with Ctrl-C, or with a signal that cannot be handled."""

    def __init__(self, is_killed: bool) -> None:
        self.is_killed, self.num_frames = is_killed, 0

    def __call__(self, frame):
        self.num_frames += 1
        if self.num_frames == 40:
            if self.is_killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        return find_red(frame)


def prepare_until_killed(words: list[str]) -> int:
    return run(*words, detector=StoppingDetector(is_killed=True))[0]


@pytest.mark.parametrize("is_killed", [False, True])
def test_an_interrupted_call_continues_to_the_same_set(videos, prepared, tmp_path, capsys, is_killed):
    out = tmp_path / "set"
    words = [str(videos), "--out", str(out), *FLAGS, "--test-share", "0.3"]
    if is_killed:
        process = Forked(prepare_until_killed, words, tmp_path / "screen")
        process.wait(600)
        assert process.returncode == -signal.SIGKILL
    else:
        assert run(*words, detector=StoppingDetector(is_killed=False))[0] == 130
        assert "the same command continues" in capsys.readouterr().err
    assert [path.stem for path in (out / ".prepared/videos").iterdir()] == ["Bored_anna_one"]
    assert not (out / "annotation").exists(), "nothing looks complete"
    status, screen, _ = run(*words, capsys=capsys)
    assert status == 0 and "1 of 4 videos done" in screen
    assert file_contents(out) == file_contents(prepared)


def test_files_of_a_killed_call_are_not_used_as_clips(tmp_path, words):
    (tmp_path / "set/.prepared/videos/a.json").unlink()
    (tmp_path / "set/images/a/a_0002").mkdir()
    (tmp_path / "set/images/a/mine").mkdir()
    assert run(*words)[0] == 0
    assert clip_folders(tmp_path / "set") == ["a/a_0001", "a/mine", "b/b_0001", "c/c_0001"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: "[1]",
        lambda text: '{"video": {}}',
        lambda text: text[:-30],
        lambda text: text.replace("images/a/a_0001", "images/../../keep"),
        lambda text: text.replace('"frames": 10', '"frames": 11'),
    ],
)
def test_a_damaged_record_means_the_video_is_cut_again(tmp_path, words, damage):
    (tmp_path / "keep").mkdir()
    record, lists = tmp_path / "set/.prepared/videos/a.json", read_list(tmp_path / "set", "clips")
    before = record.read_text(encoding="utf-8")
    assert damage(before) != before
    write(record, damage(before))
    assert run(*words)[0] == 0
    assert record.read_text(encoding="utf-8") == before and read_list(tmp_path / "set", "clips") == lists
    assert clip_folders(tmp_path / "set") == ["a/a_0001", "b/b_0001", "c/c_0001"] and (tmp_path / "keep").is_dir()


def test_removed_clips_are_cut_again(tmp_path, words):
    shutil.rmtree(tmp_path / "set/images/a")
    assert run(*words)[0] == 0
    assert clip_folders(tmp_path / "set") == ["a/a_0001", "b/b_0001", "c/c_0001"]


def test_more_videos_are_added(tmp_path, words, capsys):
    film_face(tmp_path / "other/a.mp4", 40)
    status, out, _ = run(tmp_path / "other", *words, capsys=capsys)
    assert status == 0 and "3 of 4 videos done" in out
    folders = [row[0].removeprefix("images/") for row in read_list(tmp_path / "set", "clips")]
    assert sorted(folders) == ["a-2/a-2_0001", "a-2/a-2_0002", "a/a_0001", "b/b_0001", "c/c_0001"]
    files = [tmp_path / "other/a.mp4", *(tmp_path / f"in/{name}.mp4" for name in "cba")]  # named in another way
    status, out, _ = run(*files, *words[1:], capsys=capsys)
    assert status == 0 and "4 of 4 videos done" in out


def rename(old: str, new: str):
    return lambda root: (root / old).rename(root / new)


@pytest.mark.parametrize(
    ("change", "more", "part"),
    [
        (lambda root: (root / "in/a.mp4").unlink(), [], "1 video not named now, or not in --labels ("),
        (rename("in/a.mp4", "in/d.mp4"), [], "in/a.mp4); name all videos of the set as before, or choose another"),
        (rename("in", "moved"), [], "3 videos not named now"),
        (lambda root: write(root / "l.csv", "video,label\nb,Fatigue\nc,Confusion\n"), ["--labels"], "1 video not"),
        (lambda root: film_face(root / "in/a.mp4", 60), [], "in/a.mp4, which has changed since"),
        (lambda root: (root / "in/a.mp4").write_bytes(b"broken"), [], "in/a.mp4, which has changed since"),
        (lambda root: write(root / "l.csv", "video,label,to\na,B,1\nb,B,\nc,B,\n"), ["--labels"], "or whose person"),
        (lambda root: write(root / "l.csv", "video,label,person\na,B,x\nb,B,x\nc,B,x\n"), ["--labels"], "or whose per"),
        (lambda root: None, ["--fps", "5"], "was begun with fps 10.0 instead of 5.0"),
        (lambda root: write(root / "set/.prepared/options.json", "[1]"), [], "options.json: expected a table"),
    ],
)
def test_a_call_that_would_lose_clips_is_refused(tmp_path, words, capsys, change, more, part):
    change(tmp_path)
    folder = tmp_path / "moved" if (tmp_path / "moved").exists() else tmp_path / "in"
    contents = file_contents(tmp_path / "set")
    more = [*more, tmp_path / "l.csv"] if more == ["--labels"] else more
    assert part in refusal(folder, *words[1:], *more, capsys=capsys)
    assert file_contents(tmp_path / "set") == contents


def test_a_second_call_at_the_same_time_is_refused(tmp_path, words, capsys):
    with acquire_lock(tmp_path / "set/.prepared/lock", "nobody else holds it"):
        assert "another process is writing there" in refusal(*words, capsys=capsys)
    assert run(*words)[0] == 0


def test_a_video_without_kept_clips_may_change_or_be_removed(tmp_path, words):
    film(tmp_path / "in/d.mp4", [picture(None)] * 40)
    assert run(*words)[0] == 0 and "d.mp4" in (tmp_path / "set/dropped.csv").read_text()
    film_face(tmp_path / "in/d.mp4")
    assert run(*words)[0] == 0 and len(clip_folders(tmp_path / "set")) == 4
    film(tmp_path / "in/e.mp4", [picture(None)] * 40)
    assert run(*words)[0] == 0
    (tmp_path / "in/e.mp4").unlink()
    assert run(*words)[0] == 0 and "e.mp4" not in (tmp_path / "set/dropped.csv").read_text()


def test_a_set_among_the_videos_is_not_read_as_a_video(tmp_path, capsys):
    film_face(tmp_path / "in/a.mp4")
    for _ in range(2):
        status, screen, _ = prepare(tmp_path / "in", tmp_path / "in/set", capsys=capsys)
        assert status == 0 and read_list(tmp_path / "in/set", "clips") == [["images/a/a_0001", "10"]]
    assert f"1 item ignored, not a video: {tmp_path / 'in/set'}" in screen
    assert "is a prepared set" in refusal(tmp_path / "in/set", "--out", tmp_path / "x", *FLAGS, capsys=capsys)
    assert not (tmp_path / "x").exists()


def test_labels_that_are_added_later_cut_nothing_again(tmp_path, words, capsys):
    labels = write(tmp_path / "l.csv", "video,label\na,Fatigue\nb,Confusion\nc,Confusion\n")
    status, screen, _ = run(*words, "--labels", labels, capsys=capsys)
    assert status == 0 and "3 of 3 videos done" in screen
    assert sorted(read_list(tmp_path / "set", "train", "test")) == [
        ["images/a/a_0001", "10", "4"],  # RAER counts Neutrality, Enjoyment, Confusion, Fatigue
        ["images/b/b_0001", "10", "3"],
        ["images/c/c_0001", "10", "3"],
    ]
    assert not (tmp_path / "set/annotation/clips.txt").exists()
    assert "its clips have labels, this command has none" in refusal(*words, capsys=capsys)


def test_the_class_file_of_the_user_is_not_overwritten(tmp_path, words, capsys):
    """Its texts, its numbers, and classes that were added by hand are kept and used."""
    labels = write(tmp_path / "l.csv", "video,label\na,Bored\nb,Keen\nc,Keen\n")
    words, path = [*words, "--labels", labels], tmp_path / "set/annotation/classes.json"
    assert run(*words)[0] == 0
    content = json.loads(path.read_text(encoding="utf-8"))
    assert [entry["name"] for entry in content["classes"]] == ["Bored", "Keen"]
    content["classes"][0]["prompt_ensemble"] = ["Heavy eyes.", "A long yawn."]
    content["classes"].append(content["classes"][1] | {"name": "Angry"})
    text = json.dumps(content | {"label_base": 0})
    write(path, text)
    write(labels, "video,label\na,Bored\nb,Keen\nc,Angry\n")
    for more in ([], ["--class-texts", path]):
        assert run(*words, *more)[0] == 0 and path.read_text(encoding="utf-8") == text
        numbers = {folder[-6]: label for folder, _, label in read_list(tmp_path / "set", "train", "test")}
        assert numbers == {"a": "0", "b": "1", "c": "2"}
    write(tmp_path / "other.json", text)
    assert "its own classes" in refusal(*words, "--class-texts", tmp_path / "other.json", capsys=capsys)
    write(labels, "video,label\na,Fatigue\nb,Keen\nc,Keen\n")
    assert "label 'Fatigue': not a class of " in refusal(*words, capsys=capsys)
    write(path, "{")
    assert "classes.json, line 1, column 2: broken JSON" in refusal(*words, capsys=capsys) and path.read_text() == "{"
