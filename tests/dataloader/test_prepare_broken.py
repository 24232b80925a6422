"""python -m dataloader.prepare after an interruption, on damaged notes and videos, and twice at a time."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from dataloader.prepare.__main__ import main
from tests.support.filming import film, red_detector
from tests.support.preparing import PLAIN, clips, listed, move, run, write
from utils.files import acquire_lock


def test_interrupted_goes_on_to_the_same_set(videos, made, tmp_path, capsys):
    calls = []

    class Stopping:
        def __call__(self, frame):
            calls.append(1)
            if len(calls) == 40:  # in the second video
                raise KeyboardInterrupt
            return red_detector()(frame)

    out = tmp_path / "set"
    words = [str(videos), "--out", str(out), *PLAIN, "--test-share", "0.3"]
    assert main(words, make_detector=lambda *_: Stopping()) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert not (out / "annotation").exists()
    assert run(*words)[0] == 0
    for name in ("train.txt", "test.txt", "face.json", "body.json"):
        assert (out / "annotation" / name).read_bytes() == (made / "annotation" / name).read_bytes()
    pictures = {path.relative_to(out): path.read_bytes() for path in (out / "images").rglob("*.jpg")}
    assert pictures == {path.relative_to(made): path.read_bytes() for path in (made / "images").rglob("*.jpg")}
    assert not (out / ".unfinished").exists()


def test_nothing_is_dropped_before_the_new_videos_are_read(tmp_path, capsys):
    old, new, out = film(tmp_path / "old.mp4", move(20)), tmp_path / "new.avi", tmp_path / "set"
    assert run(old, "--out", out, *PLAIN)[0] == 0
    new.write_bytes(b"nothing")
    status, _, err = run(new, "--out", out, *PLAIN, "--drop-others", capsys=capsys)
    assert status == 2 and "new.avi: cannot be read" in err
    assert clips(out) == ["old/old_0001"] and listed(out, "clips") == [["images/old/old_0001", "10"]]


def test_clips_of_a_video_that_broke_stay(tmp_path, capsys):
    for name in "ab":
        film(tmp_path / f"in/{name}.mp4", move(20))
    out = tmp_path / "set"
    words = [tmp_path / "in", "--out", out, *PLAIN]
    assert run(*words)[0] == 0
    (tmp_path / "in/a.mp4").write_bytes(b"broken")
    status, said, _ = run(*words, capsys=capsys)
    assert (
        status == 1 and "a.mp4: cannot be read" in said and "the clips of what it was before stay, in no list" in said
    )
    assert clips(out) == ["a/a_0001", "b/b_0001"] and listed(out, "clips") == [["images/b/b_0001", "10"]]
    (tmp_path / "in/b.mp4").write_bytes(b"broken too")
    assert run(*words)[0] == 2
    assert clips(out) == ["a/a_0001", "b/b_0001"] and listed(out, "clips") == [["images/b/b_0001", "10"]]
    film(tmp_path / "in/a.mp4", move(60))
    film(tmp_path / "in/b.mp4", move(20))
    assert run(*words)[0] == 0
    assert clips(out) == ["a/a_0001", "a/a_0002", "a/a_0003", "b/b_0001"] and len(listed(out, "clips")) == 4


def test_a_broken_file_of_classes_is_not_written_over(tmp_path, capsys):
    film(tmp_path / "in/Bored/a.mp4", move(20))
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    assert run(*words)[0] == 0
    path = write(tmp_path / "set/annotation/classes.json", "{")
    status, _, err = run(*words, capsys=capsys)
    assert status == 2 and "classes.json, line 1: broken JSON" in err and path.read_text(encoding="utf-8") == "{"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda note: [1],
        lambda note: {"a": 1},
        lambda note: note | {"clips": None},
        lambda note: note | {"source": None},
        lambda note: note | {"clips": [clip | {"faces": None} for clip in note["clips"]]},
        lambda note: note | {"clips": [clip | {"part": 7} for clip in note["clips"]]},
        lambda note: note | {"dropped": [3]},
        lambda note: note | {"clips": [clip | {"folder": "images/../../keep"} for clip in note["clips"]]},
    ],
)
def test_a_damaged_note_means_the_video_is_made_anew(tmp_path, capsys, spoil):
    film(tmp_path / "in/a.mp4", move(20))
    (tmp_path / "keep").mkdir()
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    assert run(*words)[0] == 0
    note = tmp_path / "set/.prepared/videos/a.json"
    before = json.loads(note.read_text(encoding="utf-8"))
    write(note, json.dumps(spoil(before)))
    (tmp_path / "set/images/a/a_0002").mkdir()  # what the note no longer tells of
    assert run(*words)[0] == 0
    assert json.loads(note.read_text(encoding="utf-8")) == before
    assert clips(tmp_path / "set") == ["a/a_0001"] and (tmp_path / "keep").is_dir()


def test_damaged_options_are_said(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20))
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    assert run(*words)[0] == 0
    for text in ("", "[1]", "{"):
        write(tmp_path / "set/.prepared/options.json", text)
        status, _, err = run(*words, capsys=capsys)
        assert status == 2 and "options.json: is damaged" in err and err.count("\n") == 1


def test_a_second_call_at_the_same_time_is_refused(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20))
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    assert run(*words)[0] == 0
    with acquire_lock(tmp_path / "set/.prepared/lock", "nobody else holds it"):
        status, _, err = run(*words, capsys=capsys)
    assert status == 2 and "another call is writing there" in err
    assert run(*words)[0] == 0


def test_a_call_that_made_nothing_leaves_nothing(tmp_path, capsys):
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    assert run(tmp_path / "a.mp4", "--out", tmp_path / "set", *PLAIN)[0] == 2
    assert not (tmp_path / "set").exists()


def test_killed_while_clips_change_nothing_counts_as_done(tmp_path, monkeypatch):
    film(tmp_path / "in/a.mp4", move(60))
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    assert run(*words)[0] == 0
    shutil.copytree(tmp_path / "in", tmp_path / "first", copy_function=shutil.copy2)
    film(tmp_path / "in/a.mp4", move(40))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("dataloader.prepare.store._remove", killed)
        assert run(*words)[0] == 130
    shutil.rmtree(tmp_path / "set/images/a")  # what went before the end came
    shutil.copy2(tmp_path / "first/a.mp4", tmp_path / "in/a.mp4")  # as it was: its first note would have called it done
    assert run(*words)[0] == 0
    assert clips(tmp_path / "set") == ["a/a_0001", "a/a_0002", "a/a_0003"]


def test_killed_while_a_renamed_video_with_parts_is_finished(tmp_path, monkeypatch):
    out, labels = tmp_path / "set", write(tmp_path / "l.csv", "video,label,from,to\na,Fatigue,0,1\na,Confusion,1,2\n")
    film(tmp_path / "in/Keen/a.mp4", move(40))
    words = [tmp_path / "in", "--labels", labels, "--out", out, *PLAIN]
    assert run(*words)[0] == 0
    (tmp_path / "in/Keen").rename(tmp_path / "in/Bored")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("dataloader.prepare.store._remove", killed)
        assert run(*words)[0] == 130
    (tmp_path / "in").rename(tmp_path / "moved")
    assert run(tmp_path / "moved", *words[1:])[0] == 0
    assert clips(out) == ["Bored_a/Bored_a_0001", "Bored_a/Bored_a_0002"]
    assert [path.stem for path in (out / ".prepared/videos").iterdir()] == ["Bored_a"]


def test_clips_that_somebody_removed_are_made_again(tmp_path):
    film(tmp_path / "in/a.mp4", move(40))
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    assert run(*words)[0] == 0
    shutil.rmtree(tmp_path / "set/images/a/a_0002")
    assert run(*words)[0] == 0
    assert clips(tmp_path / "set") == ["a/a_0001", "a/a_0002"]


def test_a_link_to_nothing_stops_no_other(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20))
    (tmp_path / "in/b.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "in/c.mp4").symlink_to("c.mp4")
    status, said, _ = run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN, capsys=capsys)
    assert status == 1 and "b.mp4: no such file" in said and "c.mp4: no such file" in said
    assert clips(tmp_path / "set") == ["a/a_0001"]


def test_a_worker_ends_with_the_process_that_started_it():
    """Else it would write where the next call does."""
    code = (
        "import multiprocessing, os, time\n"
        "from dataloader.prepare.work import begin_worker\n"
        "if __name__ == '__main__':\n"
        "    pool = multiprocessing.get_context('spawn').Pool(1, begin_worker)\n"
        "    print(pool.apply(os.getpid), flush=True)\n"
        "    pool.apply_async(time.sleep, (600,))\n"
        "    time.sleep(0.5)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    script = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    worker = int(script.stdout)
    for _ in range(100):
        if not is_alive(worker):
            return
        time.sleep(0.1)
    os.kill(worker, 9)
    raise AssertionError("the worker went on")


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
