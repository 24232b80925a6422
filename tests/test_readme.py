"""Every command of the documents parses; every file that they name exists."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "annotation/README.md", ROOT / "weights/README.md"]


def commands() -> list[str]:
    found = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL):
            found += [line for line in block.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
        found += re.findall(r"^\| `([^`]*(?:main\.py|\.sh)[^`]*)` \|", text, flags=re.MULTILINE)
    return found


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_documents_parses(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    words = [word for word in shlex.split(command, comments=True) if not re.fullmatch(r"[A-Z_]+=\S+", word)]
    if words[0] == "torchrun":
        words = ["python", *words[words.index("main.py") :]]
    if words[:2] == ["python", "main.py"] and "--help" not in words:
        assert main.main([*words[2:], "--dry-run"]) == 0, capsys.readouterr().err
    elif words[0] == "bash":
        assert subprocess.run(["bash", "-n", words[1]], cwd=ROOT).returncode == 0
        flags = [word for word in words[2:] if not word.startswith("outputs/")]
        if words[1] == "train.sh":
            assert main.main(["@recipes/demo.args", *flags, "--dry-run"]) == 0, capsys.readouterr().err
    else:
        assert words[:2] in (["python", "main.py"], ["python", "-m"]), command
        if words[1] == "-m":
            module = ROOT / words[2].replace(".", "/")
            assert module.with_suffix(".py").exists() or (module / "__main__.py").exists()


def test_there_are_commands_to_test():
    assert sum("main.py" in command for command in commands()) >= 4


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_a_document_lead_somewhere(document):
    for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name}: {target}"
