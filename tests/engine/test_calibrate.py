"""--calibrate, --abstain and --ci through the command line."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss, recall_score

from main import main
from tests.support.drawn import flags
from tests.support.tiny import NAMES, write_set
from tests.support.tools import RANDOM_CLIP, error_of, run_main, run_ok

EVAL = ["--mode", "eval", "--workers", "0", "--device", "cpu", "--eval-checkpoint"]
SHORT = "--epochs 2 --milestones --optimizer AdamW --lr 1e-3 --lr-image-encoder 1e-3 --lr-prompt-learner 3e-3".split()
SHORT += ["--temperature", "0.02", "--normalize", "clip"]
SURE = "0.5"
HALF = "0.42"  # about half of the 20 answers are more confident, some of them false


def numbers(run, kind):
    return np.array([[float(row[f"{kind}_{name}"]) for name in NAMES] for row in run.predictions])


def classes(run, column="label"):
    return np.array([NAMES.index(row[column]) for row in run.predictions])


def stored_calibration(path):
    return torch.load(path, weights_only=True)["calibration"]


@pytest.fixture(scope="module")
def words(tiny_arguments, tiny_flags):
    """A training too short to be accurate, with the training clips as validation clips."""
    return [*tiny_arguments, *SHORT, "--val-annotation", tiny_flags["--train-annotation"]]


@pytest.fixture(scope="module")
def calibrated(words, tmp_path_factory):
    return run_ok([*words, "--calibrate", "--abstain", SURE], tmp_path_factory.mktemp("calibrated") / "run")


@pytest.fixture(scope="module")
def best(calibrated):
    return str(calibrated.folder / "best.pt")


@pytest.fixture(scope="module")
def trained_best(trained):
    return str(trained.folder / "best.pt")


def test_the_temperature_is_the_best_on_the_validation_clips(best, tiny_flags, tmp_path, capsys):
    """Fitted again by a solver, from the predictions for the validation list."""
    raw = run_main(
        [*EVAL, best, "--test-annotation", tiny_flags["--train-annotation"], "--no-calibrate"], tmp_path / "r"
    )
    logits, label = numbers(raw, "logit"), classes(raw)

    def loss(log_temperature):
        powers = np.exp((logits - logits.max(axis=1, keepdims=True)) / np.exp(log_temperature))
        return log_loss(label, powers / powers.sum(axis=1, keepdims=True), labels=range(5))

    expected = np.exp(minimize_scalar(loss, bounds=(-6, 6), method="bounded", options={"xatol": 1e-9}).x)
    calibration = stored_calibration(best)
    assert calibration == {"temperature": pytest.approx(expected, rel=1e-3), "fitted_on": "val", "clips": 40}
    assert abs(calibration["temperature"] - 1) > 0.05  # otherwise the other tests would pass without calibration
    assert raw.metrics["calibration"]["temperature"] == 1 and raw.metrics["calibration"]["fitted_on"] is None
    assert raw.metrics["calibration"]["nll"] == pytest.approx(loss(0), rel=1e-5)
    capsys.readouterr()
    assert main(["--mode", "inspect", best]) == 0
    assert f"temperature {calibration['temperature']:.3f}, fitted on 40 val clips" in capsys.readouterr().out
    assert main(["--mode", "convert", best, "--output-dir", str(tmp_path)]) == 0
    assert stored_calibration(tmp_path / "best.pt") == calibration


@pytest.mark.parametrize(("clips", "is_warned"), [(29, True), (30, False)])
def test_a_temperature_from_few_clips_causes_a_warning(best, calibrated, tiny_flags, tmp_path, clips, is_warned):
    """The run itself was fitted on 40 clips."""
    content = torch.load(best, weights_only=True)
    content["calibration"]["clips"] = clips
    torch.save(content, tmp_path / "few.pt")
    words = [*EVAL, str(tmp_path / "few.pt"), "--test-annotation", tiny_flags["--test-annotation"]]
    run = run_ok(words, tmp_path / "run")
    assert any("fitted on only 29 clips" in warning["text"] for warning in run.facts["warnings"]) is is_warned
    assert not any("only 29 clips" in warning["text"] for warning in calibrated.facts["warnings"])


def test_the_temperature_changes_probabilities_but_no_predicted_class(calibrated, best, words, tmp_path):
    powers = np.exp(numbers(calibrated, "logit") / calibrated.metrics["calibration"]["temperature"])
    assert np.allclose(numbers(calibrated, "prob"), powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    plain = run_main(words, tmp_path / "run")
    for name in ("clip", "label", "predicted", *(f"logit_{n}" for n in NAMES)):
        assert [row[name] for row in plain.predictions] == [row[name] for row in calibrated.predictions]
    scores = ("uar", "war", "macro_f1", "confusion", "intervals", "per_class")
    assert all(plain.metrics[name] == calibrated.metrics[name] for name in scores)
    raw = calibrated.metrics["calibration"]["raw"]
    assert raw == {name: plain.metrics["calibration"][name] for name in ("ece", "nll", "brier")}
    assert "without the temperature" in calibrated.out and "answered" not in plain.predictions[0]
    again = run_main([*EVAL, best], tmp_path / "eval")
    assert (again.folder / "predictions.csv").read_bytes() == (calibrated.folder / "predictions.csv").read_bytes()
    assert again.metrics == calibrated.metrics


def test_a_run_that_is_finished_again_has_the_same_result(words, tmp_path):
    run = run_main([*words, "--calibrate"], tmp_path / "run")
    files = [run.folder / name for name in ("predictions.csv", "metrics.json")]
    before, calibration = [file.read_bytes() for file in files], stored_calibration(run.folder / "best.pt")
    files[1].unlink()
    run_ok(["--resume", str(run.folder)], run.folder)
    assert [file.read_bytes() for file in files] == before
    assert stored_calibration(run.folder / "best.pt") == calibration


def test_a_finished_run_may_be_calibrated_later(calibrated, words, tmp_path):
    run = run_main(words, tmp_path / "run")
    file, resume = run.folder / "predictions.csv", ["--resume", str(run.folder)]
    before, expected = file.read_bytes(), (calibrated.folder / "predictions.csv").read_bytes()
    assert "is complete" in run_main(resume, run.folder).out and file.read_bytes() == before
    run_ok([*resume, "--calibrate", "--abstain", SURE, "--no-mistake-frames"], run.folder)
    assert file.read_bytes() == expected != before
    assert "is complete" in run_main([*resume, "--calibrate"], run.folder).out and file.read_bytes() == expected


def test_calibration_without_validation_clips_gives_a_one_line_error(tiny_arguments, trained_best, capsys, tmp_path):
    arguments = [*tiny_arguments, "--calibrate", "--select-on", "last", "--output-dir", str(tmp_path / "run")]
    assert "--calibrate needs validation clips" in error_of(arguments, capsys)
    assert not (tmp_path / "run").exists()  # before the first epoch
    message = error_of([*EVAL, trained_best, "--calibrate"], capsys)
    assert "best.pt holds no temperature" in message and "--mode train --calibrate" in message


# -- withheld answers -----------------------------------------------------------------------------------------------


def test_withheld_answers_are_those_below_the_threshold(best, tmp_path):
    run = run_main([*EVAL, best, "--abstain", HALF, "--ci", "clips"], tmp_path / "run")
    sure = numbers(run, "prob").max(axis=1) >= float(HALF)
    assert [row["answered"] for row in run.predictions] == [str(int(value)) for value in sure]
    assert 0 < sure.sum() < 20
    label, predicted, scores = classes(run)[sure], classes(run, "predicted")[sure], run.metrics["abstain"]
    assert (scores["threshold"], scores["answered"], scores["coverage"]) == (float(HALF), sure.sum(), sure.mean())
    present = sorted(set(label))
    assert scores["uar"] == pytest.approx(100 * recall_score(label, predicted, labels=present, average="macro"))
    assert scores["war"] == pytest.approx(100 * (label == predicted).mean())
    assert scores["absent_classes"] == [name for c, name in enumerate(NAMES) if c not in present]
    for name in ("war", "coverage"):
        assert scores["intervals"][name][0] < scores[name] < scores["intervals"][name][1]
    assert f"--abstain {HALF}: {sure.sum()} of 20 answered" in run.out


@pytest.mark.parametrize(("threshold", "answered"), [("1", 0), ("0", 20)])
def test_all_or_no_answers_may_be_withheld(trained_best, tmp_path, threshold, answered):
    run = run_ok([*EVAL, trained_best, "--abstain", threshold], tmp_path / "run")
    scores = run.metrics["abstain"]
    assert scores["answered"] == answered == sum(row["answered"] == "1" for row in run.predictions)
    if answered:
        assert all(scores[name] == run.metrics[name] for name in ("uar", "war"))
        assert scores["intervals"]["uar"] == run.metrics["intervals"]["uar"]
    else:
        assert scores["uar"] is scores["war"] is None and "all 20 are withheld" in run.out


# -- what is resampled ----------------------------------------------------------------------------------------------


def test_persons_are_resampled_unless_ci_says_clips_or_off(trained, trained_best, tmp_path):
    assert {row["person"].rpartition("/")[2] for row in trained.predictions} == {"P004", "P005"}
    intervals = trained.metrics["intervals"]
    assert (intervals["resampled"], intervals["groups"], intervals["replicates"]) == ("persons", 2, 2000)
    assert trained.out.count("narrower than they should be") == 1
    clips, off = (run_main([*EVAL, trained_best, "--ci", ci], tmp_path / ci) for ci in ("clips", "off"))
    assert clips.metrics["intervals"]["resampled"] == "clips" and clips.metrics["intervals"]["groups"] == 20
    assert "intervals" not in off.metrics and "interval" not in off.out
    assert all("interval" not in row for row in off.metrics["per_class"].values())
    assert (off.folder / "predictions.csv").read_bytes() == (clips.folder / "predictions.csv").read_bytes()


def test_unknown_persons_with_ci_persons_give_a_one_line_error(drawn, capsys, tmp_path):
    words = [*flags("dfew", drawn("dfew")), *RANDOM_CLIP, "--mode", "zero-shot", "--ci", "persons", "--fold", "1"]
    message = error_of([*words, "--workers", "0", "--output-dir", str(tmp_path / "run")], capsys)
    assert "--ci persons" in message and not (tmp_path / "run").exists()


@pytest.mark.parametrize("clips", [1, 5])
def test_one_clip_and_one_person_have_no_interval_and_say_so(trained_best, tmp_path, clips):
    data = write_set(tmp_path / "set", clips=clips, persons=1, frames=4)
    lists = ["--root-dir", data["--root-dir"], "--test-annotation", data["--test-annotation"]]
    run = run_ok([*EVAL, trained_best, *lists], tmp_path / "run")
    assert run.metrics["intervals"]["uar"] is None and "no intervals: two " in run.out and "[" not in run.out
    assert run.metrics["num_clips"] == clips


def test_answers_that_are_not_finite_give_a_one_line_error(trained_best, capsys, tmp_path):
    content = torch.load(trained_best, weights_only=True)
    content["model"]["fuse.weight"] = 3e38 * content["model"]["fuse.weight"].float().sign()
    torch.save(content, tmp_path / "damaged.pt")
    message = error_of([*EVAL, str(tmp_path / "damaged.pt"), "--output-dir", str(tmp_path / "run")], capsys)
    assert "20 of 20 predictions are not finite" in message
