"""--calibrate, --abstain and --ci through the command line."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss, recall_score

from main import main
from tests.support.drawn import flags
from tests.support.tiny import NAMES, write_set
from tests.support.tools import RANDOM_CLIP, error_of, run_main

EVAL = ["--mode", "eval", "--workers", "0", "--device", "cpu", "--eval-checkpoint"]
SHORT = "--epochs 2 --milestones --optimizer AdamW --lr 1e-3 --lr-image-encoder 1e-3 --lr-prompt-learner 3e-3".split()
SHORT += ["--temperature", "0.02", "--normalize", "clip"]
SURE = "0.5"


def numbers(run, kind):
    return np.array([[float(row[f"{kind}_{name}"]) for name in NAMES] for row in run.predictions])


def labels(run):
    return np.array([NAMES.index(row["label"]) for row in run.predictions])


@pytest.fixture(scope="module")
def words(tiny_arguments, tiny_flags):
    """Too short a training to be right; the training clips stand in for validation."""
    return [*tiny_arguments, *SHORT, "--val-annotation", tiny_flags["--train-annotation"]]


@pytest.fixture(scope="module")
def calibrated(words, tmp_path_factory):
    run = run_main([*words, "--calibrate", "--abstain", SURE], tmp_path_factory.mktemp("calibrated") / "run")
    assert run.status == 0, run.err
    return run


@pytest.fixture(scope="module")
def best(calibrated):
    return str(calibrated.folder / "best.pt")


def test_the_temperature_is_the_best_on_the_validation_clips(calibrated, best, tiny_flags, tmp_path):
    """Found again by a solver from the predictions of the validation list."""
    more = ["--test-annotation", tiny_flags["--train-annotation"], "--no-calibrate"]
    raw = run_main([*EVAL, best, *more], tmp_path / "run")
    logits, label = numbers(raw, "logit"), labels(raw)

    def loss(log_temperature):
        powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / np.exp(log_temperature))
        return log_loss(label, powers / powers.sum(axis=1, keepdims=True), labels=range(5))

    expected = np.exp(minimize_scalar(loss, bounds=(-6, 6), method="bounded", options={"xatol": 1e-9}).x)
    kept = torch.load(best, weights_only=True)["calibration"]
    assert kept == {"temperature": pytest.approx(expected, rel=1e-3), "fitted_on": "val", "clips": 40}
    assert abs(kept["temperature"] - 1) > 0.05  # what follows would hold without any
    assert raw.metrics["calibration"]["temperature"] == 1 and raw.metrics["calibration"]["fitted_on"] is None
    assert raw.metrics["calibration"]["nll"] == pytest.approx(loss(0), rel=1e-5)


def test_inspecting_shows_it_and_converting_keeps_it(best, capsys, tmp_path):
    kept = torch.load(best, weights_only=True)["calibration"]
    assert main(["--mode", "inspect", best]) == 0
    assert f"temperature {kept['temperature']:.3f}, fitted on 40 val clips" in capsys.readouterr().out
    assert main(["--mode", "convert", best, "--output-dir", str(tmp_path)]) == 0
    assert torch.load(tmp_path / "best.pt", weights_only=True)["calibration"] == kept


def test_probabilities_are_divided_by_it_and_answers_are_not_changed(calibrated, words, tmp_path):
    temperature = calibrated.metrics["calibration"]["temperature"]
    powers = np.exp(numbers(calibrated, "logit") / temperature)
    assert np.allclose(numbers(calibrated, "prob"), powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    plain = run_main(words, tmp_path / "run")
    for name in ("clip", "label", "predicted", *(f"logit_{n}" for n in NAMES)):
        assert [row[name] for row in plain.predictions] == [row[name] for row in calibrated.predictions]
    scores = ("uar", "war", "macro_f1", "confusion", "intervals", "per_class")
    assert all(plain.metrics[name] == calibrated.metrics[name] for name in scores)
    raw = calibrated.metrics["calibration"]["raw"]
    assert raw == {name: plain.metrics["calibration"][name] for name in ("ece", "nll", "brier")}
    assert "without the temperature" in calibrated.out and "answered" not in plain.predictions[0]


def test_evaluation_gives_the_same_bytes(calibrated, best, tmp_path):
    done = run_main([*EVAL, best], tmp_path / "run")
    assert (done.folder / "predictions.csv").read_bytes() == (calibrated.folder / "predictions.csv").read_bytes()
    assert done.metrics == calibrated.metrics


def test_a_run_that_ends_again_ends_the_same(calibrated, words, tmp_path):
    run = run_main([*words, "--calibrate"], tmp_path / "run")
    before = {name: (run.folder / name).read_bytes() for name in ("predictions.csv", "metrics.json")}
    kept = torch.load(run.folder / "best.pt", weights_only=True)["calibration"]
    (run.folder / "metrics.json").unlink()
    again = run_main(["--resume", str(run.folder)], run.folder)
    assert again.status == 0, again.err
    assert {name: (run.folder / name).read_bytes() for name in before} == before
    assert torch.load(run.folder / "best.pt", weights_only=True)["calibration"] == kept


def test_a_finished_run_may_be_calibrated_later(calibrated, words, tmp_path):
    run = run_main(words, tmp_path / "run")
    before = (run.folder / "predictions.csv").read_bytes()
    again = run_main(["--resume", str(run.folder)], run.folder)
    assert "is complete" in again.out and (run.folder / "predictions.csv").read_bytes() == before
    later = run_main(["--resume", str(run.folder), "--calibrate", "--abstain", SURE, "--no-mistake-frames"], run.folder)
    assert later.status == 0, later.err
    expected = (calibrated.folder / "predictions.csv").read_bytes()
    assert (run.folder / "predictions.csv").read_bytes() == expected != before
    again = run_main(["--resume", str(run.folder), "--calibrate"], run.folder)
    assert "is complete" in again.out and (run.folder / "predictions.csv").read_bytes() == expected


def test_no_validation_clips_are_one_line_before_the_first_epoch(tiny_arguments, capsys, tmp_path):
    arguments = [*tiny_arguments, "--calibrate", "--select-on", "last", "--output-dir", str(tmp_path / "run")]
    assert "--calibrate needs validation clips" in error_of(arguments, capsys)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_without_a_temperature_cannot_be_asked_for_it(trained, capsys):
    message = error_of([*EVAL, str(trained.folder / "best.pt"), "--calibrate"], capsys)
    assert "best.pt holds no temperature" in message and "--mode train --calibrate" in message


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--mode", "zero-shot", "--calibrate"], "--calibrate belongs to"),
        (["--mode", "predict", "--no-calibrate"], "--calibrate belongs to --mode train, eval, ablate, not to"),
        (["--mode", "compare", "a", "b", "--abstain", "0.5"], "--abstain belongs to --mode train"),
        (["--mode", "cache", "--ci", "off"], "--ci belongs to --mode train"),
        (["--mode", "cache", "--no-mistake-frames"], "--mistake-frames belongs to --mode train"),
        (["--mode", "inspect", "x.pt", "--abstain", "0.5"], "--abstain belongs to --mode train"),
        (["--abstain", "1.5"], "at most 1"),
        (["--model", "sequence", "--ci", "clips"], "whole videos"),
        (["--model", "sequence", "--calibrate"], "--calibrate True means nothing to --model sequence"),
        (["--ci", "all"], "--ci"),
    ],
)
def test_what_cannot_be_meant_is_one_line(words, part, capsys):
    assert part in error_of(words, capsys)


# -- withheld answers -----------------------------------------------------------------------------------------------


def test_withheld_answers_are_those_below_the_threshold(best, tmp_path):
    run = run_main([*EVAL, best, "--abstain", SURE, "--ci", "clips"], tmp_path / "run")
    sure = numbers(run, "prob").max(axis=1) >= float(SURE)
    assert [row["answered"] for row in run.predictions] == [str(int(value)) for value in sure]
    assert 0 < sure.sum() < 20
    predicted = np.array([NAMES.index(row["predicted"]) for row in run.predictions])[sure]
    label, found = labels(run)[sure], run.metrics["abstain"]
    assert (found["threshold"], found["answered"], found["coverage"]) == (float(SURE), sure.sum(), sure.mean())
    there = sorted(set(label))
    assert found["uar"] == pytest.approx(100 * recall_score(label, predicted, labels=there, average="macro"))
    assert found["war"] == pytest.approx(100 * (label == predicted).mean())
    assert found["absent_classes"] == [name for c, name in enumerate(NAMES) if c not in there]
    assert found["intervals"]["war"][0] < found["war"] < found["intervals"]["war"][1]
    assert found["intervals"]["coverage"][0] < found["coverage"] < found["intervals"]["coverage"][1]
    assert f"--abstain {SURE}: {sure.sum()} of 20 answered" in run.out


@pytest.mark.parametrize(("threshold", "answered"), [("1", 0), ("0", 20)])
def test_all_or_nothing_is_said(trained, tmp_path, threshold, answered):
    run = run_main([*EVAL, str(trained.folder / "best.pt"), "--abstain", threshold], tmp_path / "run")
    assert run.status == 0, run.err
    found = run.metrics["abstain"]
    assert found["answered"] == answered == sum(row["answered"] == "1" for row in run.predictions)
    if answered:
        assert {name: found[name] for name in ("uar", "war")} == {name: run.metrics[name] for name in ("uar", "war")}
        assert found["intervals"]["uar"] == run.metrics["intervals"]["uar"]
    else:
        assert found["uar"] is found["war"] is None and "all 20 are withheld" in run.out


# -- what is drawn again --------------------------------------------------------------------------------------------


def test_persons_are_named_and_drawn(trained):
    assert {row["person"].rpartition("/")[2] for row in trained.predictions} == {"P004", "P005"}
    about = trained.metrics["intervals"]
    assert (about["resampled"], about["groups"], about["replicates"]) == ("persons", 2, 2000)
    assert trained.out.count("narrower than they should be") == 1


def test_clips_or_nothing_are_drawn_where_asked(trained, tmp_path):
    best = str(trained.folder / "best.pt")
    clips, off = (run_main([*EVAL, best, "--ci", ci], tmp_path / ci) for ci in ("clips", "off"))
    assert clips.metrics["intervals"]["resampled"] == "clips" and clips.metrics["intervals"]["groups"] == 20
    assert "intervals" not in off.metrics and "interval" not in off.out
    assert all("interval" not in row for row in off.metrics["per_class"].values())
    assert (off.folder / "predictions.csv").read_bytes() == (clips.folder / "predictions.csv").read_bytes()


def test_persons_that_nobody_knows_are_one_line(drawn, capsys, tmp_path):
    words = [*flags("dfew", drawn("dfew")), *RANDOM_CLIP, "--mode", "zero-shot", "--ci", "persons", "--fold", "1"]
    message = error_of([*words, "--workers", "0", "--output-dir", str(tmp_path / "run")], capsys)
    assert "--ci persons" in message and not (tmp_path / "run").exists()


@pytest.mark.parametrize("clips", [1, 5])
def test_one_clip_and_one_person_have_no_interval_and_say_so(trained, tmp_path, clips):
    named = write_set(tmp_path / "set", clips=clips, persons=1, frames=4)
    test = ["--root-dir", named["--root-dir"], "--test-annotation", named["--test-annotation"]]
    run = run_main([*EVAL, str(trained.folder / "best.pt"), *test], tmp_path / "run")
    assert run.status == 0, run.err
    assert run.metrics["intervals"]["uar"] is None and "no intervals: two " in run.out and "[" not in run.out
    assert run.metrics["num_clips"] == clips


def test_answers_that_are_no_numbers_are_one_line(trained, capsys, tmp_path):
    stored = torch.load(trained.folder / "best.pt", weights_only=True)
    stored["model"]["fuse.weight"] = 3e38 * stored["model"]["fuse.weight"].float().sign()
    torch.save(stored, tmp_path / "hurt.pt")
    message = error_of([*EVAL, str(tmp_path / "hurt.pt"), "--output-dir", str(tmp_path / "run")], capsys)
    assert "20 of 20 answers are not finite" in message
