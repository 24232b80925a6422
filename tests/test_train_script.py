"""bash train.sh on a user's data in RAER's layout: from frames, or from a pack that is written once."""

import pytest

from tests.support.scripts import run_script
from tests.support.tiny import write_set
from tests.support.tools import FAST, one_line

QUICK = [*FAST, "--num-segments", "2", "--epochs", "1", "--milestones", "--no-mistake-frames", "--ci", "off"]
QUICK += ["--amp", "off"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a space in its name that holds a data set."""
    base = tmp_path_factory.mktemp("own data")
    write_set(base / "RAER root", clips=25, persons=5, frames=2)
    return base


def train(base, *words, **environment):
    """Run train.sh on the set of the user."""
    return run_script(base / "screen", "train.sh", *words, **{"RAER_ROOT": str(base / "RAER root")} | environment)


def test_a_pack_is_written_once_with_the_crops_of_the_recipe_and_read(base):
    for folder in ("first", "second"):
        words = [*QUICK, "--missing-face", "frame", "--no-crop-body", "--output-dir", str(base / folder)]
        run = train(base, *words, RAER_PACK=str(base / "the pack")).ok()
        assert f"crops from the pack {base / 'the pack'}" in run.out
        assert ("packed 25 clips" in run.out) == (folder == "first")


def test_without_a_pack_the_script_proposes_one(base):
    run = train(base, *QUICK, "--dry-run").ok()
    assert "RAER_PACK=DIR stores their crops there once" in run.out


def test_a_pack_without_raer_gives_a_one_line_error(base):
    assert one_line(train(base, RAER_ROOT="", RAER_PACK="crops")).startswith("error: RAER_PACK=")


def test_the_study_compares_all_recipes_and_continues_where_it_was_stopped(base):
    """On a set of the user; with a folder for results alone the script draws one."""
    words = [base / "study", base / "RAER root", *QUICK, "--seeds", "2"]
    for _ in range(2):
        run = run_script(base / "screen", "recipes/study.sh", *words).ok()
        times = {file: file.stat().st_mtime_ns for file in (base / "study").rglob("best.pt")}
    names = {file.parent.parent.name for file in times}
    assert {"clip_caer", "advanced", "rapt", "best", "without-logit-adjustment"} <= names
    assert "already done" in run.out and "is complete (1 epochs, scored)" in run.out
    for name in ("report/report.html", "drop-one/ablation.md", "comparison/rapt/comparison.md"):
        assert (base / "study" / name).stat().st_size > 0


@pytest.mark.parametrize("name", ["study", "stills_to_video", "abaw"])
def test_a_script_without_a_folder_for_results_gives_a_one_line_error(name, tmp_path):
    assert one_line(run_script(tmp_path, f"recipes/{name}.sh")).startswith("error: name ")
