"""Logits of published files of every family against the published arithmetic by hand."""

import json
from collections import OrderedDict

import pytest
import torch

from engine.checkpoints import model_config, open_checkpoint, rebuild
from models.clip_backbone import tokenize
from tests.support import published as files
from tests.support import reference
from tests.support.opening import assert_close, same_tokens, score
from tests.support.published import Published, Recipe, class_descriptions
from tests.support.tools import ROOT
from utils.errors import UserError

# -- CLIP-CAER ------------------------------------------------------------------------------------------------------

CLIP_CAER = [
    (Recipe(), "end"),
    (Recipe(), "middle"),
    (Recipe(), "front"),
    (Recipe(class_specific=False), "end"),
    (Recipe(class_specific=False, n_ctx=12), "middle"),
    (Recipe(class_specific=False), "front"),
    (Recipe(n_ctx=12, depth=2), "end"),
    (Recipe(n_ctx=7, image_size=48), "middle"),  # the odd vector stands behind the class text
    (Recipe(n_ctx=12, depth=2, layers=3), "front"),
]


@pytest.mark.parametrize(("recipe", "position"), CLIP_CAER, ids=str)
def test_clip_caer_gives_the_published_logits(write, recipe, position):
    published = files.clip_caer(recipe)
    shape = (2, 2, 16, 3, recipe.image_size, recipe.image_size)
    face, context = torch.rand(shape, generator=torch.Generator().manual_seed(6))
    given = {} if position == "end" else {"class_token_position": position}
    expected = reference.clip_caer_logits(
        published.state, published.lengths, face, context, classes=5, tau=0.01, position=position
    )
    assert_close(score(write(published), given, face, context), expected)


def test_the_streams_are_not_exchanged(write, views):
    face, context = views
    published = files.clip_caer(Recipe())
    straight, exchanged = (
        reference.clip_caer_logits(published.state, published.lengths, *pair, classes=5, tau=0.01)
        for pair in ((face, context), (context, face))
    )
    assert (straight - exchanged).abs().max() > 0.1
    assert_close(score(write(published), {}, context, face), exchanged)


def test_fewer_frames_take_the_first_positions(write, views):
    face, context = (view[:, :5] for view in views)
    published = files.clip_caer(Recipe())
    expected = reference.clip_caer_logits(published.state, published.lengths, face, context, classes=5, tau=0.01)
    assert_close(score(write(published), {}, face, context), expected)


def test_a_given_temperature_replaces_the_published_one(write, views):
    published = files.clip_caer(Recipe())
    expected = reference.clip_caer_logits(published.state, published.lengths, *views, classes=5, tau=0.05)
    assert_close(score(write(published), {"temperature": 0.05}, *views), expected)


def test_seven_classes_under_names_of_their_own(write, views, seven):
    published = files.clip_caer(Recipe(classes=7))
    expected = reference.clip_caer_logits(published.state, published.lengths, *views, classes=7, tau=0.01)
    assert_close(score(write(published), {"class_texts": seven}, *views), expected)


def test_names_may_have_a_prefix_and_numbers_half_precision(write, views):
    published = files.clip_caer(Recipe())
    state = OrderedDict((f"module.{key}", tensor.half()) for key, tensor in published.state.items())
    expected = reference.clip_caer_logits(state, published.lengths, *views, classes=5, tau=0.01)
    assert_close(score(write(Published(state)), {}, *views), expected)


def test_what_a_file_was_made_with_is_read_from_its_tensors(write):
    config = open_checkpoint(write(files.clip_caer(Recipe(image_size=48, n_ctx=12, depth=2))), {}).content["config"]
    assert config["data"]["image_size"] == 48 and config["data"]["normalize"] == "none"
    assert config["model"]["contexts_number"] == 12 and config["model"]["temporal_layers"] == 2
    assert config["model"]["class_specific_contexts"] is True and config["model"]["adapter"] == "none"


# -- the forks ------------------------------------------------------------------------------------------------------


def learnable_logits(published: Published, views, tau: float = 0.07) -> torch.Tensor:
    return reference.clip_caer_logits(published.state, published.lengths, *views, classes=5, tau=tau)


@pytest.mark.parametrize("recipe", [Recipe(n_ctx=12), Recipe(n_ctx=12, class_specific=False, depth=2)], ids=str)
def test_the_fork_moves_its_hand_crafted_texts_to_the_video(write, views, recipe):
    published = files.fork(recipe)
    expected = reference.fork_logits(published.state, published.plain_lengths, *views)
    assert_close(score(write(published), {}, *views), expected)


def test_the_fork_with_another_slerp_weight_and_temperature(write, views):
    published = files.fork(Recipe(n_ctx=12))
    path = write(published)
    given = {"slerp_weight": 0.3, "temperature": 0.2}
    expected = reference.fork_logits(published.state, published.plain_lengths, *views, tau=0.2, weight=0.3)
    assert_close(score(path, given, *views), expected)
    assert_close(score(path, {"slerp_weight": 0.0}, *views), learnable_logits(published, views))


def test_an_ensemble_switches_the_slerp_of_the_fork_off(write, views):
    published = files.fork(Recipe(n_ctx=12, texts_per_class=3))
    assert_close(score(write(published), {}, *views), learnable_logits(published, views))


def test_two_heads_are_refused_by_name_and_left_out_on_request(write, views):
    published = files.two_heads(Recipe(n_ctx=12))
    path = write(published)
    with pytest.raises(UserError, match="cls_bin|cls_4"):
        open_checkpoint(path, {})
    given = {"allow_partial": True, "temperature": 0.07, "slerp_weight": 0.5}
    expected = reference.fork_logits(published.state, published.plain_lengths, *views)
    assert_close(score(path, given, *views), expected)
    report = open_checkpoint(path, given).report
    heads = {f"{head}.{part}" for head in ("cls_bin", "cls_4") for part in ("weight", "bias")}
    assert not heads & {*report.taken, *report.dropped} and report.missing == []


@pytest.mark.parametrize("texts", [1, 3])
@pytest.mark.parametrize("moco", [False, True])
def test_rapt_pools_frames_and_averages_the_cosines_of_a_class(write, views, moco, texts):
    published = files.rapt(Recipe(texts_per_class=texts, depth=2 - moco), moco)
    assert_close(score(write(published), {}, *views), learnable_logits(published, views))


def test_rapt_in_the_middle_with_a_generic_context(write, views):
    published = files.rapt(Recipe(texts_per_class=3, class_specific=False))
    expected = reference.clip_caer_logits(
        published.state, published.lengths, *views, classes=5, tau=0.07, position="middle"
    )
    assert_close(score(write(published), {"class_token_position": "middle"}, *views), expected)


# -- one stream -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "position"),
    [(Recipe(classes=7), "end"), (Recipe(classes=7, class_specific=False), "middle"), (Recipe(depth=2), "front")],
    ids=str,
)
def test_dfer_clip_sees_the_face_alone(write, views, seven, recipe, position):
    published = files.dfer_clip(recipe)
    given = {"class_token_position": position} | ({"class_texts": seven} if recipe.classes == 7 else {})
    expected = reference.dfer_clip_logits(published.state, published.lengths, views[0], position=position)
    path = write(published)
    assert_close(score(path, given, views[0]), expected)
    assert same_tokens(open_checkpoint(path, given).report.prompts, published.prompts)


@pytest.mark.parametrize("depth", [1, 2])
def test_emoclip_reads_the_class_descriptions_with_its_own_tower(write, views, seven, depth):
    published = files.emoclip(Recipe(depth=depth))
    expected = reference.emoclip_logits(published.state, tokenize(class_descriptions(7)), views[0])
    assert_close(score(write(published), {"class_texts": seven}, views[0]), expected)


def test_emoclip_takes_many_frames_and_the_texts_of_the_data_set(write):
    face = torch.randn(1, 40, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    published = files.emoclip(Recipe(depth=2))
    entries = json.loads((ROOT / "annotation/RAER/classes.json").read_text(encoding="utf-8"))["classes"]
    ids = tokenize([entry["class_descriptor"] for entry in entries])
    assert_close(score(write(published), {}, face), reference.emoclip_logits(published.state, ids, face))


def test_emoclip_is_normalised_as_clip_and_computes_in_full_precision(write):
    opened = open_checkpoint(write(files.emoclip(Recipe(depth=2))), {})
    config = model_config(opened.content, {})
    assert config.data.normalize == "clip"
    assert {tensor.dtype for tensor in rebuild(opened.content, config).parameters()} == {torch.float32}
