"""Regression over subjects: who is tested in which fold, that nothing leaks, and the way through the command line."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from analysis.metrics import agreement
from engine.config import make_config
from engine.regress import cross_validate, subject_folds
from tests.support.tools import ROOT, error_of, run_main
from utils.errors import UserError

# -- folds ----------------------------------------------------------------------------------------------------------


def sized(*sizes):
    """Subjects of so many clips, in no order."""
    subjects = [f"s{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return [subjects[i] for i in np.random.default_rng(0).permutation(len(subjects))]


@pytest.mark.parametrize("sizes", [(4,) * 20, (1, 2, 3, 4, 5, 6, 7, 8, 9), (50, 1, 1, 1, 1, 1, 1), tuple(range(1, 31))])
@pytest.mark.parametrize("count", [2, 5])
def test_every_subject_is_in_one_fold_and_folds_are_of_like_size(sizes, count):
    subjects = sized(*sizes)
    folds = subject_folds(subjects, count, seed=0)
    assert folds.shape == (len(subjects),) and sorted(set(folds)) == list(range(count))
    for subject in set(subjects):
        assert len({fold for fold, s in zip(folds, subjects, strict=True) if s == subject}) == 1
    filled = np.bincount(folds)
    assert filled.max() - filled.min() <= max(sizes)


def test_subjects_of_one_size_fill_folds_equally():
    assert np.bincount(subject_folds(sized(*[3] * 20), 5, seed=4)).tolist() == [12] * 5


def test_folds_are_the_same_each_time_and_others_with_another_seed():
    subjects = sized(*[3] * 20)
    one = subject_folds(subjects, 5, seed=0)
    assert np.array_equal(one, subject_folds(subjects, 5, seed=0))
    assert any(not np.array_equal(one, subject_folds(subjects, 5, seed=seed)) for seed in (1, 2, 3))


def test_a_subject_keeps_its_fold_when_clips_change_places():
    subjects = sized(*[3] * 20)
    fold_of = dict(zip(subjects, subject_folds(subjects, 5, seed=0), strict=True))
    assert dict(zip(subjects[::-1], subject_folds(subjects[::-1], 5, seed=0), strict=True)) == fold_of


def test_fewer_subjects_than_folds_are_each_left_out_once():
    assert sorted(np.bincount(subject_folds(sized(5, 2, 3), 10, seed=0))) == [2, 3, 5]


def test_one_subject_cannot_be_left_out():
    with pytest.raises(UserError, match="anna") as caught:
        subject_folds(["anna"] * 9, 5, seed=0)
    assert "--targets" in str(caught.value) and "\n" not in str(caught.value)


# -- leakage --------------------------------------------------------------------------------------------------------


def test_who_it_is_says_nothing_about_who_was_never_seen():
    """A number drawn for each subject and features that name the subject: known clips are told, new subjects not."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(40), 6)
    features = np.eye(40)[subjects] * 3 + 0.1 * rng.normal(size=(240, 40))
    values = rng.normal(size=40)[subjects][:, None]
    config = make_config(
        {"model": "emoclip", "task": "regression", "lr": 3e-3, "optimizer": "AdamW", "epochs": 40, "batch_size": 32}
        | {"milestones": (30,)}
    )

    def concordance(folds):
        tensors = (torch.from_numpy(part).float() for part in (features, values))
        return agreement(values[:, 0], cross_validate(*tensors, folds, config)[:, 0])["ccc"]

    assert concordance(subject_folds([str(s) for s in subjects], 5, seed=0)) < 0.15
    assert concordance(rng.integers(5, size=240)) > 0.8  # where subjects are in both, the same features tell all


# -- command line ---------------------------------------------------------------------------------------------------

CAPTIONS = "--model emoclip --caption-source class --epochs 1 --milestones --lr 0.01".split()
REGRESS = "--model emoclip --task regression --optimizer AdamW --lr 1e-3 --epochs 5 --milestones --batch-size 16"


@pytest.fixture(scope="module")
def captioned(tiny_arguments, tmp_path_factory):
    done = run_main([*tiny_arguments, *CAPTIONS], tmp_path_factory.mktemp("emoclip") / "run")
    assert done.status == 0, done.err
    return done


def rows_of(root):
    """Clips of 6 persons: a number that shows in the picture, and one that is known of some."""
    for file in ("train", "test"):
        for line in (root / f"annotation/{file}.txt").read_text().split("\n")[:-1]:
            name, _, label = line.split()
            clip = int(name[-3:])
            yield name, name.split("/")[-2], int(label) + clip / 100, "" if clip % 4 == 0 else clip


@pytest.fixture(scope="module")
def scores(tiny_flags, tmp_path_factory):
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    rows = rows_of(Path(tiny_flags["--root-dir"]))
    path.write_text("clip,subject,redness,number\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def regressed(captioned, scores, fast, tmp_path_factory):
    more = ["--init-from", str(captioned.folder / "best.pt"), "--targets", str(scores), "--subject-folds", "3"]
    done = run_main([*fast, *REGRESS.split(), *more], tmp_path_factory.mktemp("regress") / "run")
    assert done.status == 0, done.err
    return done


@pytest.fixture(scope="module")
def fast(tiny_flags):
    return ["--workers", "0", "--device", "cpu", "--root-dir", tiny_flags["--root-dir"]]


def check_scores(run, scores):
    """metrics.json against scikit-learn and numpy on predictions.csv, whose truths are those of the file."""
    with open(scores, newline="") as file:
        given = {row["clip"]: row for row in csv.DictReader(file)}
    assert [row["clip"] for row in run.predictions] == list(given)
    for name in ("redness", "number"):
        rows = [row for row in run.predictions if row[f"true_{name}"] != ""]
        true = np.array([float(row[f"true_{name}"]) for row in rows])
        guess = np.array([float(row[f"predicted_{name}"]) for row in rows])
        assert true == pytest.approx([float(given[row["clip"]][name]) for row in rows])
        assert len(rows) == sum(row[name] != "" for row in given.values())
        got = run.metrics["targets"][name]
        assert got["clips"] == len(rows)
        assert got["mae"] == pytest.approx(sk.mean_absolute_error(true, guess), rel=1e-5)
        assert got["rmse"] == pytest.approx(sk.mean_squared_error(true, guess) ** 0.5, rel=1e-5)
        assert got["pearson"] == pytest.approx(np.corrcoef(true, guess)[0, 1], abs=1e-5)
    assert all(row[f"predicted_{n}"] != "" for row in run.predictions for n in ("redness", "number"))


def test_each_subject_is_predicted_by_a_readout_of_the_others(regressed, scores):
    check_scores(regressed, scores)
    folds = {}
    for row in regressed.predictions:
        folds.setdefault(row["subject"], set()).add(row["fold"])
    assert len(folds) == 6 and all(len(own) == 1 for own in folds.values())
    assert set.union(*folds.values()) == {"1", "2", "3"}
    assert regressed.metrics["subjects"] == 6 and regressed.metrics["clips"] == 60
    assert (regressed.folder / "agreement.png").stat().st_size > 1000
    assert "6 subjects" in regressed.out and regressed.err == ""
    about = regressed.metrics["intervals"]
    assert (about["resampled"], about["groups"]) == ("subjects", 6) and "narrower than they should be" in regressed.out
    low, high = about["targets"]["redness"]["ccc"]
    assert low <= regressed.metrics["targets"]["redness"]["ccc"] <= high and f"[{low:.3f}, {high:.3f}]" in regressed.out


def test_the_readout_that_is_kept_is_evaluated(regressed, scores, fast, tmp_path):
    best = str(regressed.folder / "best.pt")
    done = run_main([*fast, "--mode", "eval", "--eval-checkpoint", best, "--targets", str(scores)], tmp_path / "run")
    assert done.status == 0, done.err
    check_scores(done, scores)
    assert done.metrics["subjects"] == 6


def test_the_kept_video_model_is_the_one_it_started_from(regressed, captioned):
    kept, first = (torch.load(run.folder / "best.pt", weights_only=True)["model"] for run in (regressed, captioned))
    assert set(kept) - set(first) == {f"readout.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
    assert all(torch.equal(kept[name].float(), value.float()) for name, value in first.items())


def test_what_is_kept_says_how_wide_faces_were(regressed):
    assert torch.load(regressed.folder / "best.pt", weights_only=True)["face_width"] == 40.0  # of every box


@pytest.mark.parametrize("mode", ["eval", "zero-shot"])
def test_faces_of_another_size_are_a_warning(regressed, captioned, scores, fast, tiny_flags, tmp_path, mode):
    source = regressed if mode == "eval" else captioned
    content = torch.load(source.folder / "best.pt", weights_only=True) | {"face_width": 20.0}
    torch.save(content, tmp_path / "other.pt")
    lists = {"eval": ["--targets", str(scores)], "zero-shot": ["--test-annotation", tiny_flags["--test-annotation"]]}
    boxes = ["--bounding-box-face", tiny_flags["--bounding-box-face"]]
    flags = [*fast, "--mode", mode, "--eval-checkpoint", str(tmp_path / "other.pt"), *lists[mode], *boxes]
    done = run_main(flags, tmp_path / "run")
    assert done.status == 0, done.err
    assert "around 40 pixels wide here and 20 in training" in done.out


def test_a_caption_model_is_evaluated_as_it_was_scored(captioned, tiny_flags, fast, tmp_path):
    more = ["--test-annotation", tiny_flags["--test-annotation"], "--mode", "eval"]
    for flag in ("--bounding-box-face", "--bounding-box-body"):
        more += [flag, tiny_flags[flag]]
    done = run_main([*fast, *more, "--eval-checkpoint", str(captioned.folder / "best.pt")], tmp_path / "run")
    assert done.status == 0, done.err
    assert (done.folder / "predictions.csv").read_text() == (captioned.folder / "predictions.csv").read_text()


# -- what cannot be meant -------------------------------------------------------------------------------------------


@pytest.fixture
def command(captioned, scores, fast, tmp_path, capsys):
    """The error of the regression command with its targets replaced and more flags behind it."""

    def run(*more, content=None, init=None, targets=None):
        targets = targets or scores
        if content is not None:
            targets = tmp_path / "own.csv"
            targets.write_text(content)
        words = ["--init-from", str(init or captioned.folder / "best.pt"), "--targets", str(targets)]
        folder = tmp_path / "run"
        message = error_of([*fast, *REGRESS.split(), *words, "--output-dir", str(folder), *more], capsys)
        assert not (folder / "best.pt").exists() and not (folder / "metrics.json").exists()
        return message

    return run


CLIP = "RAER/images/SelfStudy/Library/P00{}/00{}"


def own(*rows, header="clip,subject,score"):
    return "\n".join([header, *(f"{CLIP.format(clip // 5, clip)},{more}" for clip, more in rows)]) + "\n"


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (own((0, "anna,1"), (1, "anna,2"), (2, "anna,3")), "anna"),
        (own((0, "anna,1"), (1, "bert,1"), (2, "carl,1")), "score"),
        (own((0, "anna,0.1"), (1, "anna,0.1"), (2, "bert,0.1")), "score"),
        (own((0, "anna,"), (1, "bert,"), (2, "carl,")), "score"),
        (own((0, "anna,1"), (1, "anna,2"), (2, "bert,"), (3, "carl,")), "score"),
        (own((0, "anna,1"), (1, "bert,x")), "line 3"),
    ],
)
def test_targets_that_nothing_can_be_learnt_from(command, content, part):
    assert part in command(content=content)


def test_what_is_needed_is_named(fast, scores, captioned, capsys, tmp_path):
    base = [*fast, *REGRESS.split(), "--output-dir", str(tmp_path / "run")]
    assert "--targets" in error_of([*base, "--init-from", str(captioned.folder / "best.pt")], capsys)
    assert "--init-from" in error_of([*base, "--targets", str(scores)], capsys)
    best = ["--mode", "eval", "--eval-checkpoint", str(captioned.folder / "best.pt")]
    assert "--targets" in error_of([*fast, *best, "--targets", str(scores)], capsys)


def test_other_models_have_no_video_features_to_read(command, scores):
    assert "clip-caer" in command(init=ROOT / "weights/demo_best.pt")
    assert "nowhere.pt" in command(init="nowhere.pt")
    assert str(scores) in command(init=scores)


@pytest.mark.parametrize("more", [["--fold", "all"], ["--leave-out", "all"], ["--leave-out", "Fatigue"]])
def test_folds_of_lists_and_classes_mean_nothing_to_numbers(command, more, scores):
    assert more[0] in command(*more, targets=scores if more[0] == "--leave-out" else str(scores) + "{fold}")


def evaluate_on(regressed, content, tmp_path, fast):
    targets = tmp_path / "own.csv"
    targets.write_text(content)
    best = str(regressed.folder / "best.pt")
    return [*fast, "--mode", "eval", "--eval-checkpoint", best, "--targets", str(targets)]


def test_a_readout_of_other_numbers_is_refused(regressed, tmp_path, fast, capsys):
    message = error_of(evaluate_on(regressed, own((0, "anna,1"), (1, "bert,2")), tmp_path, fast), capsys)
    assert "redness, number" in message and "score" in message
    targets = [*fast, "--mode", "eval", "--eval-checkpoint", str(regressed.folder / "best.pt")]
    assert "--targets" in error_of(targets, capsys)


def test_a_number_that_is_known_of_no_clip_has_no_score(regressed, tmp_path, fast, capsys):
    content = own((0, "anna,1,"), (1, "anna,2,"), header="clip,subject,redness,number")
    assert "number" in error_of(evaluate_on(regressed, content, tmp_path, fast), capsys)


def test_numbers_are_not_classes(regressed, tiny_flags, fast, tmp_path, capsys):
    """A readout knows no texts to compare with."""
    best = ["--mode", "zero-shot", "--eval-checkpoint", str(regressed.folder / "best.pt")]
    message = error_of([*fast, *best, "--test-annotation", tiny_flags["--test-annotation"]], capsys)
    assert "best.pt" in message and "numbers" in message


@pytest.mark.parametrize("words", ["--targets scores.csv", "--subject-folds 3", "--regression-loss ccc"])
def test_its_flags_mean_nothing_to_classification(words, tiny_arguments, capsys, tmp_path):
    flags = [*tiny_arguments, *CAPTIONS, "--output-dir", str(tmp_path / "run"), *words.split()]
    assert words.split()[0] in error_of(flags, capsys)
