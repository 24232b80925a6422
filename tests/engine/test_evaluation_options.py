"""Which of a checkpoint's own options hold in evaluation, and which say nothing of another data set."""

from dataclasses import asdict

import pytest

from engine.checkpoints import evaluation_config, model_config
from engine.config import make_config
from engine.options import names_with
from utils.errors import UserError

TRAINED = {
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


def content(**given):
    return {"config": asdict(make_config(TRAINED | given))}


def test_its_own_options_hold_on_its_own_set(tmp_path):
    data = evaluation_config(content(pack=str(tmp_path)), {"root_dir": "/elsewhere"}).data
    assert {name: getattr(data, name) for name in TRAINED.keys() - {"model", "pack"}} == {
        name: value for name, value in TRAINED.items() if name not in ("model", "pack")
    }
    assert data.pack == str(tmp_path)


@pytest.mark.parametrize("mode", ["eval", "zero-shot"])
def test_another_set_has_lists_boxes_and_classes_of_its_own(mode):
    config = evaluation_config(content(), {"dataset": "DFEW", "test_annotation": "other.txt"}, mode=mode)
    assert config.data.dataset == "DFEW" and config.data.test_annotation == "other.txt"
    assert not any(getattr(config.data, name) for name in names_with(of_dataset=True) if name != "test_annotation")
    assert not config.data.crop_body and config.data.sampling == "window"


def test_a_context_stream_that_saw_body_boxes_asks_for_those_of_another_set():
    stored = content(model="clip-caer", leave_out=None)
    with pytest.raises(UserError, match="--bounding-box-body"):
        evaluation_config(stored, {"dataset": "DFEW", "test_annotation": "other.txt"})


def test_zero_shot_compares_with_every_class_also_where_one_was_left_out_of_training():
    assert evaluation_config(content(), {}, mode="zero-shot").data.leave_out is None
    assert evaluation_config(content(), {"leave_out": "fear"}, mode="zero-shot").data.leave_out == "fear"


@pytest.mark.parametrize("given", [{"model": "dfer-clip"}, {"task": "regression"}, {"swapped_heads": True}])
def test_what_the_tensors_were_made_with_cannot_be_changed(given):
    with pytest.raises(UserError, match="--" + next(iter(given)).replace("_", "-")):
        evaluation_config(content(), given)


def test_the_model_is_compared_before_what_follows_from_it():
    stored = content(model="clip-caer", leave_out=None)
    with pytest.raises(UserError, match="--model dfer-clip: this checkpoint was trained with clip-caer"):
        evaluation_config(stored, {"num_segments": 3, "dataset": "DFEW", "model": "dfer-clip"})


@pytest.mark.parametrize("said", [{}, {"mode": "convert"}])
def test_of_a_model_alone_no_file_of_boxes_is_asked_for(said):
    stored = content(model="clip-caer", leave_out=None)
    assert model_config(stored, said | {"dataset": "DFEW"}).data.crop_body
