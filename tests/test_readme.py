"""Every command of the documents parses; every file, section and test that they name exists."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "annotation/README.md", ROOT / "weights/README.md"]
PACKAGES = "analysis|apps|benchmarks|dataloader|docs|engine|models|recipes|simulate|sweep|tests|utils|weights"


def commands() -> list[str]:
    """Return the commands in bash blocks, and those between backquotes, of all documents."""
    commands = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
            commands += [line for line in block.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
        text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        commands += re.findall(r"`((?:[A-Z_]+=\S+ )*(?:python|bash|torchrun) [^`]*(?:main\.py|\.sh| -m )?[^`]*)`", text)
    return list(dict.fromkeys(" ".join(command.split()) for command in commands))


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_documents_parses(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = [word for word in shlex.split(command, comments=True) if not re.fullmatch(r"[A-Z_]+=\S+", word)]
    if words[0] == "torchrun":
        words = ["python", *words[words.index("main.py") :]]
    if words[:2] == ["python", "main.py"] and "--help" in words:
        with pytest.raises(SystemExit) as end:
            main.main(["train" if word == "MODE" else word for word in words[2:]])
        assert end.value.code == 0
    elif words[:2] == ["python", "main.py"]:
        assert main.main([*words[2:], "--dry-run"]) == 0, capsys.readouterr().err
    elif words[0] == "bash":
        assert subprocess.run(["bash", "-n", words[1]], cwd=ROOT).returncode == 0
        flags = [word for word in words[2:] if not word.startswith("outputs/")]
        if words[1] == "train.sh":
            assert main.main(["@recipes/demo.args", *flags, "--dry-run"]) == 0, capsys.readouterr().err
    else:
        assert words[:2] == ["python", "-m"], command
        flags = {word for word in words[3:] if word.startswith("--")}
        assert flags <= flags_of(words[2]), command


@cache
def flags_of(module: str) -> set[str]:
    """Return the flags of ``python -m module``."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, "--help"]
    help_text = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"--[a-z][a-z-]*", help_text))


def test_there_are_commands_to_test():
    assert sum("main.py" in command for command in commands()) >= 4


def sections(document: Path) -> set[str]:
    """Return the names by which links reach the sections of a document."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_of_a_document_exist(document):
    text = document.read_text(encoding="utf-8")
    for target, section in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        path = document.parent / target if target else document
        assert path.exists(), f"{document.name}: {target}"
        assert not section or section in sections(path), f"{document.name}: {target}#{section}"
    if document.name == "architecture.md":  # names files by their folder
        return
    for name in re.findall(rf"`((?:{PACKAGES})/[\w./-]*)`", text):
        assert (ROOT / name).exists(), f"{document.name}: {name}"


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size < 9000
