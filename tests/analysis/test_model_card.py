"""model_card.md: facts of the run, unknown facts named as unknown, written beside best.pt."""

import json
import math
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from analysis.model_card import UNKNOWN, hub_card, model_card, short_path
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


def test_averaged_weights_are_called_so(tmp_path):
    assert "epoch 2 of 3, moving average (--ema 0.999) |" in card_of(tmp_path / "run", ema=0.999)
    assert "moving average" not in card_of(tmp_path / "plain")


def test_data_selection_and_doubts_are_those_of_the_run(tmp_path):
    card = card_of(tmp_path / "run", test_annotation="/home/me/lists/test.txt", note="Drawn students.")
    assert "**Note of the data set: Drawn students.**" in card
    assert "| train list | a/train.txt |" in card and "| test list | test.txt |" in card and "/home" not in card
    assert "- train: 383 clips of 22 persons: Neutrality 150, Enjoyment 150, Confusion 83" in card
    assert "epoch 2 of 3" in card and "The epoch was selected on validation clips by UAR." in card
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


# -- the header that the Hugging Face hub reads ----------------------------------------------------------------------


def hub_card_of(folder: Path, *given, note: str | None = None, licence: str = "other", **options) -> ModelCard:
    run = read_run(write_run(folder, *given, **options))
    return ModelCard(hub_card(run, note, method_named(run.option("model")), licence, "model.safetensors"))


def test_the_header_has_the_scores_with_their_intervals(tmp_path):
    card = hub_card_of(tmp_path / "run", licence="mit")
    assert card.data.license == "mit" and card.data.metrics == ["recall", "accuracy", "f1"]
    values = [(result.metric_type, result.metric_value, result.metric_name) for result in card.data.eval_results]
    assert values == [
        ("recall", 74.05, "UAR (mean recall of the classes) in percent, 95 % interval 61.50 – 83.25"),
        ("accuracy", 81.44, "WAR (accuracy) in percent, 95 % interval 70.00 – 88.00"),
        ("f1", 71.0, "Macro F1 in percent, 95 % interval 60.00 – 80.00"),
    ]
    results = card.data.to_dict()["model-index"][0]["results"][0]
    assert results["dataset"] == {"type": "raer", "name": "RAER", "split": "test"}
    assert "- These weights: mit." in card.text and "| weights | model.safetensors, epoch 2 of 3 |" in card.text


def test_scores_that_are_optimistic_say_so_in_the_header(tmp_path):
    results = hub_card_of(tmp_path / "run", class_metrics(selected_on="test: optimistic")).data.eval_results
    assert all("optimistic: the epoch was selected on the same data" in result.metric_name for result in results)


def test_drawn_people_and_own_classes_do_not_get_the_name_of_a_published_set(tmp_path):
    card = hub_card_of(tmp_path / "drawn", note="Drawings of simulated people.")
    assert card.data.eval_results[0].dataset_name == "simulated people in the layout of RAER"
    assert "simulated-data" in card.data.tags and card.data.datasets == ["simulated-people-in-the-layout-of-raer"]
    card = hub_card_of(tmp_path / "own", class_texts="mine.json")
    assert card.data.eval_results[0].dataset_name == "own class texts, lists as of RAER"


def test_the_header_of_long_videos_and_of_numbers(tmp_path):
    videos = hub_card_of(tmp_path / "videos", video_metrics()).data
    values = {result.metric_name.split(",")[0]: result.metric_value for result in videos.eval_results}
    assert values == {"Valence and arousal": -0.1, "Expression": 0.5} and videos.datasets is None
    metrics = number_metrics()
    numbers = hub_card_of(tmp_path / "numbers", metrics).data.eval_results[0]
    assert numbers.metric_value == 0.66 and numbers.metric_name == "CCC of withdrawal, 95 % interval 0.400 – 0.800"
    assert numbers.dataset_split == "cross-validation" and numbers.dataset_name == UNKNOWN
    metrics["targets"]["withdrawal"]["ccc"] = -0.0001
    zero = hub_card_of(tmp_path / "zero", metrics).data.eval_results[0].metric_value
    assert math.copysign(1, zero) == 1


@pytest.mark.parametrize(
    "title", ['a "name": [x]', "---", "a\nb: c", "# no", "é 😀 \x7f\u2028", "yes", "1e3", "{a}", "'"]
)
def test_a_name_of_any_letters_is_one_text_of_the_header(tmp_path, title):
    data = hub_card_of(tmp_path / "run", exper_name=title).data
    expected = title.replace("\n", "\\n").replace("\x7f", "\\x7f").replace("\u2028", "\\u2028")
    assert data.model_name == expected and len(data.eval_results) == 3
