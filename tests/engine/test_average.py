"""Averages of weights: the moving one of --ema, and the mean of several checkpoints of --mode convert --average."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from engine.optim import WeightAverage, restore_average
from tests.support.resuming import changed
from tests.support.tools import Run, call, error_of, one_line, run_ok
from utils.archive import read_archive
from utils.checkpoint import read_folder, to_full
from utils.errors import UserError

LAST = ("--select-on", "last")
LORA = tuple("--lora-rank 2 --lora-towers both --lr-image-encoder 0".split())


# -- moving average -------------------------------------------------------------------------------------------------


def moving_average(values, decay):
    """The published formula, one update after the other, in float64."""
    average = np.asarray(values[0], dtype=np.float64)
    for n, value in enumerate(values[1:]):
        d = min(decay, (1 + n) / (10 + n))
        average = d * average + (1 - d) * np.asarray(value, dtype=np.float64)
    return average


@pytest.mark.parametrize(("decay", "expected"), [(0.0, 3.0), (0.05, 2.947375), (0.9, 2.7590909)])
def test_the_average_of_a_sequence_in_closed_form(decay, expected):
    """Of the weights 0, 1, 2, 3: with 0.9 the decays are 1/10, 2/11 and 3/12, so (0.9 2/11 + 2 9/11) / 4 + 3 3/4."""
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(0.0)
    average = WeightAverage(model, decay)
    for value in (1.0, 2.0, 3.0):
        model.weight.data.fill_(value)
        average.update()
    exact = {0.9: (0.9 * 2 / 11 + 2 * 9 / 11) / 4 + 3 * 3 / 4}.get(decay, expected)
    assert average.averages["weight"].item() == pytest.approx(exact, rel=1e-6)
    assert moving_average([0.0, 1.0, 2.0, 3.0], decay) == pytest.approx(exact)


def test_many_updates_reach_the_full_decay():
    model = nn.Linear(1, 1, bias=False)
    average, rng = WeightAverage(model, 0.5), np.random.default_rng(0)
    values = [model.weight.item(), *rng.normal(size=40)]
    for value in values[1:]:
        model.weight.data.fill_(value)
        average.update()
    assert average.averages["weight"].item() == pytest.approx(float(moving_average(values, 0.5)), abs=1e-6)
    weights = 0.5 ** np.arange(1, 31)  # of the last 30 values; all before count for a billionth
    assert average.averages["weight"].item() == pytest.approx(float(weights @ values[:-31:-1]), abs=1e-6)


def test_it_holds_what_learns_and_the_statistics_of_batch_norm():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    model[2].requires_grad_(False)
    average = WeightAverage(model, 0.0)
    assert set(average.averages) == {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    model(torch.randn(8, 2))
    average.update()
    assert torch.equal(average.averages["1.running_mean"], model[1].running_mean)
    assert not torch.equal(model[1].running_mean, torch.zeros(3))


def test_the_model_has_the_average_only_inside_the_block_also_after_an_error():
    model = nn.Linear(2, 2)
    average, before = WeightAverage(model, 0.9), copy.deepcopy(model.state_dict())
    address = model.weight.data_ptr()
    model.weight.data.add_(1.0)
    with pytest.raises(KeyboardInterrupt), average.in_model():
        assert torch.equal(model.weight, before["weight"]) and model.weight.data_ptr() == address
        raise KeyboardInterrupt
    assert torch.equal(model.weight, before["weight"] + 1.0) and model.weight.data_ptr() == address
    assert torch.equal(average.averages["weight"], before["weight"])


DAMAGES = {
    "missing": lambda stored: None,
    "updates": lambda stored: stored | {"updates": 4},
    "names": lambda stored: stored | {"tensors": {"weight": stored["tensors"]["weight"]}},
    "shape": lambda stored: stored | {"tensors": stored["tensors"] | {"bias": torch.zeros(3)}},
    "type": lambda stored: stored | {"tensors": stored["tensors"] | {"bias": torch.zeros(2).double()}},
    "kind": lambda stored: stored | {"tensors": stored["tensors"] | {"bias": [0.0, 0.0]}},
    "not finite": lambda stored: stored | {"tensors": stored["tensors"] | {"bias": torch.tensor([0.0, torch.nan])}},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_stored_average_is_checked_before_it_is_used(damage):
    average = WeightAverage(nn.Linear(2, 2), 0.9)
    stored = {"updates": 5, "tensors": {name: value + 1 for name, value in average.averages.items()}}
    expected = {name: value.clone() for name, value in stored["tensors"].items()}
    before = {name: value.clone() for name, value in average.averages.items()}
    with pytest.raises(UserError, match="average"):
        restore_average(average, DAMAGES[damage](stored), 5)
    assert all(torch.equal(average.averages[name], before[name]) for name in before)
    restore_average(average, stored, 5)
    assert average.updates == 5 and all(torch.equal(average.averages[n], expected[n]) for n in expected)


@pytest.fixture
def trajectory(monkeypatch) -> list[dict[str, np.ndarray]]:
    """The weights at the start of the last run and after each of its updates, filled in as it runs."""
    weights: list[dict[str, np.ndarray]] = []
    begin, update = WeightAverage.__init__, WeightAverage.update

    def note(average):
        weights.append({name: weight.detach().numpy().copy() for name, weight in average.weights.items()})

    def noting_begin(average, *arguments):
        begin(average, *arguments)
        weights.clear()
        note(average)

    def noting_update(average):
        note(average)
        update(average)

    monkeypatch.setattr(WeightAverage, "__init__", noting_begin)
    monkeypatch.setattr(WeightAverage, "update", noting_update)
    return weights


@pytest.mark.parametrize(
    "extra",
    [
        (),
        ("--amp", "bf16"),
        (*LORA, "--accumulate", "1"),
        ("--lr-image-encoder", "0", "--cache-features"),
    ],
    ids=["weights", "bf16", "LoRA", "cached"],
)
def test_best_holds_the_average_and_last_holds_both(small_flags, trajectory, tmp_path, extra):
    extra = [*extra, "--cache-dir", str(tmp_path / "cache")]
    run = run_ok([*small_flags, *LAST, "--ema", "0.8", *extra], tmp_path / "run")
    updates = 3 * (8 if "--accumulate" in extra else 4)  # three epochs of 8 steps, two in a window
    assert len(trajectory) == 1 + updates
    best, last = (read_archive(run.folder / name) for name in ("best.pt", "last.pt"))
    full, average = to_full(best["model"]), last["learning"]["average"]
    assert average["updates"] == updates and average["tensors"].keys() == trajectory[0].keys()
    for name, weight in trajectory[-1].items():
        expected = moving_average([weights[name] for weights in trajectory], 0.8)
        assert torch.equal(last["model"][name], torch.from_numpy(weight))
        assert np.allclose(average["tensors"][name], expected, atol=2e-6)
        assert torch.equal(full[name], average["tensors"][name])
    assert any(not torch.equal(full[name], last["model"][name]) for name in trajectory[0])


def test_validation_and_test_use_the_average_and_training_does_not(small_flags, tmp_path):
    """The lists of validation and test are the same here, so the best epoch has the same loss in both."""
    test_list = small_flags[small_flags.index("--test-annotation") + 1]
    words = [*small_flags, "--val-annotation", test_list]
    run, raw = run_ok([*words, "--ema", "0.9"], tmp_path / "run"), run_ok(words, tmp_path / "raw")
    best = read_archive(run.folder / "best.pt")
    loss = run.history[best["epoch"] - 1]["val/loss"]
    assert loss == pytest.approx(run.metrics["calibration"]["nll"], abs=6e-5)
    for averaged, plain in zip(run.history, raw.history, strict=True):
        assert averaged["train/loss"] == plain["train/loss"] and averaged["val/loss"] != plain["val/loss"]
    trained, plain = (read_archive(folder / "last.pt")["model"] for folder in (run.folder, raw.folder))
    assert all(torch.equal(trained[name], plain[name]) for name in plain)


# -- mean of checkpoints --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(small_flags, tmp_path_factory) -> list[Run]:
    """Three runs of one model with other rates. With other seeds the random CLIP would be another one."""
    base = tmp_path_factory.mktemp("runs")
    return [run_ok([*small_flags, "--lr", f"{n}e-3", *LAST], base / f"run-{n}") for n in (1, 2, 3)]


def average(folder, *files, flags=()) -> Run:
    return call("--mode", "convert", "--average", *files, *flags, "--output-dir", folder, folder=folder)


def test_the_mean_of_three_checkpoints_is_a_checkpoint(runs, small_flags, tmp_path):
    files = [run.folder / "best.pt" for run in runs]
    mean = average(tmp_path / "mean", *files).ok()
    contents = [to_full(read_archive(file)["model"]) for file in files]
    for name in ("average.pt", "average.safetensors"):
        assert (mean.folder / name).is_file()
    content = read_archive(mean.folder / "average.pt")
    state = to_full(content["model"])
    assert state.keys() == contents[0].keys()
    for name, tensor in state.items():
        parts = np.stack([part[name].numpy() for part in contents])
        assert np.allclose(tensor, parts.astype(np.float64).mean(axis=0), rtol=1e-6, atol=1e-8), name
        assert tensor.dtype == contents[0][name].dtype
    assert content["averaged"] == [f"run-{n}/best.pt, epoch 3" for n in (1, 2, 3)]
    assert "best" not in content and content["selected_on"] == "last" and content["epoch"] == 3
    shown = call("--mode", "inspect", mean.folder / "average.pt").ok().out
    assert "the mean of run-1/best.pt, epoch 3" in shown and "and run-3/best.pt, epoch 3" in shown
    test_list = small_flags[small_flags.index("--test-annotation") + 1]
    words = ["--mode", "eval", "--eval-checkpoint", str(mean.folder / "average.pt"), "--device", "cpu"]
    scores = run_ok([*words, "--test-annotation", test_list, "--workers", "0"], tmp_path / "eval").metrics
    assert scores["num_clips"] == 10


def test_the_mean_is_written_as_a_folder_for_the_hub_too(runs, tmp_path):
    files = [run.folder / "best.pt" for run in runs[:2]]
    average(tmp_path / "mean", *files).ok()
    hub = average(tmp_path / "hub", *files, flags=["--format", "hub"]).ok()
    assert "Its scores are not known here." in (hub.folder / "README.md").read_text()
    state, plain = read_folder(hub.folder)["model"], read_archive(tmp_path / "mean/average.pt")["model"]
    assert state.keys() == plain.keys() and all(torch.equal(state[name], plain[name]) for name in plain)


def test_the_mean_of_equal_weights_is_those_weights(runs, tmp_path):
    file = runs[0].folder / "best.pt"
    twin = tmp_path / "twin.pt"
    twin.write_bytes(file.read_bytes())
    mean = average(tmp_path / "mean", file, twin).ok()
    before, after = (to_full(read_archive(path)["model"]) for path in (file, mean.folder / "average.pt"))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_an_optimistic_choice_and_notes_of_any_of_them_stay(runs, tmp_path):
    files = [runs[0].folder / "best.pt", tmp_path / "second.pt"]
    files[1].write_bytes((runs[1].folder / "best.pt").read_bytes())
    changed(files[1], lambda content: content.update(selected_on="test: optimistic", trained_on="Drawn people."))
    content = read_archive(average(tmp_path / "mean", *files).ok().folder / "average.pt")
    assert content["selected_on"] == "last; test: optimistic" and content["trained_on"] == "Drawn people."


CHANGES = {
    "classes": (lambda c: c["classes"].reverse(), "its classes differ"),
    "label_base": (lambda c: c.update(label_base=0), "its first label differs"),
    "temperature": (lambda c: c["config"]["model"].update(temperature=0.5), "--temperature 0.5 and not 0.02"),
    "constant": (lambda c: c["model"]["descriptive"].add_(1), "descriptive differs, which training does not change"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_model_is_one_line(runs, tmp_path, change):
    files = [runs[0].folder / "best.pt", tmp_path / "other.pt"]
    files[1].write_bytes((runs[1].folder / "best.pt").read_bytes())
    changed(files[1], CHANGES[change][0])
    message = one_line(average(tmp_path / "mean", *files))
    assert f"--average {files[1]}: not the model of {files[0]}: " in message and CHANGES[change][1] in message
    assert not (tmp_path / "mean").exists()


def test_another_clip_is_one_line(runs, small_flags, tmp_path):
    """The seed makes the random CLIP; the weights that learnt from another one have another meaning."""
    run = run_ok([*small_flags, "--seed", "9", "--epochs", "1", *LAST], tmp_path / "run")
    message = one_line(average(tmp_path / "mean", runs[0].folder / "best.pt", run.folder / "best.pt"))
    assert "descriptive differs, which training does not change" in message


def test_another_option_is_one_line(runs, small_flags, tmp_path):
    one_stream = run_ok([*small_flags, "--adapter", "none", "--epochs", "1", *LAST], tmp_path / "run")
    message = one_line(average(tmp_path / "mean", runs[0].folder / "best.pt", one_stream.folder / "best.pt"))
    assert "trained with --adapter none and not residual" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--average a.pt", "--average a.pt: name two or more different checkpoints"),
        ("--average a.pt a.pt", "name two or more different checkpoints"),
        ("c.pt --average a.pt b.pt", "c.pt: --average names all the checkpoints"),
        ("--average nowhere.pt b.pt", "nowhere.pt: no such checkpoint file"),
    ],
)
def test_mistakes_in_the_files_are_one_line(capsys, words, message):
    before, _, after = words.partition("--average")
    assert message in error_of(["--mode", "convert", *before.split(), "--average", *after.split()], capsys)


def test_average_belongs_to_convert(capsys):
    message = error_of(["--mode", "inspect", "a.pt", "--average", "b.pt", "c.pt"], capsys)
    assert "--average belongs to --mode convert" in message


def test_corrections_are_merged_before_they_are_averaged(small_flags, tmp_path):
    """The mean of products is not the product of means, so the factors alone are refused."""
    flags = [*small_flags, *LORA, "--lr-lora", "0.1", *LAST]
    files = [run_ok([*flags, "--lr", f"{n + 1}e-3"], tmp_path / f"run-{n}").folder / "best.pt" for n in (0, 1)]
    assert "add --merge" in one_line(average(tmp_path / "factors", *files))
    mean = average(tmp_path / "mean", *files, flags=["--merge"]).ok()
    merged = []
    for n, file in enumerate(files):
        call("--mode", "convert", file, "--merge", "--output-dir", tmp_path / f"merged-{n}").ok()
        merged.append(to_full(read_archive(tmp_path / f"merged-{n}/best.pt")["model"]))
    state = to_full(read_archive(mean.folder / "average.pt")["model"])
    assert state.keys() == merged[0].keys() and not any("lora" in name for name in state)
    name = "image_encoder.transformer.resblocks.0.attn.in_proj_weight"
    assert not torch.equal(merged[0][name], merged[1][name])
    assert torch.allclose(state[name], (merged[0][name] + merged[1][name]) / 2, atol=1e-7)
