"""--mode eval: the scores of the training run from its checkpoint alone, and which stored options are used."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from dataloader.classes import ANNOTATION
from engine.checkpoints import evaluation_config, model_config, naming_stored_files
from engine.config import make_config
from engine.options import group_of, names_with
from tests.support.resuming import read
from tests.support.tiny import NAMES
from tests.support.tools import error_of, run_main
from utils.errors import UserError


@pytest.fixture(scope="module")
def evaluate(trained, tmp_path_factory):
    """Evaluate the trained run, or another file; the list and the boxes come from the checkpoint."""

    def run(*extra, file=None):
        words = ["--mode", "eval", "--eval-checkpoint", str(file or trained.folder / "best.pt"), *extra]
        return run_main([*words, "--workers", "0", "--device", "cpu"], tmp_path_factory.mktemp("eval") / "run")

    return run


@pytest.fixture
def refused(trained, tmp_path, capsys):
    """The error of evaluating a file, and no run folder."""

    def message(*extra, file=None):
        words = ["--mode", "eval", "--eval-checkpoint", str(file or trained.folder / "best.pt"), *extra]
        text = error_of([*words, "--output-dir", str(tmp_path / "refused")], capsys)
        assert not (tmp_path / "refused").exists()
        return text

    return message


@pytest.fixture
def edited(trained, tmp_path):
    """A copy of the trained checkpoint after a change of its content."""

    def write(change) -> Path:
        content = read(trained.folder / "best.pt")
        change(content)
        torch.save(content, tmp_path / "edited.pt")
        return tmp_path / "edited.pt"

    return write


def logits(run):
    return torch.tensor([[float(row[f"logit_{name}"]) for name in NAMES] for row in run.predictions])


def test_an_evaluation_has_its_own_folder_with_bit_identical_predictions(trained, evaluate):
    run = evaluate().ok()
    assert (run.folder / "predictions.csv").read_bytes() == (trained.folder / "predictions.csv").read_bytes()
    assert run.metrics == trained.metrics
    results = {"predictions.csv", "metrics.json", "mistakes", "confusion_matrix.png", "reliability.png"}
    assert {path.name for path in run.folder.iterdir()} == {"config.json", "log.txt", "tensorboard"} | results
    config = json.loads((run.folder / "config.json").read_text())
    assert config["run"]["mode"] == "eval" and config["model"]["temperature"] == 0.02


def test_no_clip_weights_and_no_training_list_are_needed(trained, evaluate, edited):
    def move(content):
        content["config"]["model"]["clip_path"] = "gone/clip.pt"
        content["config"]["data"]["train_annotation"] = "gone/train.txt"

    run = evaluate(file=edited(move))
    assert run.status == 0 and run.metrics == trained.metrics


def test_the_batch_size_does_not_change_predictions(trained, evaluate):
    run = evaluate("--batch-size", "7")
    assert torch.allclose(logits(run), logits(trained), atol=1e-3)
    assert [row["clip"] for row in run.predictions] == [row["clip"] for row in trained.predictions]


@pytest.mark.parametrize("weight", ["0.1", "0.9"])
def test_the_slerp_weight_changes_logits_but_no_predicted_class(trained, evaluate, weight):
    run = evaluate("--slerp-weight", weight)
    assert not torch.allclose(logits(run), logits(trained), atol=1e-2)
    assert [row["predicted"] for row in run.predictions] == [row["predicted"] for row in trained.predictions]


def test_learnable_contexts_change_predictions_only_if_they_classify(evaluate, edited):
    def add_noise(content):
        content["model"]["prompts.context"] += torch.randn_like(content["model"]["prompts.context"])

    noisy = edited(add_noise)
    for extra, matters in (([], False), (["--iec-text", "soft"], True), (["--slerp-weight", "0"], True)):
        assert torch.equal(logits(evaluate(*extra)), logits(evaluate(*extra, file=noisy))) is not matters, extra


def test_a_class_without_test_clips_is_left_out_of_scores_with_a_warning(evaluate, tiny_flags, tmp_path):
    lines = open(f"{tiny_flags['--root-dir']}/annotation/test.txt").read().splitlines()
    (tmp_path / "some.txt").write_text("\n".join(line for line in lines if not line.endswith("3")))
    run = evaluate("--test-annotation", str(tmp_path / "some.txt"))
    assert run.metrics["num_clips"] == 16 and run.metrics["absent_classes"] == ["Confusion"]
    assert "warning: no test clip of Confusion: UAR" in run.out
    per_class = run.metrics["per_class"]
    absent = per_class.pop("Confusion")
    assert absent == {"recall": None, "support": 0, "f1": None, "interval": None, "f1_interval": None}
    assert run.metrics["uar"] == pytest.approx(sum(values["recall"] for values in per_class.values()) / 4)


CHANGES = {
    "num_segments": "8", "duration": "2", "image_size": "224", "text_type": "class_names", "temporal_layers": "2",
    "contexts_number": "4", "class_token_position": "front", "class_specific_contexts": "False",
    "adapter": "none", "streams": "face", "model": "emoclip", "task": "regression", "swapped_heads": "True",
    "lora_rank": "2", "lora_alpha": "3", "lora_targets": "mlp", "lora_towers": "both", "lora_layers": "1",
    "temporal_pool": "mean",
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_an_option_that_the_checkpoint_fixes_cannot_be_changed(refused, name):
    flag = "--" + name.replace("_", "-")
    message = refused(flag, CHANGES[name])
    assert flag in message and "trained with" in message


def test_every_option_that_a_checkpoint_fixes_is_tested():
    fixed = {*names_with(checkpoint="fixed"), *names_with(checkpoint="fixed classes")}
    assert {name for name in fixed if group_of(name) != "sequence"} == set(CHANGES)  # sequence models: test_sequence.py


def test_repeating_the_stored_value_is_allowed(trained, evaluate):
    assert evaluate("--num-segments", "4", "--adapter", "residual").metrics == trained.metrics


def test_new_class_texts_are_refused(refused, edited, tmp_path):
    """Whether texts are new depends on what is in the files, not on their names."""
    shipped, mine = json.loads((ANNOTATION / "RAER/classes.json").read_text(encoding="utf-8")), tmp_path / "mine.json"

    def refusal(content, **options):
        mine.write_text(json.dumps(content), encoding="utf-8")
        return refused("--class-texts", str(mine), **options)

    shipped["classes"][0]["descriptive"] = "A face."
    assert f"--class-texts {mine}: a checkpoint has fixed prompts, here of those of RAER" in refusal(shipped)
    assert "fixed prompts" in refusal({"classes": [{"name": "Neutrality"}]})
    assert "no such file" in refused("--class-texts", "gone.json")
    stored = edited(lambda content: content["config"]["data"].update(class_texts="lost.json"))
    assert "here of lost.json, which is gone; leave it out" in refusal(shipped, file=stored)


def test_a_copy_of_the_texts_of_the_training_is_accepted(trained, evaluate, edited, tmp_path):
    copy = shutil.copy(ANNOTATION / "RAER/classes.json", tmp_path / "copy.json")
    assert evaluate("--class-texts", str(copy)).metrics == trained.metrics
    stored = edited(lambda content: content["config"]["data"].update(class_texts=str(copy)))
    shipped = str(ANNOTATION / "RAER/classes.json")
    assert evaluate("--class-texts", shipped, file=stored).metrics == trained.metrics


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n" + bytes(30), None])
def test_a_missing_file_or_a_file_that_is_not_a_checkpoint_is_named(refused, tmp_path, content):
    if content is not None:
        (tmp_path / "other.pt").write_bytes(content)
    assert "other.pt" in refused(file=tmp_path / "other.pt")


def test_a_checkpoint_of_another_project_is_named(refused, tmp_path):
    torch.save({"state_dict": {"weight": torch.zeros(2)}, "epoch": 3}, tmp_path / "other.pt")
    message = refused(file=tmp_path / "other.pt")
    assert "other.pt" in message and "not a known checkpoint layout" in message


def test_a_checkpoint_whose_tensors_do_not_fit_its_options_is_refused(refused, edited):
    assert "fuse.weight" in refused(file=edited(lambda content: content["model"].pop("fuse.weight")))


@pytest.mark.parametrize(
    ("width", "words"), [(20.0, "around 40 pixels wide here and 20 in training"), (30.0, None), (90.0, "show more of")]
)
def test_faces_of_another_size_than_in_training_cause_a_warning(trained, evaluate, edited, width, words):
    assert read(trained.folder / "best.pt")["face_width"] == 40.0  # of every box of the tiny set
    run = evaluate(file=edited(lambda content: content.update(face_width=width))).ok()
    assert words in run.out if words else "pixels wide" not in run.out


@pytest.mark.parametrize("width", [0.0, -1.0, float("nan"), float("inf"), "wide", True])
def test_a_face_width_that_is_not_positive_means_a_damaged_file(refused, edited, width):
    file = edited(lambda content: content.update(face_width=width))
    assert "damaged: face_width: expected a" in refused(file=file)


UNFIT = {  # (a change to the content that fits neither the tensors nor any run, a word of the error)
    "larger pictures": (lambda c: c["config"]["data"].update(image_size=1024), "1024"),
    "more frames": (lambda c: c["config"]["data"].update(num_segments=64), "64 frames"),
    "other sizes": (lambda c: c["clip_shape"].update(image_size=1024), "1024"),
    "prompts that end nowhere": (lambda c: c["model"]["prompts.end"].fill_(500), "prompts.end"),
    "texts without end": (lambda c: c["model"]["prompts.text_lengths"].fill_(2**40), "prompts.text_lengths"),
    "texts of two classes": (lambda c: c["model"].update(descriptive=c["model"]["descriptive"][:2]), "descriptive"),
    "texts of another width": (lambda c: c["model"].update({"prompts.text": torch.zeros(5, 60, 8)}), "prompts.text"),
    "one class twice": (lambda c: c.update(classes=["a", "b", "c", "d", "a"]), "called a"),
    "four classes": (lambda c: c.update(classes=["a", "b", "c", "d"]), "descriptive"),
    "epochs without end": (lambda c: c.update(epoch=10**12), "epoch"),
    "a negative label": (lambda c: c.update(label_base=-3), "label_base"),
    "a cold temperature": (
        lambda c: c.update(calibration={"temperature": 1e-30, "fitted_on": "val", "clips": 3}),
        "temperature",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_stored_sizes_that_do_not_fit_the_tensors_give_a_one_line_error(refused, edited, name):
    change, word = UNFIT[name]
    file = edited(change)
    message = refused(file=file)
    assert str(file) in message and word in message


def test_data_options_that_are_not_stored_have_their_defaults(refused, edited):
    file = edited(lambda content: content["config"].pop("data"))
    assert "--image-size 224, its tensors read 64" in refused("--test-annotation", "gone.txt", file=file)


def test_wrong_paths_in_a_checkpoint_are_named_with_it(refused, edited, trained):
    def refusal(*flags, **stored):
        file = edited(lambda content: content["config"]["data"].update(stored))
        return refused(*flags, file=file).replace(str(file), "FILE")

    root = read(trained.folder / "best.pt")["config"]["data"]["root_dir"]
    missing, advice = "no such file or directory", "; check it and --root-dir"
    gone = ["--test-annotation", "gone.txt"]
    text = f"annotation list None/gone.txt: {missing}{advice} (FILE says --root-dir None; name your own)"
    assert text in refusal(*gone, root_dir="None")
    text = f"annotation list {root}/lost.txt: {missing}{advice} (FILE says --test-annotation lost.txt; name your own)"
    assert text in refusal("--root-dir", root, test_annotation="lost.txt")
    text = f"{root}/lost.json: {missing} (FILE says --bounding-box-body lost.json; name your own)"
    assert text in refusal("--root-dir", root, bounding_box_body="lost.json")
    assert "FILE says" not in refusal("--root-dir", root, *gone)


@pytest.mark.parametrize(
    ("root", "text", "is_named"),
    [
        (".", "--ci persons: the persons in these clips are unknown; pass --ci clips.", False),
        ("data", "metadata of data.json: not a list", False),
        ("/data", "/data2/face.json: no such file", False),
        ("/data/", "/data/face.json: no such file", True),
        ("data", "the boxes (data) are damaged", True),
    ],
)
def test_a_stored_path_is_named_only_where_an_error_is_about_it(root, text, is_named):
    with pytest.raises(UserError) as caught, naming_stored_files(Path("f.pt"), make_config({"root_dir": root}), {}):
        raise UserError(text)
    assert str(caught.value) == (f"{text} (f.pt says --root-dir {root}; name your own)" if is_named else text)


STORED = {
    "model": "emoclip",
    "dataset": "MAFW",
    "train_annotation": "train.txt",
    "test_annotation": "test.txt",
    "bounding_box_face": "face.json",
    "bounding_box_body": "body.json",
    "class_texts": "mine.json",
    "leave_out": "anger",
    "pack": "data/pack",
}
TWO_STREAMS = {"model": "clip-caer", "leave_out": None}  # it was trained with body boxes
DFEW = {"dataset": "DFEW", "test_annotation": "other.txt"}


def content_with(**given):
    return {"config": asdict(make_config(STORED | given))}


def test_stored_options_are_used_on_the_same_data_set(tmp_path):
    data = evaluation_config(content_with(pack=str(tmp_path)), {"root_dir": "/elsewhere"}).data
    expected = {name: value for name, value in STORED.items() if name != "model"} | {"pack": str(tmp_path)}
    assert {name: getattr(data, name) for name in expected} == expected


@pytest.mark.parametrize("mode", ["eval", "zero-shot"])
def test_another_data_set_uses_its_own_lists_boxes_and_classes(mode):
    data = evaluation_config(content_with(), DFEW, mode=mode).data
    assert data.dataset == "DFEW" and data.test_annotation == "other.txt"
    assert not any(getattr(data, name) for name in names_with(of_dataset=True) if name != "test_annotation")
    assert not data.crop_body and data.sampling == "window"


def test_zero_shot_uses_every_class_even_if_one_was_left_out_of_training():
    assert evaluation_config(content_with(), {}, mode="zero-shot").data.leave_out is None
    assert evaluation_config(content_with(), {"leave_out": "fear"}, mode="zero-shot").data.leave_out == "fear"


@pytest.mark.parametrize(
    ("stored", "given", "words"),
    [
        # a context stream that saw body boxes asks for those of another set
        (TWO_STREAMS, DFEW, "--bounding-box-body"),
        # the method is compared before the options that follow from it
        (
            TWO_STREAMS,
            {"num_segments": 3, "dataset": "DFEW", "model": "dfer-clip"},
            "--model dfer-clip: this checkpoint was trained with clip-caer",
        ),
    ],
)
def test_evaluation_refuses_another_model_and_missing_boxes(stored, given, words):
    with pytest.raises(UserError, match=words):
        evaluation_config(content_with(**stored), given)


@pytest.mark.parametrize("given", [{}, {"mode": "convert"}])
def test_a_model_without_data_needs_no_boxes(given):
    assert model_config(content_with(**TWO_STREAMS), given | {"dataset": "DFEW"}).data.crop_body
