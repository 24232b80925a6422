"""The command line as a whole: quick answers without torch, dry runs, and the published command."""

import re
import subprocess
import sys

import pytest

from engine.options import MODES, options_by_name
from main import main
from tests.support.tools import ROOT, error_of, run_main
from utils.config import flag_of

PUBLISHED = """--mode train --exper-name EAA_IEC_MI_Balanced --gpu 0 --epochs 50 --batch-size 8 --lr 0.0003
--lr-image-encoder 1e-6 --lr-prompt-learner 0.001 --lr-adapter 1e-4 --mi-loss-weight 0.7 --dc-loss-weight 1.2
--slerp-weight 0.5 --logit-adj --logit-adj-tau 0.5 --temperature 0.07 --root-dir R --train-annotation T
--test-annotation V --bounding-box-face F --bounding-box-body B --clip-path ViT-B/32 --contexts-number 12""".split()

WITHOUT_TORCH = """
import sys
sys.path.insert(0, {root!r})
import main
try:
    status = main.main({arguments!r})
except SystemExit as stop:
    status = stop.code
heavy = [name for name in ("torch", "torchvision", "clip", "cv2", "matplotlib", "sklearn") if name in sys.modules]
print("status", status, "imported", *heavy)
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--epoch", "3"], 2),
        (["--lr", "fast"], 2),
        (["--mode", "eval"], 2),
        ([*PUBLISHED, "--dry-run"], 0),
        ([f"@{ROOT}/recipes/advanced.args", "--dry-run"], 0),
    ],
)
def test_help_flag_errors_and_dry_runs_do_not_import_torch(arguments, status):
    code = WITHOUT_TORCH.format(root=str(ROOT), arguments=arguments)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert process.stdout.splitlines()[-1].strip() == f"status {status} imported", (
        process.stdout[-300:] + process.stderr
    )
    if status == 2:
        assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([*arguments, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_names_the_modes_and_the_most_common_flags(capsys):
    text = help_of(capsys)
    assert all(f"\n  {mode} " in text for mode in MODES)
    assert "--batch-size" in text and "--dc-ramp" not in text and len(text.splitlines()) < 90


def test_help_of_a_mode_lists_its_flags_and_no_others(capsys):
    texts, fields = {mode: help_of(capsys, "--mode", mode) for mode in MODES}, options_by_name()
    flags = {name: flag_of(name) for name, field in fields.items() if not field.metadata["positional"]}
    for mode, text in texts.items():
        expected = {flag for name, flag in flags.items() if mode in fields[name].metadata["modes"]}
        assert set(re.findall(r"^  (--[a-z0-9_-]+)", text, re.MULTILINE)) == expected, mode
        assert ("FILE ..." in text) == (mode in fields["files"].metadata["modes"]), mode
    for flag in (*flags.values(), "--lambda_mi", "--lambda-dc", "--load_and_tune_prompt_learner"):
        assert any(flag in text for text in texts.values()), flag
    assert "invalid choice: 'fly'" in error_of(["--mode", "fly", "--help"], capsys)


@pytest.mark.parametrize("words", [["--resume", "outputs/run"], ["--mode", "eval", "--eval-checkpoint", "best.pt"]])
def test_a_dry_run_says_which_options_it_has_not_read(words, capsys):
    for more, is_named in ((words, True), (["--resume", "auto"], False)):
        assert main([*more, "--dry-run"]) == 0
        assert (f"the options stored in {words[-1]}, which" in capsys.readouterr().out) == is_named


def test_a_dry_run_prints_every_option_of_the_published_command_and_writes_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*PUBLISHED, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    values = dict(line.removeprefix("  * ").split(maxsplit=1) for line in lines if "*" in line)
    expected = {"--mi-loss-weight": "0.7", "--dc-loss-weight": "1.2", "--exper-name": "EAA_IEC_MI_Balanced"}
    expected |= {"--logit-adj-tau": "0.5", "--root-dir": "R", "--test-annotation": "V"}
    assert {flag: values[flag] for flag in expected} == expected
    for name, field in options_by_name().items():
        assert any(("[FILE]" if field.metadata["positional"] else flag_of(name)) in line for line in lines), name
    assert list(tmp_path.iterdir()) == []


def test_the_published_command_runs_with_its_paths_swapped(tiny_flags, tmp_path):
    swapped = dict(zip(["R", "T", "V", "F", "B"], tiny_flags.values(), strict=True))
    command = [swapped.get(word, word) for word in PUBLISHED]
    run = run_main([*command, "--clip-path", "random", "--image-size", "64", "--epochs", "1"], tmp_path / "run").ok()
    assert "Traceback" not in run.err and (run.folder / "metrics.json").is_file()
    assert len(run.predictions) == 20 and set(tiny_flags) <= set(PUBLISHED)


def test_without_a_name_the_run_is_written_below_outputs(tiny_arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [*tiny_arguments, "--mode", "zero-shot", "--exper-name", "a name: [with] signs"]
    assert main(arguments) == 0
    (folder,) = (tmp_path / "outputs").iterdir()
    assert folder.name.startswith("a_name_with_signs-") and (folder / "metrics.json").is_file()


def test_a_package_that_is_missing_is_named_in_one_line(monkeypatch, capsys):
    for module in ("apps.predict.run", "apps.predict.predictor", "dataloader.video"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["--mode", "predict", "--onnx", "x.onnx", "--input", "x.mp4"]) == 2
    assert capsys.readouterr().err.startswith(f"error: av is not installed for {sys.executable}: run ")


def test_a_module_of_our_own_that_is_missing_keeps_its_traceback(monkeypatch):
    monkeypatch.setitem(sys.modules, "apps.predict.run", None)
    with pytest.raises(ModuleNotFoundError):
        main(["--mode", "predict", "--onnx", "x.onnx", "--input", "x.mp4"])
