"""Published files of every family: keys, recovered texts, and logits against the published arithmetic by hand."""

import pytest
import torch

from engine.checkpoints import open_checkpoint
from tests.support import published as files
from tests.support import reference
from tests.support.opening import RAER, SEVEN, as_written, assert_close, same_tokens, score
from tests.support.published import Recipe, write_class_texts
from utils.errors import UserError

# -- keys -----------------------------------------------------------------------------------------------------------

TWELVE = Recipe(layers=12)
WHOLE = {
    "caer": (files.clip_caer, TWELVE, 633),
    "fork": (files.fork, TWELVE, 636),
    "rapt": (files.rapt, TWELVE, 642),
    "rapt with moco": (lambda recipe: files.rapt(recipe, moco=True), TWELVE, 832),
    "dfer": (files.dfer_clip, Recipe(layers=12, classes=7), 618),
    "emoclip": (files.emoclip, Recipe(layers=12, depth=2), 327),
}


@pytest.mark.parametrize("name", WHOLE)
def test_every_key_of_a_whole_file_is_taken_or_dropped_for_a_reason(name, write, seven):
    build, recipe, count = WHOLE[name]
    published = build(recipe)
    assert len(published.state) == count
    report = open_checkpoint(write(published), {"class_texts": seven} if recipe.classes == 7 else {}).report
    assert report.missing == [] and report.unexpected == []
    assert name.split()[0] in report.family
    taken, dropped = as_written(published, report.taken), as_written(published, report.dropped)
    assert not taken & dropped
    assert taken | dropped == set(published.state)
    assert len(report.taken) + len(report.dropped) == count


def test_aliases_and_momentum_copies_are_what_is_dropped(write):
    published = files.rapt(Recipe(), moco=True)
    report = open_checkpoint(write(published), {}).report
    parts = ("image_encoder", "face_adapter", "temporal_net", "temporal_net_body", "project_fc")
    assert {key for key in published.state if key.startswith(tuple(f"{part}." for part in parts))} <= set(report.taken)
    momentum = {key for key in published.state if key.startswith(("queue", *(f"{part}_m." for part in parts)))}
    aliases = {key for key in published.state if key.startswith("clip_model_.")}
    alone = {"clip_model_.token_embedding.weight", "clip_model_.logit_scale"}
    assert momentum | (aliases - alone) <= set(report.dropped) <= momentum | aliases


# -- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_ctx", [8, 12])
@pytest.mark.parametrize("class_specific", [True, False])
def test_prompt_texts_are_read_back_from_the_tensors(write, n_ctx, class_specific):
    published = files.fork(Recipe(n_ctx=n_ctx, class_specific=class_specific))
    report = open_checkpoint(write(published), {}).report
    assert same_tokens(report.prompts, published.prompts)
    assert same_tokens(report.descriptive, published.plain)
    assert report.prompts[0] == "a still face above an open book"
    assert report.prompts[1] == "a broad smile"
    assert report.descriptive[3] == "a face about to fall asleep in the warm afternoon"


def test_texts_of_any_kind_are_read_back(write, views, monkeypatch):
    """Token 0, which also fills the rest of a prompt, is an exclamation mark; bytes and the placeholder are words."""
    texts = ("what a surprise!!", "a café, naïve", "x marks, the x", 'it\'s 100% ... (odd) "quotes"', "表情 face")
    monkeypatch.setattr(files, "PROMPT_TEXTS", tuple((text,) for text in texts))
    published = files.clip_caer(Recipe())
    path = write(published)
    assert same_tokens(open_checkpoint(path, {}).report.prompts, texts)
    expected = reference.clip_caer_logits(
        published.state, published.lengths, *views, classes=5, tau=0.01, position="front"
    )
    assert_close(score(path, {"class_token_position": "front"}, *views), expected)


def test_the_texts_of_an_ensemble_are_read_back_in_the_order_of_the_file(write):
    published = files.rapt(Recipe(texts_per_class=3))
    report = open_checkpoint(write(published), {}).report
    assert len(report.prompts) == 15 and same_tokens(report.prompts, published.prompts)


def test_own_texts_change_neither_the_prompts_nor_the_logits(write, views, tmp_path):
    """They name the classes; the file's prompts, and where each of them ends, stay its own."""
    given = {"class_texts": str(write_class_texts(tmp_path / "five.json", SEVEN[:5]))}
    published = files.clip_caer(Recipe())
    path = write(published)
    opened = open_checkpoint(path, given)
    assert list(opened.content["classes"]) == list(SEVEN[:5]) and opened.content["label_base"] == 0
    assert same_tokens(opened.report.prompts, published.prompts)
    expected = reference.clip_caer_logits(published.state, published.lengths, *views, classes=5, tau=0.01)
    assert_close(score(path, given, *views), expected)


def test_without_own_texts_the_classes_are_those_of_the_data_set(write):
    content = open_checkpoint(write(files.clip_caer(Recipe())), {}).content
    assert tuple(content["classes"]) == RAER and content["label_base"] == 1


# -- files that are not whole ---------------------------------------------------------------------------------------

LAYER = "temporal_net_body.temporal_transformer.layers.0.1.fn.fn.net.3.bias"
LOST = [
    (files.clip_caer, LAYER),
    (files.clip_caer, "temporal_net.cls_token"),
    (files.clip_caer, "project_fc.weight"),
    (files.clip_caer, "clip_model_.token_embedding.weight"),
    (files.clip_caer, "prompt_learner.token_suffix"),
    (files.fork, "hand_crafted_prompt_embeddings"),
    (files.fork, "face_adapter.fc.0.weight"),
    (files.rapt, "face_adapter.fc.3.weight"),
    (files.rapt, "temporal_net_body.attention_pool.2.weight"),
    (files.dfer_clip, "module.image_encoder.ln_post.bias"),
    (files.emoclip, "module.backbone.token_embedding.weight"),
    (files.emoclip, "module.backbone.visual.proj"),
    (files.emoclip, "module.logit_scale"),
]


def copy_of(key: str) -> str:
    """The name under which the whole CLIP holds the same tensor."""
    return key.replace("image_encoder.", "clip_model_.visual.").replace("text_encoder.", "clip_model_.")


@pytest.mark.parametrize(("build", "key"), LOST, ids=lambda part: part if isinstance(part, str) else part.__name__)
def test_a_missing_tensor_is_named(write, build, key):
    path = write(build(Recipe()).changed({key: None, copy_of(key): None}))
    with pytest.raises(UserError, match=f"lacks .*{key.removeprefix('module.')}"):
        open_checkpoint(path, {})


@pytest.mark.parametrize("block", ["image_encoder.transformer.resblocks.1.", "text_encoder.transformer.resblocks.0."])
def test_a_missing_block_is_named(write, block):
    """The number of blocks is read from the names, which must not hide a hole."""
    published = files.clip_caer(Recipe(layers=3))
    lost = (block, copy_of(block))
    path = write(published.changed({key: None for key in published.state if key.startswith(lost)}))
    with pytest.raises(UserError, match=block):
        open_checkpoint(path, {})


def test_a_tower_that_is_stored_only_as_a_copy_is_taken_from_there(write):
    """Tools that write safetensors keep one name of every shared tensor, not always the same one."""
    published = files.clip_caer(Recipe())
    towers = ("image_encoder.", "text_encoder.")
    path = write(published.changed({key: None for key in published.state if key.startswith(towers)}))
    whole, sparse = open_checkpoint(write(published), {}), open_checkpoint(path, {})
    assert sparse.content["model"].keys() == whole.content["model"].keys()
    assert all(torch.equal(value, whole.content["model"][key]) for key, value in sparse.content["model"].items())


def test_both_streams_are_equally_deep(write):
    """The published programs make both from one option: a net that lost its last block is no smaller net."""
    published = files.clip_caer(Recipe(depth=2))
    block = "temporal_net_body.temporal_transformer.layers.1."
    path = write(published.changed({key: None for key in published.state if key.startswith(block)}))
    with pytest.raises(UserError, match=block):
        open_checkpoint(path, {})


def test_a_missing_tensor_is_reported_where_that_is_allowed(write):
    path = write(files.clip_caer(Recipe()).changed({LAYER: None}))
    assert open_checkpoint(path, {"allow_partial": True}).report.missing == [LAYER]


def test_an_unexpected_tensor_is_named_or_left_out_on_request(write, views):
    published = files.clip_caer(Recipe()).changed({"gate.weight": torch.ones(2, 3)})
    path = write(published)
    with pytest.raises(UserError, match="gate.weight"):
        open_checkpoint(path, {})
    assert open_checkpoint(path, {"allow_partial": True}).report.unexpected == ["gate.weight"]
    expected = reference.clip_caer_logits(published.state, published.lengths, *views, classes=5, tau=0.01)
    assert_close(score(path, {"allow_partial": True}, *views), expected)


@pytest.mark.parametrize(
    ("alias", "part"),
    [
        ("clip_model_.visual.conv1.weight", "image_encoder.conv1.weight"),
        ("clip_model_.transformer.resblocks.1.mlp.c_fc.bias", "text_encoder.transformer.resblocks.1.mlp.c_fc.bias"),
    ],
)
def test_an_alias_of_another_value_is_named_and_the_part_wins_on_request(write, views, alias, part):
    published = files.clip_caer(Recipe())
    other = published.state[alias].clone()
    other.view(-1)[3] += 0.5
    broken = published.changed({alias: other})
    path = write(broken)
    with pytest.raises(UserError, match=alias):
        open_checkpoint(path, {})
    expected = reference.clip_caer_logits(broken.state, broken.lengths, *views, classes=5, tau=0.01)
    assert_close(score(path, {"allow_partial": True}, *views), expected)


def test_an_alias_may_be_a_copy(write, views):
    """Storages are shared by the published programs; equal values are as good."""
    published = files.clip_caer(Recipe())
    name = "clip_model_.visual.proj"
    path = write(published.changed({name: published.state[name].clone()}))
    expected = reference.clip_caer_logits(published.state, published.lengths, *views, classes=5, tau=0.01)
    assert_close(score(path, {}, *views), expected)


def test_a_prompt_that_is_no_row_of_the_token_embedding_is_refused(write):
    """Its text, and with it the place of its end, cannot be known."""
    published = files.clip_caer(Recipe())
    suffix = published.state["prompt_learner.token_suffix"].clone()
    suffix[2] += 0.01
    with pytest.raises(UserError, match="prompt 3"):
        open_checkpoint(write(published.changed({"prompt_learner.token_suffix": suffix})), {})
