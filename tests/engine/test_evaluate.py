"""--mode eval: the numbers of the training run again, from its checkpoint alone."""

import json

import pytest
import torch

from engine.options import group_of, names_with
from tests.support.tiny import NAMES
from tests.support.tools import error_of, run_main


@pytest.fixture(scope="module")
def evaluate(trained, tiny_arguments, tmp_path_factory):
    """Evaluate the trained run with more flags; the list and the boxes come from the checkpoint."""

    def run(*more):
        best = str(trained.folder / "best.pt")
        arguments = ["--mode", "eval", "--eval-checkpoint", best, "--workers", "0", "--device", "cpu", *more]
        return run_main(arguments, tmp_path_factory.mktemp("eval") / "run")

    return run


def logits(run):
    return torch.tensor([[float(row[f"logit_{name}"]) for name in NAMES] for row in run.predictions])


def test_it_gives_bit_identical_predictions_and_equal_metrics(trained, evaluate):
    done = evaluate()
    assert done.status == 0, done.err
    assert (done.folder / "predictions.csv").read_bytes() == (trained.folder / "predictions.csv").read_bytes()
    assert done.metrics == trained.metrics


def test_it_needs_no_clip_no_class_texts_and_no_training_list(trained, tiny_flags, tmp_path):
    stored = torch.load(trained.folder / "best.pt", weights_only=True)
    stored["config"]["model"]["clip_path"] = "gone/clip.pt"
    stored["config"]["data"]["train_annotation"] = "gone/train.txt"
    torch.save(stored, tmp_path / "moved.pt")
    arguments = ["--mode", "eval", "--eval-checkpoint", str(tmp_path / "moved.pt"), "--workers", "0"]
    done = run_main(arguments, tmp_path / "run")
    assert done.status == 0 and done.metrics == trained.metrics


def test_it_writes_a_run_folder_of_its_own(evaluate):
    done = evaluate()
    names = {path.name for path in done.folder.iterdir()}
    pictures = {"confusion_matrix.png", "reliability.png"}
    results = {"predictions.csv", "metrics.json", "mistakes"}
    assert names == {"config.json", "log.txt", "tensorboard"} | results | pictures
    config = json.loads((done.folder / "config.json").read_text())
    assert config["run"]["mode"] == "eval" and config["model"]["temperature"] == 0.02


def test_another_batch_size_changes_no_prediction(trained, evaluate):
    done = evaluate("--batch-size", "7")
    assert torch.allclose(logits(done), logits(trained), atol=1e-3)
    assert [row["clip"] for row in done.predictions] == [row["clip"] for row in trained.predictions]


@pytest.mark.parametrize("weight", ["0.1", "0.9"])
def test_another_slerp_weight_changes_logits_and_no_prediction(trained, evaluate, weight):
    done = evaluate("--slerp-weight", weight)
    assert not torch.allclose(logits(done), logits(trained), atol=1e-2)
    assert [row["predicted"] for row in done.predictions] == [row["predicted"] for row in trained.predictions]


def test_the_learnable_contexts_matter_only_where_they_classify(trained, tmp_path):
    stored = torch.load(trained.folder / "best.pt", weights_only=True)
    stored["model"]["prompts.context"] += torch.randn_like(stored["model"]["prompts.context"])
    torch.save(stored, tmp_path / "noisy.pt")

    def run(file, *more):
        arguments = ["--mode", "eval", "--eval-checkpoint", str(file), "--workers", "0", *more]
        return logits(run_main(arguments, tmp_path / f"{file.stem}{len(list(tmp_path.iterdir()))}"))

    for more, matters in (([], False), (["--iec-text", "soft"], True), (["--slerp-weight", "0"], True)):
        plain, noisy = run(trained.folder / "best.pt", *more), run(tmp_path / "noisy.pt", *more)
        assert torch.equal(plain, noisy) is not matters, more


def test_another_list_is_scored(evaluate, tiny_flags, tmp_path):
    lines = open(f"{tiny_flags['--root-dir']}/annotation/test.txt").read().splitlines()
    (tmp_path / "some.txt").write_text("\n".join(line for line in lines if not line.endswith("3")))
    done = evaluate("--test-annotation", str(tmp_path / "some.txt"))
    assert done.metrics["num_clips"] == 16 and done.metrics["absent_classes"] == ["Confusion"]
    assert "warning: no test clip of Confusion: UAR" in done.out
    per_class = done.metrics["per_class"]
    assert per_class["Confusion"] == {"recall": None, "support": 0, "f1": None, "interval": None, "f1_interval": None}
    others = [values["recall"] for name, values in per_class.items() if name != "Confusion"]
    assert done.metrics["uar"] == pytest.approx(sum(others) / 4)


CHANGES = {
    "num_segments": "8", "duration": "2", "image_size": "224", "text_type": "class_names", "temporal_layers": "2",
    "contexts_number": "4", "class_token_position": "front", "class_specific_contexts": "False",
    "adapter": "none", "streams": "face", "model": "emoclip", "task": "regression", "swapped_heads": "True",
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_checkpoint_was_made_with_cannot_be_changed(trained, capsys, tmp_path, name):
    flag = "--" + name.replace("_", "-")
    arguments = ["--mode", "eval", "--eval-checkpoint", str(trained.folder / "best.pt"), flag, CHANGES[name]]
    message = error_of([*arguments, "--output-dir", str(tmp_path / "run")], capsys)
    assert flag in message and "trained with" in message
    assert not (tmp_path / "run").exists()


def test_every_option_that_is_built_in_is_tried_above():
    fixed = {*names_with(checkpoint="fixed"), *names_with(checkpoint="fixed classes")}
    assert {name for name in fixed if group_of(name) != "sequence"} == set(CHANGES)  # those: test_sequence.py


def test_the_same_value_given_again_is_no_change(trained, evaluate):
    assert evaluate("--num-segments", "4", "--adapter", "residual").metrics == trained.metrics


def test_new_class_texts_are_refused(trained, capsys):
    arguments = ["--mode", "eval", "--eval-checkpoint", str(trained.folder / "best.pt"), "--class-texts", "mine.json"]
    assert "--class-texts" in error_of(arguments, capsys)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_a_file_that_is_no_checkpoint_is_named(capsys, tmp_path, content):
    (tmp_path / "other.pt").write_bytes(content)
    assert "other.pt" in error_of(["--mode", "eval", "--eval-checkpoint", str(tmp_path / "other.pt")], capsys)


def test_another_projects_checkpoint_and_a_missing_one_are_named(capsys, tmp_path):
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "epoch": 3}, tmp_path / "other.pt")
    message = error_of(["--mode", "eval", "--eval-checkpoint", str(tmp_path / "other.pt")], capsys)
    assert "other.pt" in message and "no checkpoint layout that is known here" in message
    assert "gone.pt" in error_of(["--mode", "eval", "--eval-checkpoint", str(tmp_path / "gone.pt")], capsys)


def test_a_checkpoint_whose_tensors_do_not_fit_its_options_is_refused(trained, capsys, tmp_path):
    stored = torch.load(trained.folder / "best.pt", weights_only=True)
    del stored["model"]["fuse.weight"]
    torch.save(stored, tmp_path / "hurt.pt")
    assert "fuse.weight" in error_of(["--mode", "eval", "--eval-checkpoint", str(tmp_path / "hurt.pt")], capsys)


def test_faces_of_another_size_than_in_training_are_a_warning(trained, tmp_path):
    stored = torch.load(trained.folder / "best.pt", weights_only=True)
    assert stored["face_width"] == 40.0  # of every box of the tiny set
    for width, words in ((20.0, "around 40 pixels wide here and 20 in training"), (30.0, None), (90.0, "show more of")):
        torch.save(stored | {"face_width": width}, tmp_path / "other.pt")
        flags = ["--mode", "eval", "--eval-checkpoint", str(tmp_path / "other.pt"), "--workers", "0", "--device", "cpu"]
        done = run_main(flags, tmp_path / f"run{width}")
        assert done.status == 0, done.err
        assert words in done.out if words else "pixels wide" not in done.out


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf"), "wide", True])
def test_a_width_that_is_none_is_a_damaged_file(trained, tmp_path, width, capsys):
    stored = torch.load(trained.folder / "best.pt", weights_only=True) | {"face_width": width}
    torch.save(stored, tmp_path / "bad.pt")
    flags = ["--mode", "eval", "--eval-checkpoint", str(tmp_path / "bad.pt"), "--output-dir", str(tmp_path / "run")]
    assert "the width of its faces is no number" in error_of(flags, capsys)
