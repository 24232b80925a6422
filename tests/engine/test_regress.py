"""Regression: folds of subjects, the readout and its losses against closed forms, and the command line."""

import csv
import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from sklearn import metrics as sk

import engine.regress
from analysis.metrics import agreement
from benchmarks.kill import contents, differing
from engine.config import make_config
from engine.regress import cross_validate, fit_readout, predict_numbers, regression_loss, subject_folds
from tests.support.filming import film, picture
from tests.support.resuming import crash, crash_run, on_call
from tests.support.tools import ROOT, call, error_of, one_line, run_ok
from utils.errors import UserError

both_losses = pytest.mark.parametrize("loss", ["mse", "ccc"])

# -- folds ----------------------------------------------------------------------------------------------------------


def sized(*sizes):
    """Subjects with these numbers of clips, shuffled."""
    subjects = [f"s{number}" for number, size in enumerate(sizes) for _ in range(size)]
    return [subjects[i] for i in np.random.default_rng(0).permutation(len(subjects))]


@pytest.mark.parametrize("sizes", [(4,) * 20, (1, 2, 3, 4, 5, 6, 7, 8, 9), (50, 1, 1, 1, 1, 1, 1), tuple(range(1, 31))])
@pytest.mark.parametrize("count", [2, 5])
def test_every_subject_is_in_one_fold_and_folds_have_similar_sizes(sizes, count):
    subjects = sized(*sizes)
    folds = subject_folds(subjects, count, seed=0)
    assert folds.shape == (len(subjects),) and sorted(set(folds)) == list(range(count))
    assert len(set(zip(subjects, folds, strict=True))) == len(sizes)
    filled = np.bincount(folds)
    assert filled.max() - filled.min() <= max(sizes)


def test_folds_follow_the_seed_and_not_the_order_of_clips():
    subjects = sized(*[3] * 20)
    folds = subject_folds(subjects, 5, seed=0)
    assert np.bincount(folds).tolist() == [12] * 5
    assert np.array_equal(folds, subject_folds(subjects, 5, seed=0))
    assert any(not np.array_equal(folds, subject_folds(subjects, 5, seed=seed)) for seed in (1, 2, 3))
    assert np.array_equal(subject_folds(subjects[::-1], 5, seed=0), folds[::-1])


def test_with_fewer_subjects_than_folds_each_is_left_out_once_and_one_subject_is_refused():
    assert sorted(np.bincount(subject_folds(sized(5, 2, 3), 10, seed=0))) == [2, 3, 5]
    with pytest.raises(UserError, match="^--targets: .*anna.*$"):
        subject_folds(["anna"] * 9, 5, seed=0)


def configure(**given):
    settings = {"optimizer": "AdamW", "lr": 1e-3, "epochs": 60, "batch_size": 32, "milestones": (50,)}
    return make_config(settings | {"model": "emoclip", "task": "regression"} | given)


def test_features_that_identify_the_subject_do_not_predict_new_subjects():
    """A random number for each subject: clips of training subjects are predicted, those of new subjects are not."""
    rng = np.random.default_rng(0)
    subjects = np.repeat(np.arange(40), 6)
    features = np.eye(40)[subjects] * 3 + 0.1 * rng.normal(size=(240, 40))
    values = rng.normal(size=40)[subjects][:, None]
    config = configure(lr=3e-3, epochs=40, milestones=(30,))

    def concordance(folds):
        tensors = (torch.from_numpy(part).float() for part in (features, values))
        return agreement(values[:, 0], cross_validate(*tensors, folds, config)[:, 0])["ccc"]

    assert concordance(subject_folds([str(s) for s in subjects], 5, seed=0)) < 0.15
    assert concordance(rng.integers(5, size=240)) > 0.8  # subjects are in training and test


# -- readout --------------------------------------------------------------------------------------------------------


def linear_data(N=300, D=8, K=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features, weights = torch.randn(N, D, generator=generator), torch.randn(D, K, generator=generator)
    return features, features @ weights


def fit(features, values, name="test", **given):
    readout = fit_readout(features, values, configure(**given), name)
    return lambda features: predict_numbers(readout, features)


@both_losses
def test_a_linear_relation_is_learnt_from_the_known_targets(loss):
    features, values = linear_data()
    readout = fit(features[:200], values[:200], regression_loss=loss)
    assert sk.r2_score(values[200:], readout(features[200:])) > 0.95
    partial = values.clone()
    partial[::3, 0] = partial[1::3, 1] = torch.nan
    assert sk.r2_score(values, fit(features, partial, regression_loss=loss)(features)) > 0.95


def test_predictions_are_in_the_units_of_the_targets():
    """Features and targets far from 0 and 1: the caller need not standardise them."""
    features, values = linear_data()
    features, values = 50 + 20 * features, torch.stack([1000 + 30 * values[:, 0], 0.002 * values[:, 1]], dim=1)
    predicted = fit(features[:200], values[:200])(features[200:])
    assert predicted.shape == (100, 2) and predicted.dtype == np.float64
    assert all(sk.r2_score(values[200:, k], predicted[:, k]) > 0.95 for k in range(2))
    features, values = linear_data()
    plain = fit(features, values, epochs=5)(features)
    moved = fit(3 * features - 7, 100 * values + 20, epochs=5)(3 * features - 7)
    np.testing.assert_allclose(moved, 100 * plain + 20, rtol=1e-3, atol=0.2)


def test_a_readout_is_seeded_by_its_name():
    features, values = linear_data(50)
    predictions = []
    for seed, name in enumerate(("test", "test", "second")):
        torch.manual_seed(seed)
        predictions.append(fit(features, values, name, epochs=3)(features))
    assert np.array_equal(predictions[0], predictions[1]) and not np.array_equal(predictions[0], predictions[2])


@both_losses
def test_a_clip_without_any_target_does_not_change_the_training(loss):
    """For any features, as long as mean and standard deviation stay the same."""
    features, values = linear_data(64)
    twice = torch.cat([features, features])
    unknown = torch.cat([values, torch.full_like(values, torch.nan)])
    reordered = torch.cat([features, features.flip(0)])
    first, second = (
        fit(rows, unknown, regression_loss=loss, epochs=3, batch_size=128)(features) for rows in (twice, reordered)
    )
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


@both_losses
def test_constant_targets_and_single_clips_give_finite_numbers(loss):
    features, values = linear_data(40)
    values[:, 1] = 3.7
    predicted = fit(features, values, regression_loss=loss, epochs=5)(features)
    assert np.isfinite(predicted).all()
    np.testing.assert_allclose(predicted[:, 1], 3.7, atol=0.01)
    single = fit(*linear_data(1), regression_loss=loss, epochs=2)
    assert np.isfinite(single(linear_data(5)[0])).all()


def test_a_feature_that_is_constant_in_training_changes_little_when_it_varies():
    features, values = linear_data()
    features[:, 0] = 5.0
    readout, moved = fit(features, values, epochs=10), features.clone()
    moved[:, 0] += 0.01
    assert (np.abs(readout(moved) - readout(features)) < 0.1 * values.std(0).numpy()).all()


# -- losses ---------------------------------------------------------------------------------------------------------

GUESS = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 60.0]])
TARGET = torch.tensor([[1.0, 11.0], [4.0, torch.nan], [1.0, 56.0]])


def concordance(x, y):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    (vx, cov), (_, vy) = np.cov(x, y, bias=True)
    return 2 * cov / (vx + vy + (x.mean() - y.mean()) ** 2)


def test_losses_are_means_over_known_targets():
    """Squared errors are 0, 4, 9 of the first target, 1 and 16 of the second; concordance is one per target."""
    mse, ccc = (regression_loss(GUESS, TARGET, kind).item() for kind in ("mse", "ccc"))
    expected = np.mean([1 - concordance([1, 2, 4], [1, 4, 1]), 1 - concordance([10, 60], [11, 56])])
    assert mse == pytest.approx(30 / 5) and ccc == pytest.approx(expected, rel=1e-5)


@both_losses
@pytest.mark.parametrize("rows", [0, 1])
def test_losses_and_gradients_are_finite_with_few_or_no_known_targets(loss, rows):
    guess, target = GUESS.clone().requires_grad_(), TARGET.clone()
    target[rows:] = torch.nan
    value = regression_loss(guess, target, loss)
    value.backward()
    assert value.isfinite() and guess.grad.isfinite().all() and (guess.grad[rows:] == 0).all()


# -- command line ---------------------------------------------------------------------------------------------------

CAPTIONS = "--model emoclip --caption-source class --epochs 1 --milestones --lr 0.01".split()
REGRESS = (
    "--model emoclip --task regression --optimizer AdamW --lr 1e-3 --epochs 5 --milestones --batch-size 16".split()
)
EVAL = ["--mode", "eval", "--eval-checkpoint"]


def best_of(run) -> str:
    return str(run.folder / "best.pt")


def content_of(run):
    return torch.load(run.folder / "best.pt", weights_only=True)


@pytest.fixture(scope="module")
def captioned(tiny_arguments, tmp_path_factory):
    return run_ok([*tiny_arguments, *CAPTIONS], tmp_path_factory.mktemp("emoclip") / "run")


@pytest.fixture(scope="module")
def scores(tiny_flags, tmp_path_factory):
    """Clips of 6 persons: one number that is visible in the picture, and one that is known for some clips."""
    path, root = tmp_path_factory.mktemp("scores") / "scores.csv", Path(tiny_flags["--root-dir"])
    lines = ["clip,subject,redness,number"]
    for file in ("train", "test"):
        for line in (root / f"annotation/{file}.txt").read_text().splitlines():
            name, _, label = line.split()
            clip = int(name[-3:])
            lines.append(f"{name},{name.split('/')[-2]},{int(label) + clip / 100},{'' if clip % 4 == 0 else clip}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def fast(tiny_flags):
    return ["--workers", "0", "--device", "cpu", "--root-dir", tiny_flags["--root-dir"]]


@pytest.fixture(scope="module")
def regressed(captioned, scores, fast, tmp_path_factory):
    flags = ["--init-from", best_of(captioned), "--targets", str(scores), "--subject-folds", "3"]
    return run_ok([*fast, *REGRESS, *flags], tmp_path_factory.mktemp("regress") / "run")


def check_scores(run, scores):
    """metrics.json against scikit-learn and numpy on predictions.csv, whose truths are those of the file."""
    with open(scores, newline="") as file:
        given = {row["clip"]: row for row in csv.DictReader(file)}
    assert [row["clip"] for row in run.predictions] == list(given)
    for name in ("redness", "number"):
        assert all(row[f"predicted_{name}"] != "" for row in run.predictions)
        rows = [row for row in run.predictions if row[f"true_{name}"] != ""]
        true, guess = (np.array([float(row[f"{kind}_{name}"]) for row in rows]) for kind in ("true", "predicted"))
        assert true == pytest.approx([float(given[row["clip"]][name]) for row in rows])
        metrics = run.metrics["targets"][name]
        assert metrics["clips"] == len(rows) == sum(row[name] != "" for row in given.values())
        assert metrics["mae"] == pytest.approx(sk.mean_absolute_error(true, guess), rel=1e-5)
        assert metrics["rmse"] == pytest.approx(sk.mean_squared_error(true, guess) ** 0.5, rel=1e-5)
        assert metrics["pearson"] == pytest.approx(np.corrcoef(true, guess)[0, 1], abs=1e-5)
    assert run.metrics["subjects"] == 6 and run.metrics["clips"] == 60


def test_each_subject_is_predicted_by_a_readout_trained_on_other_subjects(regressed, scores):
    check_scores(regressed, scores)
    pairs = {(row["subject"], row["fold"]) for row in regressed.predictions}
    assert len(pairs) == len(dict(pairs)) == 6 and {fold for _, fold in pairs} == {"1", "2", "3"}
    assert "6 subjects" in regressed.out and regressed.err == ""
    intervals = regressed.metrics["intervals"]
    assert (intervals["resampled"], intervals["groups"]) == ("subjects", 6)
    assert "narrower than they should be" in regressed.out
    low, high = intervals["targets"]["redness"]["ccc"]
    assert low <= regressed.metrics["targets"]["redness"]["ccc"] <= high and f"[{low:.3f}, {high:.3f}]" in regressed.out


def test_the_checkpoint_holds_the_video_model_and_a_readout_that_is_evaluated(
    regressed, captioned, scores, fast, tmp_path, real_figures
):
    content, video = content_of(regressed), content_of(captioned)["model"]
    assert content["face_width"] == 40.0  # of every box
    model = content["model"]
    assert set(model) - set(video) == {f"readout.{layer}.{kind}" for layer in (0, 2) for kind in ("weight", "bias")}
    assert all(torch.equal(model[name].float(), value.float()) for name, value in video.items())
    run = run_ok([*fast, *EVAL, best_of(regressed), "--targets", str(scores)], tmp_path / "run")
    check_scores(run, scores)
    assert (run.folder / "agreement.png").stat().st_size > 1000


def test_the_checkpoint_states_what_the_tensors_of_another_clip_do_not_show(captioned, scores, fast, tmp_path):
    content = content_of(captioned)
    content["clip_shape"] |= {"activation": "gelu", "mean": [0.4, 0.5, 0.6]}
    torch.save(content, tmp_path / "gelu.pt")
    flags = ["--init-from", str(tmp_path / "gelu.pt"), "--targets", str(scores), "--subject-folds", "3"]
    stored = content_of(run_ok([*fast, *REGRESS, *flags], tmp_path / "run"))["clip_shape"]
    assert stored["activation"] == "gelu" and list(stored["mean"]) == [0.4, 0.5, 0.6]


@pytest.mark.parametrize("mode", ["eval", "zero-shot"])
def test_faces_of_another_size_are_a_warning(regressed, captioned, scores, fast, tiny_flags, tmp_path, mode):
    torch.save(content_of(regressed if mode == "eval" else captioned) | {"face_width": 20.0}, tmp_path / "small.pt")
    lists = {"eval": ["--targets", str(scores)], "zero-shot": ["--test-annotation", tiny_flags["--test-annotation"]]}
    flags = [*EVAL[2:], str(tmp_path / "small.pt"), "--bounding-box-face", tiny_flags["--bounding-box-face"]]
    run = run_ok([*fast, "--mode", mode, *flags, *lists[mode]], tmp_path / "run")
    assert "around 40 pixels wide here and 20 in training" in run.out


def test_a_caption_model_is_evaluated_as_it_was_scored(captioned, tiny_flags, fast, tmp_path):
    names = ("--test-annotation", "--bounding-box-face", "--bounding-box-body")
    flags = [word for name in names for word in (name, tiny_flags[name])]
    run = run_ok([*fast, *EVAL, best_of(captioned), *flags], tmp_path / "run")
    assert (run.folder / "predictions.csv").read_text() == (captioned.folder / "predictions.csv").read_text()


def test_parts_of_videos_equal_folders_of_their_frames(captioned, tmp_path):
    """Also after a stop: boxes, features and numbers are the same to the last digit."""
    rows, faces = {"parts": [], "frames": []}, {}
    for number in range(4):
        film(tmp_path / f"{number}.mp4", [picture(10 + 5 * number + frame, top=10 * number) for frame in range(16)])
        with av.open(str(tmp_path / f"{number}.mp4")) as video:
            images = [frame.to_image() for frame in video.decode(video=0)]
        for half, (part, pictures) in enumerate({"0,0.4": images[:8], "0.4,0.8": images[8:]}.items()):
            folder, clip = f"frames/{number}-{half}", f"{number}.mp4#t={part}"
            (tmp_path / folder).mkdir(parents=True)
            for index, image in enumerate(pictures, 1):
                image.save(tmp_path / folder / f"{index:05d}.jpg", "png")
            faces |= dict.fromkeys((folder, clip), {"00001.jpg": [10, 10 * number, 60, 60 + 10 * number]})
            rows["parts"].append(f'"{clip}",P{number},{number + half}')
            rows["frames"].append(f"{folder},P{number},{number + half}")
    (tmp_path / "face.json").write_text(json.dumps(faces))
    flags = ["--workers", "0", "--device", "cpu", "--root-dir", str(tmp_path), "--bounding-box-face", "face.json"]
    flags += [*REGRESS, "--init-from", best_of(captioned), "--subject-folds", "2"]

    def stop_before_scores(patch):
        on_call(patch, engine.regress, "write_regression", before=lambda _: crash())

    for kind, lines in rows.items():
        (tmp_path / f"{kind}.csv").write_text("\n".join(["clip,subject,score", *lines]) + "\n")
        words = [*flags, "--targets", f"{kind}.csv", "--output-dir", str(tmp_path / kind)]
        if kind == "parts":
            crash_run(
                lambda patch: on_call(patch, engine.regress, "write_regression", before=lambda _: crash()), *words
            )
            words = ["--resume", str(tmp_path / kind)]
        assert "face boxes: 8 of 8 clips" in call(*words).ok().out
    tables = []
    for kind in rows:
        with open(tmp_path / kind / "predictions.csv", newline="") as file:
            tables.append([row[1:] for row in csv.reader(file)])
    assert tables[0] == tables[1] and len(tables[0]) == 9


# -- stopped --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("writer", "is_named"),
    [("subject_folds", True), ("write_regression", False), ("save_regression", True), ("write_model_card", False)],
)
def test_a_killed_run_restarts_in_its_folder(regressed, captioned, scores, fast, tmp_path, writer, is_named):
    flags = ["--init-from", best_of(captioned), "--targets", str(scores), "--subject-folds", "3"]
    words, folder = [*fast, *REGRESS, *flags, "--output-dir", str(tmp_path / "run")], tmp_path / "run"
    crash_run(lambda patch: on_call(patch, engine.regress, writer, before=lambda _: crash()), *words)
    assert not (folder / "metrics.json").exists()
    again = ["--resume", str(folder)] if is_named else [*words, "--resume", "auto"]
    assert f"{folder}: no checkpoint there yet" in call(*again).ok().out
    assert differing(contents(folder), contents(regressed.folder)) == []
    assert call(*again).ok().out == f"{folder} is complete\n"
    other = [*again, "--lr", "0.5"]
    assert "--lr" in one_line(call(*other)) and differing(contents(folder), contents(regressed.folder)) == []


def test_auto_finds_a_killed_run_without_its_folder(captioned, scores, fast, tmp_path, monkeypatch):
    """It does not find a run of another video model, or one with other options."""
    monkeypatch.chdir(tmp_path)
    words = [*fast, *REGRESS, "--init-from", best_of(captioned), "--targets", str(scores), "--subject-folds", "3"]
    crash_run(lambda patch: on_call(patch, engine.regress, "write_regression", before=lambda _: crash()), *words)
    (folder,) = Path("outputs").iterdir()
    assert folder.name.startswith("emoclip-") and not (folder / "metrics.json").exists()
    assert f"{folder}: no checkpoint there yet" in call(*words, "--resume", "auto").ok().out
    assert call(*words, "--resume", "auto").ok().out == f"{folder} is complete\n"
    assert "a new run starts" in call(*words, "--resume", "auto", "--lr", "0.5").ok().out
    shutil.copy(best_of(captioned), "other.pt")
    assert "a new run starts" in call(*words, "--resume", "auto", "--init-from", "other.pt").ok().out


# -- mistakes -------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(captioned, scores, fast, tmp_path, capsys):
    """Return the error of the regression command with other files and more flags."""

    def run(*more, init=None, targets=scores):
        folder = tmp_path / "run"
        words = ["--init-from", str(init or best_of(captioned)), "--targets", str(targets), *more]
        message = error_of([*fast, *REGRESS, *words, "--output-dir", str(folder)], capsys)
        assert not folder.exists()  # no file prevents the next try
        return message

    return run


def write_targets(folder, *rows, header="clip,subject,score") -> str:
    clip = "RAER/images/SelfStudy/Library/P00{}/00{}"
    lines = [f"{clip.format(number // 5, number)},{row}" for number, row in enumerate(rows)]
    (folder / "targets.csv").write_text("\n".join([header, *lines]) + "\n")
    return str(folder / "targets.csv")


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        (("anna,1", "anna,2", "anna,3"), "anna"),
        (("anna,1", "bert,1", "carl,1"), "score"),
        (("anna,0.1", "anna,0.1", "bert,0.1"), "score"),
        (("anna,", "bert,", "carl,"), "score"),
        (("anna,1", "anna,2", "bert,", "carl,"), "score"),
        (("anna,1", "bert,x"), "line 3"),
    ],
)
def test_targets_without_information_are_refused(command, tmp_path, rows, part):
    assert part in command(targets=write_targets(tmp_path, *rows))


def test_missing_files_are_named(fast, scores, captioned, regressed, capsys, tmp_path):
    base, targets = [*fast, *REGRESS, "--output-dir", str(tmp_path / "run")], ["--targets", str(scores)]
    assert "--targets" in error_of([*base, "--init-from", best_of(captioned)], capsys)
    assert "--init-from" in error_of([*base, *targets], capsys)
    assert "--targets" in error_of([*fast, *EVAL, best_of(captioned), *targets], capsys)  # it predicts classes
    assert "--targets" in error_of([*fast, *EVAL, best_of(regressed)], capsys)


def test_models_of_other_methods_have_no_video_features(command, scores):
    for init, part in ((ROOT / "weights/demo_best.pt", "clip-caer"), ("nowhere.pt", "nowhere.pt"), (scores, scores)):
        assert str(part) in command(init=init)


@pytest.mark.parametrize("flags", ["--num-segments 32", "--num-segments 8", "--dropout 0", "--no-cache-features"])
def test_options_of_the_video_model_are_refused_also_at_their_defaults(command, flags):
    assert f"{flags.split()[0].replace('no-', '')}" in (message := command(*flags.split()))
    assert "is not used by --task regression" in message


@pytest.mark.parametrize("flags", ["--fold all", "--leave-out all", "--leave-out Fatigue"])
def test_folds_of_lists_and_class_options_are_refused_for_regression(command, flags, scores):
    targets = scores if "--leave-out" in flags else f"{scores}{{fold}}"
    assert flags.split()[0] in command(*flags.split(), targets=targets)


def test_numbers_that_do_not_fit_a_readout_are_refused(regressed, tiny_flags, tmp_path, fast, capsys):
    """Zero-shot is refused too, because a readout has no texts."""
    best = best_of(regressed)
    evaluate = [*fast, *EVAL, best, "--targets"]
    message = error_of([*evaluate, write_targets(tmp_path, "anna,1", "bert,2")], capsys)
    assert "redness, number" in message and "score" in message
    targets = write_targets(tmp_path, "anna,1,", "anna,2,", header="clip,subject,redness,number")
    assert "number has no value for any clip" in error_of([*evaluate, targets], capsys)
    lists = ["--test-annotation", tiny_flags["--test-annotation"]]
    message = error_of([*fast, "--mode", "zero-shot", "--eval-checkpoint", best, *lists], capsys)
    assert "best.pt" in message and "numbers" in message


@pytest.mark.parametrize("flags", ["--targets scores.csv", "--subject-folds 3", "--regression-loss ccc"])
def test_flags_of_regression_are_refused_for_classification(flags, tiny_arguments, capsys, tmp_path):
    words = [*tiny_arguments, *CAPTIONS, "--output-dir", str(tmp_path / "run"), *flags.split()]
    assert flags.split()[0] in error_of(words, capsys)
