"""Commands of the documents parse, files that they name exist, and recipes have the described settings."""

import contextlib
import io
import json
import re
import runpy
import shlex
import subprocess
import sys
import types
from dataclasses import asdict
from functools import cache
from pathlib import Path

import pytest
import torch

import main
from dataloader.classes import load_classes
from engine.config import read_command, warnings_of
from engine.model import build_model
from engine.options import value_of
from tests.support.scripts import run_python
from tests.support.tools import RANDOM_CLIP, ROOT

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
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", [module, "--help"])
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert not end.value.code, module
    return set(re.findall(r"--[a-z][a-z-]*", out.getvalue()))


def test_the_documents_have_commands():
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
    for name in re.findall(rf"`((?:{PACKAGES})/[\w./-]*)`", text):
        assert (ROOT / name).exists(), f"{document.name}: {name}"


def readme_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [" ".join(line.split("#")[0].split()) for block in blocks for line in block.splitlines()]
    return list(dict.fromkeys(line for line in lines if line))


@pytest.mark.parametrize("command", readme_commands())
def test_a_command_of_the_readme_works_or_names_the_environment_in_a_new_shell(command, tmp_path):
    """``python`` has no packages, as in a shell in which the environment is not activated."""
    for name in ("python", "python3"):
        (tmp_path / name).write_text('#!/bin/sh\nexec /usr/bin/env -u PYTHONPATH "$BASE_PYTHON" -S -E "$@"\n')
        (tmp_path / name).chmod(0o755)
    (tmp_path / "about.json").touch()  # a set that exists
    environment = {
        "PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path), "OMP_NUM_THREADS": "1",
        "BASE_PYTHON": sys.executable, "SIMULATED_ROOT": str(tmp_path), "RAER_ROOT": "",
    }  # fmt: skip
    command = command.replace("/data/RAER", str(tmp_path))
    is_script = re.search(r"bash (train|valid)\.sh", command)
    if is_script:
        environment["PYTHON"] = sys.executable  # what setup.sh would find or make
        command += " --dry-run"
    if not is_script and not command.startswith("python"):
        assert command.split()[0] == "source" or (ROOT / command.split()[1]).is_file(), command
        return
    run = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
    )
    if is_script:
        assert run.returncode == 0 and "--root-dir" in run.stdout, run.stderr
    else:
        mend = ".venv/bin/activate" if (ROOT / ".venv/bin/python").exists() else "bash setup.sh"
        assert run.returncode == 0 or (run.returncode == 2 and mend in run.stderr), run.stderr
        assert run.stderr.count("\n") <= 1 and "Traceback" not in run.stderr, run.stderr


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path, monkeypatch, capfd):
    """On the smallest set, without the installation, and with pictures counted instead of shown."""
    pictures = []
    module = types.ModuleType("IPython.display")
    module.Image = module.Video = lambda *args, **options: pictures.append(str(options.get("filename") or args[0]))
    module.Markdown, module.display = str, lambda *objects: None
    ipython = types.ModuleType("IPython")
    ipython.get_ipython, ipython.version_info = lambda: None, (9, 0)  # matplotlib asks for them
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(ROOT / "docs")
    cells = json.loads((ROOT / "docs/quickstart.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    commands = []

    class Command:
        """A command of the notebook, in this process."""

        def __init__(self, words: tuple[str, ...], **_: object) -> None:
            assert words[0] == sys.executable
            run = run_python([*words[1:]])
            commands.append(run.status)
            self.stdout, self.wait = (run.out + run.err).splitlines(keepends=True), lambda: run.status

    monkeypatch.setattr(subprocess, "Popen", Command)
    for default, value in (
        ("QUICK = False", "QUICK = True"), ("INSTALL = True", "INSTALL = False"),
        ('"data/raer-tiny"', repr(str(tmp_path / "set"))), ('"outputs/quickstart-quick"', repr(str(tmp_path / "run"))),
    ):  # fmt: skip
        assert source.count(default) == 1
        source = source.replace(default, value)
    exec(source, {})
    assert commands == [0] * 4 and "UAR" in capfd.readouterr().out
    assert {Path(path).name for path in pictures} >= {
        "curves.png",
        "confusion_matrix.png",
        "timeline.png",
        "overlay.mp4",
    }
    assert all(Path(path).is_file() for path in pictures)


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size < 9000


RECIPES = {path.stem: path for path in sorted((ROOT / "recipes").glob("*.args"))}
CONFIGS = {name: read_command([f"@{path}", "--dry-run"])[1] for name, path in RECIPES.items()}
TRAINING = [name for name, c in CONFIGS.items() if (c.run.mode, c.model.task) == ("train", "classification")]


def config_of(name: str, *extra: str):
    return read_command([f"@{RECIPES[name]}", *extra])[1]


def test_the_recipes_that_scripts_and_documents_name_exist():
    assert {"demo", "simulated", "mini_clip"} <= set(RECIPES) and {"clip_caer", "advanced"} <= set(TRAINING)
    assert CONFIGS["mini_clip"].run.mode == "pretrain-clip"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_parses_and_has_a_head_comment(name):
    config_of(name)
    assert RECIPES[name].read_text(encoding="utf-8").startswith("# ")


DOUBTS = {"rapt": ["--use-weighted-sampler and --ldam published both correct", "selected on test"]}  # as published


@pytest.mark.parametrize("name", TRAINING)
def test_a_recipe_of_training_builds_classifies_and_warns_only_of_what_is_published(name):
    config = config_of(name, *RANDOM_CLIP)
    warnings, doubts = warnings_of(config), DOUBTS.get(name, [])
    assert len(warnings) == len(doubts) and all(map(str.__contains__, warnings, doubts)), warnings
    model, shape = build_model(config, load_classes(config.data.dataset))
    assert shape["image_size"] == 64
    streams = [config.model.streams in ("both", stream) for stream in ("face", "context")]
    pixels = [torch.rand(1, config.data.num_segments, 3, 64, 64) if is_read else None for is_read in streams]
    with torch.no_grad():
        assert model.eval()(*pixels).logits.isfinite().all()


@pytest.mark.parametrize("name", TRAINING)
def test_flags_after_a_recipe_win(name):
    changed, expected = asdict(config_of(name, "--epochs", "3", "--lr", "0.25", "--seed", "7")), asdict(config_of(name))
    assert changed["optim"]["epochs"] == 3 and changed["optim"]["lr"] == 0.25
    assert changed["run"] == expected["run"] | {"seed": 7}


SETTINGS = {
    # the published method with its doubtful choices
    "clip_caer": """--optimizer SGD --momentum 0.9 --weight-decay 1e-4 --lr 1e-2 --lr-image-encoder 1e-5
        --lr-prompt-learner 1e-3 --lr-fusion 1e-5 --epochs 20 --batch-size 8 --milestones 10 15 --gamma 0.1 --amp off
        --grad-clip 0 --sampling published --no-shared-augmentation --normalize none --missing-face frame
        --num-segments 16 --duration 1 --image-size 224 --temperature 0.01 --adapter none --slerp-weight 0
        --contexts-number 8 --class-token-position end --class-specific-contexts --clip-path ViT-B/32
        --text-type class_descriptor --temporal-layers 1 --mi-loss-weight 0 --dc-loss-weight 0 --label-smoothing 0
        --no-logit-adj --no-class-balanced-loss --no-use-weighted-sampler --focal-gamma 0""",
    # numbers of the paper and its code
    "dfer_clip": """--model dfer-clip --lr 1e-2 --lr-image-encoder 1e-5 --lr-prompt-learner 1e-3 --weight-decay 1e-4
        --momentum 0.9 --epochs 50 --batch-size 48 --milestones 30 40 --contexts-number 8 --temperature 0.01
        --num-segments 16 --dropout 0 --random-crop 0.08 --normalize none --seed 1 --max-angle 0""",
    # the logged run of RAPT
    "rapt": """--clip-path ViT-B/16 --text-type prompt_ensemble --contexts-number 8 --class-token-position end
        --class-specific-contexts --temporal-layers 1 --temporal-pool attention --dropout 0.1 --adapter published
        --adapter-dropout 0.5 --slerp-weight 0 --temperature 0.07 --mi-loss-weight 0.1 --mi-warmup 5 --mi-ramp 10
        --dc-loss-weight 0.1 --dc-warmup 5 --dc-ramp 10 --ldam published --ldam-margin 0.5 --use-weighted-sampler
        --no-class-balanced-loss --no-logit-adj --label-smoothing 0 --num-segments 16 --normalize none --brightness 0.5
        --contrast 0.5 --saturation 0.5 --hue 0.2 --grayscale 0.2 --random-erasing 0 --max-angle 4 --flip
        --optimizer AdamW --weight-decay 0.005 --lr 2e-5 --lr-fusion 2e-5 --lr-image-encoder 1e-6
        --lr-prompt-learner 3e-4 --lr-adapter 1e-4 --epochs 20 --batch-size 4 --milestones 10 15 --gamma 0.1 --amp fp16
        --grad-clip 1 --seed 42 --select-on test --test-annotation t""",
    # the seed recipe with the corrections on
    "advanced": """--sampling whole --shared-augmentation --adapter residual --lr 3e-4 --lr-image-encoder 1e-6
        --lr-prompt-learner 1e-3 --lr-adapter 1e-4 --optimizer SGD --epochs 50 --batch-size 8 --milestones 20 35
        --contexts-number 12 --temperature 0.07 --slerp-weight 0.5 --mi-loss-weight 0.7 --mi-warmup 3 --mi-ramp 8
        --dc-loss-weight 1.2 --dc-warmup 5 --dc-ramp 10 --logit-adj --logit-adj-tau 1.0 --no-use-weighted-sampler
        --label-smoothing 0.05""",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_recipe_has_the_settings_of_its_method(name):
    expected, config = read_command(SETTINGS[name].split())[0], config_of(name)
    expected.pop("test_annotation", None)  # only so that --select-on test is accepted
    assert {option: value_of(config, option) for option in expected} == expected
