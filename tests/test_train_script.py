"""``bash train.sh`` on data of one's own, in RAER's layout: read from frames, or from a pack that it makes once."""

import os
import subprocess
import sys

import pytest

from tests.support.tiny import write_set
from tests.support.tools import FAST, ROOT

QUICK = [*FAST, "--epochs", "1", "--milestones", "--no-mistake-frames", "--ci", "off", "--amp", "off"]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    base = tmp_path_factory.mktemp("own data")  # a folder with a space in its name
    write_set(base / "RAER root", clips=30, frames=6)

    def call(*words, **environment):
        known = {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "RAER_ROOT": str(base / "RAER root")}
        return subprocess.run(
            ["bash", "train.sh", *words],
            cwd=ROOT,
            env=os.environ | known | environment,
            capture_output=True,
            text=True,
            timeout=240,
        )

    return base, call


def test_a_pack_is_made_once_with_the_recipes_crops_and_read(train):
    base, call = train
    for run in ("first", "second"):
        done = call(
            *QUICK,
            "--missing-face",
            "frame",
            "--no-crop-body",
            "--output-dir",
            str(base / run),
            RAER_PACK=str(base / "the pack"),
        )
        assert done.returncode == 0, done.stderr
        assert f"crops from the pack {base / 'the pack'}" in done.stdout
        assert ("packed 30 clips" in done.stdout) == (run == "first")


def test_without_one_it_is_offered(train):
    done = train[1](*QUICK, "--dry-run")
    assert done.returncode == 0 and "RAER_PACK=DIR stores their crops there once" in done.stdout, done.stderr


def test_a_pack_without_raer_is_one_line(train):
    done = train[1](RAER_ROOT="", RAER_PACK="crops")
    assert done.returncode == 2 and done.stderr.startswith("error: RAER_PACK=") and done.stderr.count("\n") == 1
