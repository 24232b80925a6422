"""The first scripts of a user: help without an installation, wrong folders, an installed torch."""

import os
import shutil
import subprocess

import pytest

from tests.support.tools import ROOT


def bash(*words, **environment):
    return subprocess.run(
        ["bash", *words], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=600
    )


@pytest.fixture
def bare_python(tmp_path):
    """A Python with only the standard library."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nexec python3 -S -E "$@"\n')
    python.chmod(0o755)
    return python


@pytest.mark.parametrize(("script", "mode"), [("train.sh", "train"), ("valid.sh", "eval")])
def test_help_works_without_packages(script, mode, bare_python):
    run = bash(script, "--help", PYTHON=str(bare_python))
    assert run.returncode == 0, run.stderr
    assert (
        f"bash {script}" in run.stdout and f"usage: main.py --mode {mode}" in run.stdout and "--root-dir" in run.stdout
    )


@pytest.mark.parametrize("words", [["main.py", "--mode", "report", "x"], ["-m", "dataloader.audit"]])
def test_a_python_without_packages_is_sent_to_the_environment_that_has_them(words, bare_python, tmp_path):
    """A copy of the project, without an environment and then with one."""
    root = tmp_path / "project"
    root.mkdir()
    for path in ROOT.iterdir():
        if path.suffix == ".py" or (path / "__init__.py").exists():
            (root / path.name).symlink_to(path) if path.name != "utils" else shutil.copytree(path, root / "utils")
    (root / "main.py").unlink()
    shutil.copy(ROOT / "main.py", root)

    def error():
        run = subprocess.run([bare_python, *words], cwd=root, capture_output=True, text=True, timeout=600)
        assert run.returncode == 2 and run.stderr.count("\n") == 1, run.stderr
        return run.stderr

    executable = subprocess.check_output([bare_python, "-c", "import sys; print(sys.executable)"], text=True).strip()
    assert f" is not installed for {executable}: run `bash setup.sh`\n" in error()
    (root / ".venv/bin").mkdir(parents=True)
    (root / ".venv/bin/python").touch()
    expected = "run .venv/bin/python instead, or `source .venv/bin/activate`"
    assert f" is not installed for {executable}: {expected}\n" in error()


@pytest.mark.parametrize("script", ["train.sh", "valid.sh"])
@pytest.mark.parametrize("name", ["RAER_ROOT", "RAER_ANNOTATION"])
def test_a_missing_folder_gives_a_one_line_error_with_its_variable(script, name, tmp_path):
    folders = {"RAER_ROOT": str(tmp_path)} | {name: str(tmp_path / "gone")}
    run = bash(script, **folders)
    assert run.returncode == 2
    assert run.stderr == f"error: {name}={tmp_path}/gone is no folder; correct its path\n"


def test_with_an_installed_torch_other_packages_need_only_the_same_major_version(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "# a comment\ntorch==2.13.0   # tensors\ntorchvision==0.28.0\nsetuptools<81\nnumpy==2.4.6 # arrays\n"
        "jinja2==3.1.6\nsafetensors==0.8.0\n-r more.txt\n"
    )
    command = (
        f'eval "$(sed -n "/^around_torch/,/^}}/p" setup.sh)"; around_torch 2.11.0+cu128 {tmp_path}/requirements.txt'
    )
    run = bash("-c", command)
    assert run.stdout.split() == [
        "torch==2.11.0+cu128",
        "torchvision",  # the installer finds the one that fits this torch
        "setuptools<81",
        "numpy>=2,==2.*",
        "jinja2>=3,==3.*",
        "safetensors>=0.8,==0.*",
    ]
