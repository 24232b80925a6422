"""python -m dataloader.prepare into a folder that it has begun: what is kept, renewed, refused and removed."""

import json
import os
import shutil

from tests.support.filming import film, picture
from tests.support.preparing import PLAIN, clips, listed, move, run, write


def test_the_same_command_again_does_nothing_anew(videos, made, capsys):
    frame = next((made / "images").rglob("*.jpg"))
    before, train = frame.stat().st_mtime_ns, (made / "annotation/train.txt").read_bytes()
    status, out, _ = run(videos, "--out", made, *PLAIN, "--test-share", "0.3", capsys=capsys)
    assert status == 0 and "4 of 4 videos done" in out
    assert frame.stat().st_mtime_ns == before and (made / "annotation/train.txt").read_bytes() == train


def test_other_options_in_the_same_folder_are_refused(videos, made, capsys):
    status, _, err = run(videos, "--out", made, *PLAIN, "--fps", "5", capsys=capsys)
    assert status == 2 and "was begun with fps 10.0 instead of 5.0" in err and err.count("\n") == 1


def test_clips_of_videos_that_are_not_named_are_kept_until_told_otherwise(tmp_path, capsys):
    film(tmp_path / "monday/one.mp4", move(20))
    film(tmp_path / "tuesday/two.mp4", move(20))
    days, out = (tmp_path / "monday", tmp_path / "tuesday"), tmp_path / "set"
    assert run(days[0], "--out", out, *PLAIN)[0] == 0
    status, _, err = run(days[1], "--out", out, *PLAIN, capsys=capsys)
    assert status == 2 and f"({days[0] / 'one.mp4'})" in err and err.count("\n") == 1
    assert listed(out, "clips") == [["images/one/one_0001", "10"]]
    assert run(*days, "--out", out, *PLAIN)[0] == 0
    assert [row[0] for row in listed(out, "clips")] == ["images/one/one_0001", "images/two/two_0001"]
    assert run(days[1], "--out", out, *PLAIN, "--drop-others")[0] == 0
    assert [path.name for path in (out / "images").iterdir()] == ["two"]
    assert listed(out, "clips") == [["images/two/two_0001", "10"]]


def test_a_video_of_the_same_name_elsewhere_is_another_one(tmp_path, capsys):
    film(tmp_path / "monday/one.mp4", move(20))
    film(tmp_path / "tuesday/one.mp4", move(40))
    out = tmp_path / "set"
    assert run(tmp_path / "monday", "--out", out, *PLAIN)[0] == 0
    status, _, err = run(tmp_path / "tuesday", "--out", out, *PLAIN, capsys=capsys)
    assert status == 2 and f"({tmp_path / 'monday/one.mp4'})" in err
    (tmp_path / "monday").rename(tmp_path / "moved")
    status, said, _ = run(tmp_path / "moved", "--out", out, *PLAIN, capsys=capsys)
    assert status == 0 and "1 of 1 video done" in said
    film(tmp_path / "moved/one.mp4", move(60))  # changed where it is
    assert run(tmp_path / "moved", "--out", out, *PLAIN)[0] == 0
    assert len(listed(out, "clips")) == 3


def test_texts_that_somebody_wrote_stay(tmp_path):
    film(tmp_path / "in/Bored/a.mp4", move(20))
    out = tmp_path / "set"
    assert run(tmp_path / "in", "--out", out, *PLAIN)[0] == 0
    path = out / "annotation/classes.json"
    written = path.read_text(encoding="utf-8").replace("A face that shows bored.", "Heavy eyes.")
    path.write_text(written)
    assert "Heavy eyes." in written and run(tmp_path / "in", "--out", out, *PLAIN)[0] == 0
    assert path.read_text(encoding="utf-8") == written


def test_a_set_among_the_videos_is_no_video(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20))
    words = [tmp_path / "in", "--out", tmp_path / "in/set", *PLAIN]
    for _ in range(2):
        status, said, _ = run(*words, capsys=capsys)
        assert status == 0 and listed(tmp_path / "in/set", "clips") == [["images/a/a_0001", "10"]]
    assert f"1 item left alone, no video: {tmp_path / 'in/set'}" in said
    err = run(tmp_path / "in/set", "--out", tmp_path / "other", *PLAIN, capsys=capsys)[2]
    assert "is a set that was prepared" in err and not (tmp_path / "other").exists()


def test_after_a_move_a_changed_video_is_the_same_one(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20))
    assert run(tmp_path / "in", "--out", tmp_path / "set", *PLAIN)[0] == 0
    (tmp_path / "in").rename(tmp_path / "moved")
    assert run(tmp_path / "moved", "--out", tmp_path / "set", *PLAIN)[0] == 0
    film(tmp_path / "moved/a.mp4", move(40))
    assert run(tmp_path / "moved", "--out", tmp_path / "set", *PLAIN)[0] == 0
    assert clips(tmp_path / "set") == ["a/a_0001", "a/a_0002"]


def test_videos_are_known_whatever_folder_names_them(tmp_path, capsys):
    for day in ("monday", "tuesday"):
        film(tmp_path / day / "one.mp4", move(20 if day == "monday" else 40))
    out = tmp_path / "set"
    assert run(tmp_path / "monday", tmp_path / "tuesday", "--out", out, *PLAIN)[0] == 0
    before = clips(out)
    assert before == ["one-2/one-2_0001", "one-2/one-2_0002", "one/one_0001"]
    status, said, _ = run(tmp_path / "tuesday", tmp_path / "monday", "--out", out, *PLAIN, capsys=capsys)
    assert status == 0 and "2 of 2 videos done" in said and clips(out) == before
    named = tmp_path / "tuesday/one.mp4", tmp_path / "monday/one.mp4"
    status, said, _ = run(*named, "--out", out, *PLAIN, capsys=capsys)
    assert status == 0 and "2 of 2 videos done" in said and clips(out) == before


def test_another_class_of_a_folder_is_another_name(tmp_path):
    film(tmp_path / "in/Bored/anna/a.mp4", move(20))
    film(tmp_path / "in/Keen/ben/b.mp4", move(20))
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    assert run(*words)[0] == 0
    os.rename(tmp_path / "in/Bored", tmp_path / "in/Tired")
    assert run(*words)[0] == 0
    assert clips(tmp_path / "set") == ["anna/Tired_anna_a_0001", "ben/Keen_ben_b_0001"]
    assert sorted(path.stem for path in (tmp_path / "set/.prepared/videos").iterdir()) == ["Keen_ben_b", "Tired_anna_a"]


def test_labels_that_come_later_cut_nothing_anew(tmp_path, capsys):
    for name in "ab":
        film(tmp_path / f"in/{name}.mp4", move(20))
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    assert run(*words)[0] == 0
    labels = write(tmp_path / "l.csv", "video,label\na,Fatigue\nb,Confusion\n")
    status, said, _ = run(*words, "--labels", labels, capsys=capsys)
    assert status == 0 and "2 of 2 videos done" in said
    assert sorted((*listed(tmp_path / "set", "train"), *listed(tmp_path / "set", "test"))) == [
        ["images/a/a_0001", "10", "4"],  # RAER counts Neutrality, Enjoyment, Confusion, Fatigue
        ["images/b/b_0001", "10", "3"],
    ]
    assert not (tmp_path / "set/annotation/clips.txt").exists()
    status, _, err = run(*words, capsys=capsys)
    assert status == 2 and "its clips have labels, this call names none" in err
    assert (tmp_path / "set/annotation/train.txt").is_file()


def test_videos_that_a_csv_leaves_out_keep_their_clips_until_told_otherwise(tmp_path, capsys):
    for name in "abc":
        film(tmp_path / f"in/{name}.mp4", move(20))
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    assert run(*words)[0] == 0
    words += ["--labels", write(tmp_path / "l.csv", "video,label\nb,Fatigue\nc,Confusion\n")]
    status, _, err = run(*words, capsys=capsys)
    assert status == 2 and "1 video not named now, or not in --labels" in err and len(clips(tmp_path / "set")) == 3
    assert run(*words, "--drop-others")[0] == 0
    assert clips(tmp_path / "set") == ["b/b_0001", "c/c_0001"]


def test_texts_stay_when_a_class_comes_and_are_kept_when_one_goes(tmp_path):
    for name in ("Bored", "Keen"):
        film(tmp_path / f"in/{name}/a.mp4", move(20))
    words, path = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN], tmp_path / "set/annotation/classes.json"
    assert run(*words)[0] == 0
    write(path, path.read_text(encoding="utf-8").replace("A face that shows bored.", "Heavy eyes."))
    film(tmp_path / "in/Angry/a.mp4", move(20))
    assert run(*words)[0] == 0
    classes = json.loads(path.read_text(encoding="utf-8"))["classes"]
    assert [entry["name"] for entry in classes] == ["Angry", "Bored", "Keen"]
    assert "Heavy eyes." in classes[1]["prompt_ensemble"]
    shutil.rmtree(tmp_path / "in/Bored")
    assert run(*words, "--drop-others")[0] == 0
    assert "Heavy eyes." not in path.read_text(encoding="utf-8")
    assert "Heavy eyes." in path.with_name("classes.previous.json").read_text(encoding="utf-8")


def test_a_video_without_clips_may_go(tmp_path, capsys):
    film(tmp_path / "in/a.mp4", move(20))
    film(tmp_path / "in/b.mp4", [picture(None)] * 40)
    words = [tmp_path / "in", "--out", tmp_path / "set", *PLAIN]
    assert run(*words)[0] == 0
    (tmp_path / "in/b.mp4").unlink()
    assert run(*words)[0] == 0
    assert [path.stem for path in (tmp_path / "set/.prepared/videos").iterdir()] == ["a"]


def test_nothing_is_dropped_for_videos_of_which_no_clip_is_left(tmp_path, capsys):
    film(tmp_path / "a.mp4", move(20))
    film(tmp_path / "b.mp4", [picture(None)] * 40)
    out = tmp_path / "set"
    assert run(tmp_path / "a.mp4", "--out", out, *PLAIN)[0] == 0
    status, _, err = run(tmp_path / "b.mp4", "--out", out, *PLAIN, "--drop-others", capsys=capsys)
    assert status == 2 and "no clip is left of 1 video" in err and clips(out) == ["a/a_0001"]


def test_copies_may_be_moved_together(tmp_path, capsys):
    film(tmp_path / "in/monday/a.mp4", move(20))
    shutil.copytree(tmp_path / "in/monday", tmp_path / "in/tuesday")  # with their times
    out = tmp_path / "set"
    assert run(tmp_path / "in/monday", tmp_path / "in/tuesday", "--out", out, *PLAIN)[0] == 0
    (tmp_path / "in").rename(tmp_path / "moved")
    days = tmp_path / "moved/monday", tmp_path / "moved/tuesday"
    status, said, _ = run(*days, "--out", out, *PLAIN, capsys=capsys)
    assert status == 0 and "2 of 2 videos done" in said
