"""How a training goes on and ends: its rates, the batches of an epoch, the score that chooses one, early stopping."""

import json
import math

import pytest
import torch

from dataloader.sampling import ClipOrder
from engine import regress
from engine.checkpoints import stored_config
from engine.config import make_config, read_command
from engine.run_hash import counted_options
from engine.train import Trainer
from sweep.plan import plan_ablation
from tests.support.resuming import changed
from tests.support.tools import call, configure, error_of, one_line, run_ok
from utils.archive import read_archive

COSINE = ("--schedule", "cosine", "--milestones=")  # the flags of the small set name milestones
SCORES = {"uar": [50.0, 40.0, 30.0, 20.0], "war": [10.0, 60.0, 20.0, 5.0], "macro_f1": [1.0, 2.0, 3.0, 0.5]}


# -- the score that chooses the epoch, and early stopping -----------------------------------------------------------


@pytest.fixture
def scripted(monkeypatch):
    """Validation has these scores in every run: each score is best in another epoch."""

    def check(trainer, split):
        scores = {name: values[trainer.progress.epoch] for name, values in SCORES.items()}
        return {f"{split}/{name}": value for name, value in scores.items()} | {f"{split}/loss": 1.0}

    monkeypatch.setattr(Trainer, "check", check)


@pytest.mark.parametrize(
    ("flags", "epoch", "title"),
    [((), 1, "UAR"), (("--select-by", "war"), 2, "WAR"), (("--select-by", "macro_f1"), 3, "macro F1")],
)
def test_the_best_epoch_by_each_score_is_kept_and_named(scripted, small_flags, tmp_path, flags, epoch, title):
    run = run_ok([*small_flags, *flags], tmp_path / "run")
    name = flags[1] if flags else "uar"
    best, last = (read_archive(run.folder / file) for file in ("best.pt", "last.pt"))
    assert best["epoch"] == epoch and best["best"] == {name: SCORES[name][epoch - 1], "epoch": epoch} == last["best"]
    assert f"best epoch: {epoch} of 3, selected on val by {title}" in run.out
    assert f"The epoch was selected on validation clips by {title}." in (run.folder / "model_card.md").read_text()
    shown = call("--mode", "inspect", run.folder / "best.pt").ok().out
    assert f"best by: val, {title} {SCORES[name][epoch - 1]:.2f}\n" in shown
    call("--mode", "report", run.folder, "--output-dir", tmp_path / "report").ok()
    page = (tmp_path / "report/report.html").read_text()
    assert f"The weights of epoch {epoch} of 3, the best by {title}, were kept" in page
    assert f"kept: epoch {epoch} (by {title})" in page


def test_a_choice_without_a_score_names_none(small_flags, tmp_path):
    run = run_ok([*small_flags, "--select-on", "last", "--epochs", "1", "--milestones="], tmp_path / "run")
    assert "best epoch: 1 of 1, selected on last\n" in run.out
    assert "No epoch was selected." in (run.folder / "model_card.md").read_text()
    assert "best by: last\n" in call("--mode", "inspect", run.folder / "best.pt").ok().out


@pytest.mark.parametrize(
    ("flags", "epochs"), [("--patience 1", 2), ("--patience 2", 3), ("--patience 1 --select-by war", 3)]
)
def test_patience_ends_a_training_of_clips_and_says_so(scripted, small_flags, tmp_path, flags, epochs):
    run = run_ok([*small_flags, "--epochs", "4", *flags.split()], tmp_path / "run")
    assert len(run.history) == epochs
    patience = flags.split()[1]
    best = read_archive(run.folder / "best.pt")["epoch"]
    assert f"--patience {patience}: no epoch was better than epoch {best}; training ends here" in run.out
    again = call("--resume", run.folder)
    assert f"is complete ({epochs} epochs, scored); --patience {patience} ended it" in again.ok().out


def test_patience_begins_again_where_the_best_checkpoint_is_lost(scripted, small_flags, tmp_path):
    run = run_ok([*small_flags, "--epochs", "4", "--patience", "1"], tmp_path / "run")
    assert len(run.history) == 2
    for name in ("best.pt", "metrics.json"):
        (run.folder / name).unlink()
    again = call("--resume", run.folder, folder=run.folder).ok()
    assert "(epoch 1) is lost" in again.out and len(again.history) == 4
    assert read_archive(run.folder / "best.pt")["epoch"] == 3  # the better one of those that followed
    (run.folder / "best.pt").unlink()
    (run.folder / "metrics.json").unlink()
    assert "is lost, and no epoch follows; raise --epochs" in one_line(call("--resume", run.folder))


# -- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2])
def test_clips_learn_at_a_cosine_over_the_updates(small_flags, tmp_path, accumulate):
    words = [*small_flags, *COSINE, "--warmup-epochs", "1", "--accumulate", str(accumulate)]
    run = run_ok(words, tmp_path / "run")
    updates = math.ceil(5 / accumulate)  # of an epoch of 10 clips, two in a batch
    rates = [row["lr/temporal"] / 3e-3 for row in run.history]  # after the updates of each epoch
    expected = [math.cos(math.pi / 2 * done / (2 * updates)) ** 2 for done in (0, updates, 2 * updates)]
    assert rates == pytest.approx(expected, abs=1e-9)
    learning = read_archive(run.folder / "last.pt")["learning"]
    assert learning["schedule"]["last_epoch"] == 3 * updates


def test_a_run_with_a_cosine_keeps_its_epochs(small_flags, tmp_path):
    run = run_ok([*small_flags, *COSINE, "--epochs", "1"], tmp_path / "run")
    message = one_line(call("--resume", run.folder, "--epochs", "3"))
    assert "--epochs 3, but its learning rate falls to 0 at epoch 1" in message
    assert call("--resume", run.folder).ok().out.endswith("is complete (1 epochs, scored)\n")


def test_the_readout_of_a_regression_learns_at_a_cosine(monkeypatch):
    config, rates = configure(schedule="cosine", warmup_epochs=0.5, epochs=3, batch_size=4, lr=0.5), []

    def build(groups, optim):
        optimizer = torch.optim.SGD(groups, lr=1.0)
        optimizer.register_step_post_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
        return optimizer

    monkeypatch.setattr(regress, "build_optimizer", build)
    readout = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.GELU(), torch.nn.Linear(2, 1))
    regress.train_readout(readout, torch.randn(7, 2), torch.randn(7, 1), config)
    # 2 batches in each of 3 epochs, the first of which is half an epoch of warm-up
    assert rates == pytest.approx([0.25, *(0.5 * math.cos(math.pi / 2 * n / 5) ** 2 for n in range(5))])


# -- batches of an epoch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("clips", "batch", "world"), [(10, 4, 2), (9, 4, 4), (8, 4, 2), (13, 6, 3), (7, 3, 1)])
def test_the_clips_that_fill_no_batch_are_left_out_in_every_process(clips, batch, world):
    order, shares = ClipOrder(clips, 3), []
    expected = [clip for _, _, clip in order][: clips // batch * batch]
    for rank in range(world):
        share = ClipOrder(clips, 3, share=(rank, world, batch) if world > 1 else None, whole_batches=batch)
        assert len(share) == len(list(share)) == len(expected) // world
        shares.append(list(share))
        assert share.clips_of_batch(0, batch) == expected[:batch]
        share.start = batch
        assert all(position >= batch for _, position, _ in share)
    keys = sorted((position, clip) for share in shares for _, position, clip in share)
    assert keys == list(enumerate(expected))


def test_other_clips_are_left_out_in_every_epoch():
    order, left_out = ClipOrder(10, 3, whole_batches=4), set()
    for epoch in range(6):
        order.epoch = epoch
        left_out |= set(range(10)) - {clip for _, _, clip in order}
    assert len(left_out) > 4


def test_an_epoch_has_only_whole_batches(small_flags, tmp_path):
    words = [*small_flags, "--batch-size", "4", "--accumulate", "1", "--optimizer", "AdamW"]
    for flag, steps in (("--no-drop-last", 3), ("--drop-last", 2)):  # of 10 training clips
        run = run_ok([*words, flag, "--epochs", "2", "--milestones="], tmp_path / flag)
        state = read_archive(run.folder / "last.pt")["learning"]["optimizer"]["state"]
        assert {int(values["step"]) for values in state.values()} == {2 * steps}


def test_an_epoch_without_a_whole_batch_is_one_line(small_flags, tmp_path, capsys):
    words = [*small_flags, "--batch-size", "16", "--drop-last", "--output-dir", str(tmp_path / "run")]
    assert "--drop-last: an epoch has 10 training clips, fewer than --batch-size 16" in error_of(words, capsys)


# -- options --------------------------------------------------------------------------------------------------------

MEANINGLESS = [
    ("--milestones 3 --schedule cosine", "--milestones 3 is not used with --schedule cosine"),
    ("--gamma 0.5 --schedule cosine", "--gamma 0.5 is not used with --schedule cosine"),
    ("--warmup-epochs 2", "--warmup-epochs 2.0 is not used with --schedule milestones"),
    ("--select-by war --select-on last", "--select-by war is not used with --select-on last"),
    ("--patience 3 --select-on last", "--patience 3 is not used with --select-on last"),
    (
        "--model emoclip --patience 3",
        "--select-on last; leave it out (--patience= takes back what a recipe sets), or pass ",
    ),
    ("--ema 1", "--ema"),
    ("--ema -0.1", "--ema"),
    ("--patience -1", "--patience"),
    ("--warmup-epochs -1 --schedule cosine", "--warmup-epochs"),
    ("--schedule linear", "--schedule"),
    ("--select-by loss", "--select-by"),
    ("--model sequence --select-by war", "--select-by war is not used by --model sequence"),
    ("--model sequence --gamma 0.5", "--gamma 0.5 is not used with --schedule cosine"),
    *(
        (f"--model emoclip --task regression --targets t.csv {words}", f"{words.split()[0]}")
        for words in ("--ema 0.9", "--patience 3", "--drop-last", "--select-by war")
    ),
]


@pytest.mark.parametrize(("words", "message"), MEANINGLESS)
def test_an_option_that_means_nothing_is_one_line(words, message, capsys):
    assert message in error_of(words.split(), capsys)


@pytest.mark.parametrize(
    "words",
    [
        "--schedule cosine --milestones=",  # takes back what a recipe sets
        "--schedule cosine --warmup-epochs 0",
        "--model sequence --schedule milestones --milestones 3 --gamma 0.5 --patience 2 --ema 0.99 --drop-last",
        "--model emoclip --select-on val --patience 3 --select-by war --schedule cosine --ema 0.9",
        "--model emoclip --task regression --targets t.csv --schedule cosine --warmup-epochs 2",
        "--model frame-expr --select-by macro_f1 --patience 1",
        "--model dfer-clip --patience 1 --ema 0.9",
    ],
)
def test_every_method_takes_them(words):
    read_command(words.split())


def test_methods_keep_their_published_ways():
    usual = {name: make_config({"model": name}).optim for name in ("clip-caer", "emoclip", "frame-expr", "sequence")}
    assert {name: optim.schedule for name, optim in usual.items()} == {
        "clip-caer": "milestones", "emoclip": "milestones", "frame-expr": "milestones", "sequence": "cosine",
    }  # fmt: skip
    assert [usual[name].select_by for name in ("clip-caer", "emoclip", "frame-expr")] == ["uar", "uar", "macro_f1"]
    assert all((optim.ema, optim.patience, optim.drop_last) == (0, 0, False) for optim in usual.values())


@pytest.mark.parametrize("model", ["clip-caer", "frame-expr", "sequence"])
def test_options_that_came_later_leave_the_hash_of_earlier_runs(model):
    options = counted_options(make_config({"model": model, "device": "cpu"}))
    assert not {"schedule", "ema", "drop_last", "select_by"} & options["optim"].keys()
    assert (options["sequence"]["patience"], options["sequence"]["warmup_epochs"]) == (0, 1.0)  # where they were
    assert not {"patience", "warmup_epochs"} & options["optim"].keys()
    flags = {"model": model, "device": "cpu", "ema": 0.9, "drop_last": True, "patience": 2}
    options = counted_options(make_config(flags))
    assert options["optim"]["ema"] == 0.9 and options["optim"]["drop_last"] and options["sequence"]["patience"] == 2


@pytest.mark.parametrize("model", ["clip-caer", "frame-expr", "sequence"])
def test_checkpoints_of_earlier_versions_have_the_ways_of_their_method(model):
    """They lack the new options, and hold two of them in another group."""
    config = make_config({"model": model, "epochs": 4, "patience": 3, "warmup_epochs": 1.0})
    stored = json.loads(json.dumps({group: vars(values) for group, values in vars(config).items()}))
    for name in ("schedule", "ema", "drop_last", "select_by"):
        del stored["optim"][name]
    for name in ("patience", "warmup_epochs"):
        stored["sequence"][name] = stored["optim"].pop(name)
    assert stored_config({"config": stored}) == config


def test_a_stored_run_of_an_earlier_version_goes_on(scripted, small_flags, tmp_path):
    run = run_ok([*small_flags, "--epochs", "2"], tmp_path / "run")

    def age(content):
        for name in ("schedule", "ema", "drop_last", "select_by"):
            del content["config"]["optim"][name]
        for name in ("patience", "warmup_epochs"):
            content["config"]["sequence"][name] = content["config"]["optim"].pop(name)

    for name in ("best.pt", "last.pt"):
        changed(run.folder / name, age)
    assert len(call("--resume", run.folder, "--epochs", "3", folder=run.folder).ok().history) == 3


GRID = "schedule=milestones,cosine ema=0,0.9 drop_last=on select_by=war patience=2 warmup_epochs=2"


def test_they_are_rows_of_an_ablation_and_variants_drop_what_they_do_not_read():
    words = ["--mode", "ablate", "--train-annotation", "train.txt", "--test-annotation", "test.txt"]
    flags, config = read_command([*words, "--milestones", "4", "6", "--patience", "3", "--grid", GRID])
    runs, refusals = plan_ablation(config, flags)
    configs = {run.variant.name: run.config.optim for run in runs}
    cosine = configs["schedule=cosine ema=0.9 drop_last=True select_by=war patience=2 warmup_epochs=2.0"]
    assert (cosine.schedule, cosine.ema, cosine.drop_last, cosine.select_by) == ("cosine", 0.9, True, "war")
    assert (cosine.patience, cosine.warmup_epochs) == (2, 2.0) and configs["base"].milestones == (4, 6)
    # without a cosine a warm-up means nothing, and such variants are left out with that reason
    assert len(refusals) == 2 and all("--warmup-epochs 2.0 is not used with" in line for line in refusals)
    runs, refusals = plan_ablation(*read_command([*words, "--patience", "3", "--grid", "select_on=val,last"])[::-1])
    last = next(run.config.optim for run in runs if run.variant.name == "select_on=last")
    assert not refusals and (last.select_on, last.patience) == ("last", 0)


def test_the_moving_average_is_a_part_that_can_be_left_out():
    words = ["--mode", "ablate", "--train-annotation", "train.txt", "--test-annotation", "test.txt", "--drop-one"]
    flags, config = read_command([*words, "--ema", "0.9"])
    optim = {run.variant.name: run.config.optim for run in plan_ablation(config, flags)[0]}
    assert (optim["base"].ema, optim["without moving average of the weights"].ema) == (0.9, 0.0)
