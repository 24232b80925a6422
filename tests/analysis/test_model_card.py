"""model_card.md: facts of the run, unknown facts named as unknown, written beside best.pt."""

import json
import re
from pathlib import Path

import pytest

from analysis.model_card import UNKNOWN, model_card, short_path
from analysis.report.runs import read_run
from engine.methods import method_named
from tests.support.affect import write_set as write_videos
from tests.support.run_folders import class_metrics, number_metrics, video_metrics, write_run
from tests.support.tiny import as_arguments, write_set
from tests.support.tools import FAST, run_main

SECTIONS = ["What it is", "Data", "Protocol", "Scores", "Known limits", "Use", "Licences", "How to run it"]


def card_of(folder: Path, *given, note: str | None = None, **options) -> str:
    run = read_run(write_run(folder, *given, **options))
    return model_card(run, note, method_named(run.option("model")))


def test_scores_have_intervals_and_supports(tmp_path):
    card = card_of(tmp_path / "run")
    assert re.findall("^## (.+)$", card, re.MULTILINE) == SECTIONS
    assert "| UAR | 74.05 % | 61.50 – 83.25 |" in card and "| Confusion | 57.1 % | 40.0 – 100.0 | 7 |" in card
    assert "95 % intervals: bootstrap over the 12 test persons, 2000 samples." in card
    assert "expected calibration error 11.50 %, temperature 1.750, fitted on val" in card


def test_data_selection_and_doubts_are_those_of_the_run(tmp_path):
    card = card_of(tmp_path / "run", test_annotation="/home/me/lists/test.txt", note="Drawn students.")
    assert "**Note of the data set: Drawn students.**" in card
    assert "| train list | a/train.txt |" in card and "| test list | test.txt |" in card and "/home" not in card
    assert "- train: 383 clips of 22 persons: Neutrality 150, Enjoyment 150, Confusion 83" in card
    assert "epoch 2 of 3" in card and "The epoch was selected on validation clips." in card
    limits = card.split("## Known limits")[1].split("## Use")[0]
    assert (
        limits.count("12 of 12 test persons are in train") == 1
        and "Confusion has 7, so one clip changes UAR by 4.76 points" in limits
    )


def test_unmeasured_and_unknown_facts_are_named_as_such(tmp_path):
    card = card_of(tmp_path / "run", class_metrics(is_new=False), facts=None)
    assert "Intervals: not measured." in card and "Calibration: not measured." in card
    assert f"Clips and persons: {UNKNOWN}." in card and "| weights | best.pt |" in card


def test_use_and_licences_are_never_left_out(tmp_path):
    for number, metrics in enumerate((class_metrics(), video_metrics(), number_metrics())):
        card = card_of(tmp_path / str(number), metrics)
        for words in ("Not for judging single students", "consented", "MIT", "OpenAI's CLIP weights", "non-commercial"):
            assert words in card
        assert "--mode eval --eval-checkpoint best.pt" in card


def test_long_videos_and_numbers_have_their_own_scores(tmp_path):
    facts = {"data": {"validation": {"videos": 2, "contents": ["2 videos, 11 frames"]}}}
    videos = card_of(tmp_path / "videos", video_metrics(), facts=facts)
    assert (
        "| Expression, macro F1 | 0.500 | 0.100 – 0.900 | 6 |" in videos
        and "The epoch was selected on the scored videos, so the score is optimistic." in videos
    )
    assert "- validation: 2 videos, 11 frames" in videos
    assert "fold 0" in videos and "--features DIR" in videos
    numbers = card_of(tmp_path / "numbers", number_metrics())
    row = "| withdrawal | 0.900 | 1.100 | 0.670 | 0.660 | 0.400 – 0.800 | 30 |"
    assert row in numbers and "--targets FILE.csv" in numbers


@pytest.mark.parametrize(("path", "expected"), [("a/b.txt", "a/b.txt"), ("/x/y/b.txt", "b.txt"), (None, UNKNOWN)])
def test_folders_of_a_machine_are_left_out(path, expected):
    assert short_path(path) == expected


def test_a_training_of_clips_writes_it(tmp_path):
    flags = as_arguments(write_set(tmp_path / "set", clips=15, persons=3, frames=4))
    (tmp_path / "set/about.json").write_text(json.dumps({"note": "Rectangles."}), encoding="utf-8")
    run = run_main([*FAST, *flags, "--select-on", "last", "--epochs", "1"], tmp_path / "run")
    card = (run.folder / "model_card.md").read_text(encoding="utf-8")
    assert (run.folder / "best.pt").is_file() and "Note of the data set: Rectangles." in card
    assert f"UAR is {run.metrics['uar']:.1f} %" in card and "epoch 1 of 1" in card
    support = run.metrics["per_class"]["Fatigue"]["support"]
    assert re.search(rf"\| Fatigue \|.*\| {support} \|", card)
    assert run.facts["best"] == {"epoch": 1, "epochs": 1} and run.facts["data"]["test"]["classes"]["Fatigue"] == support
    assert re.search(r"- face boxes: 15 of 15 clips \(100.0%\), \d+ of 60 frames", card)
    warnings = [line.removeprefix("warning: ") for line in run.out.splitlines() if line.startswith("warning: ")]
    assert [warning["text"] for warning in run.facts["warnings"]] == list(dict.fromkeys(warnings))
    command = ["--mode", "eval", "--eval-checkpoint", str(run.folder / "best.pt"), *flags, "--device", "cpu"]
    again = run_main([*command, "--workers", "0"], tmp_path / "again")
    assert again.status == 0 and not (again.folder / "model_card.md").exists()  # only a run with weights has a card


def test_a_training_of_long_videos_writes_it(tmp_path):
    small = "--model sequence --window 20 --stride 20 --transformer-layers 1 --tcn-channels 8 --device cpu --epochs 1"
    run = run_main([*small.split(), *write_videos(tmp_path / "set")], tmp_path / "run")
    assert run.status == 0, run.err
    card = (run.folder / "model_card.md").read_text(encoding="utf-8")
    assert f"{run.metrics['va']['ccc']:.3f}" in card and "- validation: 2 videos" in card
