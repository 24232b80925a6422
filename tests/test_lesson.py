"""python -m benchmarks.lesson: what cannot be done is said in one line, before anything is drawn."""

import pytest

from benchmarks import lesson


@pytest.fixture
def nothing_drawn(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(lesson, "write_set", lambda *_: pytest.fail("drawn"))


@pytest.mark.parametrize(
    "words, said",
    [
        ("--nope", "unrecognized arguments: --nope"),
        ("--out l.txt", "--out l.txt: expected a file that ends in .mp4"),
        ("--out .", "--out .: expected a file that ends in .mp4"),
        ("--out file/l.mp4", "--out file: file exists"),
        ("--picture p.gif", "--picture p.gif: expected a file that ends in .jpg or .jpeg or .png"),
        ("--picture p.jpg --checkpoint nope.pt", "nope.pt: no such checkpoint file"),
    ],
)
def test_mistakes_end_before_anything_is_drawn(words, said, nothing_drawn, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert lesson.main(words.split()) == 2
    assert capsys.readouterr().err == f"error: {said}\n"


def test_a_root_that_holds_something_else_is_named_by_its_flag(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    assert lesson.main(["--root-dir", "mine", "--out", "new/lesson.mp4"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: --root-dir mine exists and is no set of this generator") and "--out" not in err
    assert err.count("\n") == 1 and (tmp_path / "new").is_dir()


def test_ctrl_c_while_drawing_ends_in_one_line(tmp_path, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(lesson, "write_set", interrupted)
    assert lesson.main(["--out", str(tmp_path / "l.mp4")]) == 130
    assert capsys.readouterr().err == "\nstopped by Ctrl-C\n"
