"""bash train.sh on a user's data in RAER's layout: from frames, or from a pack that is written once."""

import os
import subprocess
import sys

import pytest

from tests.support.tiny import write_set
from tests.support.tools import FAST, ROOT

QUICK = [*FAST, "--epochs", "1", "--milestones", "--no-mistake-frames", "--ci", "off", "--amp", "off"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a space in its name that holds a data set."""
    base = tmp_path_factory.mktemp("own data")
    write_set(base / "RAER root", clips=30, frames=6)
    return base


def train(base, *words, **environment):
    settings = {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "RAER_ROOT": str(base / "RAER root")} | environment
    command = ["bash", "train.sh", *words]
    return subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, timeout=240)


def test_a_pack_is_written_once_with_the_crops_of_the_recipe_and_read(base):
    for folder in ("first", "second"):
        words = [*QUICK, "--missing-face", "frame", "--no-crop-body", "--output-dir", str(base / folder)]
        run = train(base, *words, RAER_PACK=str(base / "the pack"))
        assert run.returncode == 0, run.stderr
        assert f"crops from the pack {base / 'the pack'}" in run.stdout
        assert ("packed 30 clips" in run.stdout) == (folder == "first")


def test_without_a_pack_the_script_proposes_one(base):
    run = train(base, *QUICK, "--dry-run")
    assert run.returncode == 0 and "RAER_PACK=DIR stores their crops there once" in run.stdout, run.stderr


def test_a_pack_without_raer_gives_a_one_line_error(base):
    run = train(base, RAER_ROOT="", RAER_PACK="crops")
    assert run.returncode == 2 and run.stderr.startswith("error: RAER_PACK=") and run.stderr.count("\n") == 1


def test_the_study_compares_all_recipes_and_continues_where_it_was_stopped(base):
    """On a set of the user; with a folder for results alone the script draws one."""
    words = [base / "study", base / "RAER root", *QUICK, "--workers", "0", "--seeds", "2"]
    command = ["bash", str(ROOT / "recipes/study.sh"), *map(str, words)]
    settings = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    for _ in range(2):
        run = subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=240)
        assert run.returncode == 0, run.stderr
        times = {file: file.stat().st_mtime_ns for file in (base / "study").rglob("best.pt")}
    names = {file.parent.parent.name for file in times}
    assert {"clip_caer", "advanced", "rapt", "best", "without-logit-adjustment"} <= names
    assert "already done" in run.stdout and "is complete (1 epochs, scored)" in run.stdout
    for name in ("report/report.html", "drop-one/ablation.md", "comparison/rapt/comparison.md"):
        assert (base / "study" / name).stat().st_size > 0


@pytest.mark.parametrize("name", ["study", "stills_to_video", "abaw"])
def test_a_script_without_a_folder_for_results_gives_a_one_line_error(name):
    settings = os.environ | {"PYTHON": sys.executable}
    run = subprocess.run(["bash", f"recipes/{name}.sh"], cwd=ROOT, env=settings, capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.startswith("error: name ") and run.stderr.count("\n") == 1
