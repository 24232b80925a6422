"""Published files of every family: keys, recovered texts, and logits against the published arithmetic by hand."""

import json
import math
from pathlib import Path

import pytest
import torch

from engine.checkpoints import model_config, open_checkpoint, rebuild
from models.clip_backbone import tokenize
from tests.support import published as files
from tests.support import reference
from tests.support.opening import RAER, SEVEN, as_written, assert_close, same_tokens, score
from tests.support.published import Published, Recipe, class_descriptions, write_class_texts
from tests.support.tools import ROOT
from utils.checkpoint import save_checkpoint
from utils.errors import UserError


@pytest.fixture(scope="module")
def views():
    """Face and context, two clips of 16 frames."""
    return torch.rand(2, 2, 16, 3, 32, 32, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def seven(tmp_path_factory) -> str:
    return str(write_class_texts(tmp_path_factory.mktemp("classes") / "seven.json", SEVEN))


@pytest.fixture
def write(tmp_path):
    """Write the smallest file that can be read; it is removed after the test."""
    path = tmp_path / "published.pth"

    def to_disk(published: Published) -> Path:
        is_bare = any(key.removeprefix("module.").startswith("backbone.") for key in published.state)
        torch.save(published.state if is_bare else {"state_dict": published.state}, path)
        return path

    yield to_disk
    path.unlink(missing_ok=True)


# -- logits ---------------------------------------------------------------------------------------------------------


def learnable_texts(classes=5, tau=0.01, position="end"):
    """CLIP-CAER's logits of the learnable texts: every family with two streams, without slerp."""
    return lambda file, face, context: reference.clip_caer_logits(
        file.state, file.lengths, face, context, classes=classes, tau=tau, position=position
    )


def hand_crafted_texts(**values):
    """The fork's logits: its hand-crafted texts are moved towards the video."""
    return lambda file, *views: reference.fork_logits(file.state, file.plain_lengths, *views, **values)


def face_alone(position="end"):
    return lambda file, face, _: reference.dfer_clip_logits(file.state, file.lengths, face, position=position)


def class_texts(file, face, _):
    """EmoCLIP's logits: class descriptions, encoded by the file's own text tower."""
    return reference.emoclip_logits(file.state, tokenize(class_descriptions(7)), face)


def positioned(where):
    return {"class_token_position": where}


def name_of(value) -> str:
    return getattr(value, "__name__", str(value))


def rapt_with_moco(recipe):
    return files.rapt(recipe, moco=True)


WIDE, LARGE = Recipe(n_ctx=12), Recipe(n_ctx=7, image_size=48)
SHARED, DEEP = Recipe(class_specific=False), Recipe(n_ctx=12, depth=2)
LOGITS = [
    (files.clip_caer, Recipe(), {}, learnable_texts()),
    (files.clip_caer, Recipe(), positioned("middle"), learnable_texts(position="middle")),
    (files.clip_caer, Recipe(), positioned("front"), learnable_texts(position="front")),
    (files.clip_caer, SHARED, {}, learnable_texts()),
    (files.clip_caer, Recipe(class_specific=False, n_ctx=12), positioned("middle"), learnable_texts(position="middle")),
    (files.clip_caer, SHARED, positioned("front"), learnable_texts(position="front")),
    (files.clip_caer, DEEP, {}, learnable_texts()),
    # of 7 context vectors the odd one is after the class text
    (files.clip_caer, LARGE, positioned("middle"), learnable_texts(position="middle")),
    (files.clip_caer, Recipe(n_ctx=12, depth=2, layers=3), positioned("front"), learnable_texts(position="front")),
    (files.clip_caer, Recipe(), {"temperature": 0.05}, learnable_texts(tau=0.05)),
    (files.clip_caer, Recipe(classes=7), {}, learnable_texts(classes=7)),
    (files.fork, WIDE, {}, hand_crafted_texts()),
    (files.fork, Recipe(n_ctx=12, class_specific=False, depth=2), {}, hand_crafted_texts()),
    (files.fork, WIDE, {"slerp_weight": 0.3, "temperature": 0.2}, hand_crafted_texts(tau=0.2, weight=0.3)),
    (files.fork, WIDE, {"slerp_weight": 0.0}, learnable_texts(tau=0.07)),
    # an ensemble of texts turns off the slerp of the fork
    (files.fork, Recipe(n_ctx=12, texts_per_class=3), {}, learnable_texts(tau=0.07)),
    (files.rapt, Recipe(depth=2), {}, learnable_texts(tau=0.07)),
    (files.rapt, Recipe(depth=2, texts_per_class=3), {}, learnable_texts(tau=0.07)),
    (rapt_with_moco, Recipe(), {}, learnable_texts(tau=0.07)),
    (rapt_with_moco, Recipe(texts_per_class=3), {}, learnable_texts(tau=0.07)),
    (
        files.rapt,
        Recipe(texts_per_class=3, class_specific=False),
        positioned("middle"),
        learnable_texts(tau=0.07, position="middle"),
    ),
    (files.dfer_clip, Recipe(classes=7), {}, face_alone()),
    (files.dfer_clip, Recipe(classes=7, class_specific=False), positioned("middle"), face_alone("middle")),
    (files.dfer_clip, Recipe(depth=2), positioned("front"), face_alone("front")),
    (files.emoclip, Recipe(depth=1, classes=7), {}, class_texts),
    (files.emoclip, Recipe(depth=2, classes=7), {}, class_texts),
]


@pytest.mark.parametrize(("build", "recipe", "flags", "expected"), LOGITS, ids=name_of)
def test_logits_are_the_published_ones(write, seven, build, recipe, flags, expected):
    published, size = build(recipe), recipe.image_size
    face, context = torch.rand(2, 2, 16, 3, size, size, generator=torch.Generator().manual_seed(5))
    flags = flags | ({"class_texts": seven} if recipe.classes == 7 else {})
    has_context = build not in (files.dfer_clip, files.emoclip)
    path = write(published)
    assert_close(score(path, flags, face, context if has_context else None), expected(published, face, context))
    if published.prompts:
        assert same_tokens(open_checkpoint(path, flags).report.prompts, published.prompts)


def test_the_streams_are_not_exchanged(write, views):
    face, context = views
    published = files.clip_caer(Recipe())
    straight, exchanged = (learnable_texts()(published, *pair) for pair in ((face, context), (context, face)))
    assert (straight - exchanged).abs().max() > 0.1
    assert_close(score(write(published), {}, context, face), exchanged)


def test_fewer_frames_use_the_first_positions(write, views):
    short = [view[:, :5] for view in views]
    published = files.clip_caer(Recipe())
    assert_close(score(write(published), {}, *short), learnable_texts()(published, *short))


def test_settings_are_read_from_the_tensors_of_a_file(write):
    config = open_checkpoint(write(files.clip_caer(Recipe(image_size=48, n_ctx=12, depth=2))), {}).content["config"]
    assert config["data"]["image_size"] == 48 and config["data"]["normalize"] == "none"
    assert config["model"]["contexts_number"] == 12 and config["model"]["temporal_layers"] == 2
    assert config["model"]["class_specific_contexts"] is True and config["model"]["adapter"] == "none"


def test_two_heads_are_refused_by_name_and_left_out_on_request(write, views):
    published = files.two_heads(Recipe(n_ctx=12))
    path = write(published)
    with pytest.raises(UserError, match="cls_bin|cls_4"):
        open_checkpoint(path, {})
    flags = {"allow_partial": True, "temperature": 0.07, "slerp_weight": 0.5}
    assert_close(score(path, flags, *views), hand_crafted_texts()(published, *views))
    report = open_checkpoint(path, flags).report
    heads = {f"{head}.{part}" for head in ("cls_bin", "cls_4") for part in ("weight", "bias")}
    assert not heads & {*report.loaded, *report.dropped} and report.missing == []


def test_emoclip_uses_many_frames_and_the_texts_of_the_data_set(write):
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


# -- keys -----------------------------------------------------------------------------------------------------------

TWELVE = Recipe(layers=12)
COMPLETE = {
    "caer": (files.clip_caer, TWELVE, 633),
    "fork": (files.fork, TWELVE, 636),
    "rapt": (files.rapt, TWELVE, 642),
    "rapt with moco": (lambda recipe: files.rapt(recipe, moco=True), TWELVE, 832),
    "dfer": (files.dfer_clip, Recipe(layers=12, classes=7), 618),
    "emoclip": (files.emoclip, Recipe(layers=12, depth=2), 327),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_every_key_of_a_complete_file_is_used_or_dropped_for_a_reason(name, write, seven):
    build, recipe, count = COMPLETE[name]
    published = build(recipe)
    assert len(published.state) == count
    report = open_checkpoint(write(published), {"class_texts": seven} if recipe.classes == 7 else {}).report
    assert report.missing == [] and report.unexpected == []
    assert name.split()[0] in report.family
    used, dropped = as_written(published, report.loaded), as_written(published, report.dropped)
    assert not used & dropped
    assert used | dropped == set(published.state)
    assert len(report.loaded) + len(report.dropped) == count


def test_only_aliases_and_momentum_copies_are_dropped(write):
    published = files.rapt(Recipe(), moco=True)
    report = open_checkpoint(write(published), {}).report
    parts = ("image_encoder", "face_adapter", "temporal_net", "temporal_net_body", "project_fc")
    assert {key for key in published.state if key.startswith(tuple(f"{part}." for part in parts))} <= set(report.loaded)
    momentum = {key for key in published.state if key.startswith(("queue", *(f"{part}_m." for part in parts)))}
    aliases = {key for key in published.state if key.startswith("clip_model_.")}
    no_copies = {"clip_model_.token_embedding.weight", "clip_model_.logit_scale"}
    assert momentum | (aliases - no_copies) <= set(report.dropped) <= momentum | aliases


# -- texts ----------------------------------------------------------------------------------------------------------


def test_prompt_texts_are_read_back_from_the_tensors(write):
    published = files.fork(Recipe())
    report = open_checkpoint(write(published), {}).report
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
    expected = learnable_texts(position="front")(published, *views)
    assert_close(score(path, {"class_token_position": "front"}, *views), expected)


def test_texts_of_the_users_own_change_neither_prompts_nor_logits(write, views, tmp_path):
    """They name only the classes; prompts and their ends are read from the file."""
    flags = {"class_texts": str(write_class_texts(tmp_path / "five.json", SEVEN[:5]))}
    published = files.clip_caer(Recipe())
    path = write(published)
    opened = open_checkpoint(path, flags)
    assert list(opened.content["classes"]) == list(SEVEN[:5]) and opened.content["label_base"] == 0
    assert same_tokens(opened.report.prompts, published.prompts)
    expected = learnable_texts()(published, *views)
    assert_close(score(path, flags, *views), expected)


def test_without_texts_of_the_users_own_classes_are_those_of_the_data_set(write):
    content = open_checkpoint(write(files.clip_caer(Recipe())), {}).content
    assert tuple(content["classes"]) == RAER and content["label_base"] == 1


# -- files that are not whole ---------------------------------------------------------------------------------------

LAYER = "temporal_net_body.temporal_transformer.layers.0.1.fn.fn.net.3.bias"
LACKING = [
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


@pytest.mark.parametrize("scale", [math.nan, 1e9, -math.inf])
def test_an_impossible_logit_scale_is_refused_in_any_checkpoint(write, tmp_path, scale):
    with pytest.raises(UserError, match="damaged: its logit_scale is"):
        open_checkpoint(write(files.emoclip(Recipe(), logit_scale=scale)), {})
    opened = open_checkpoint(write(files.emoclip(Recipe())), {})
    save_checkpoint(opened.content, tmp_path / "ours.pt")
    open_checkpoint(tmp_path / "ours.pt", {})
    opened.content["model"]["logit_scale"] = torch.tensor(scale)
    save_checkpoint(opened.content, tmp_path / "ours.pt")
    with pytest.raises(UserError, match="ours.pt: damaged: its logit_scale is"):
        open_checkpoint(tmp_path / "ours.pt", {})


def copy_of(key: str) -> str:
    """The name under which the whole CLIP holds the same tensor."""
    return key.replace("image_encoder.", "clip_model_.visual.").replace("text_encoder.", "clip_model_.")


@pytest.mark.parametrize(("build", "key"), LACKING, ids=lambda part: part if isinstance(part, str) else part.__name__)
def test_a_missing_tensor_is_named(write, build, key):
    path = write(build(Recipe()).changed({key: None, copy_of(key): None}))
    with pytest.raises(UserError, match=f"lacks .*{key.removeprefix('module.')}"):
        open_checkpoint(path, {})


@pytest.mark.parametrize(
    "block",
    [
        "image_encoder.transformer.resblocks.1.",
        "text_encoder.transformer.resblocks.0.",
        "temporal_net_body.temporal_transformer.layers.1.",  # both streams are equally deep
    ],
)
def test_a_missing_block_is_named(write, block):
    """The number of blocks is read from the names; a missing block must not be overlooked."""
    published = files.clip_caer(Recipe(layers=3, depth=2))
    names = (block, copy_of(block))
    path = write(published.changed({key: None for key in published.state if key.startswith(names)}))
    with pytest.raises(UserError, match=block):
        open_checkpoint(path, {})


def test_a_tower_that_is_stored_only_as_a_copy_is_read_from_the_copy(write):
    """Tools that write safetensors keep one name of every shared tensor, not always the same one."""
    published = files.clip_caer(Recipe())
    towers = ("image_encoder.", "text_encoder.")
    path = write(published.changed({key: None for key in published.state if key.startswith(towers)}))
    full, sparse = (open_checkpoint(file, {}).content["model"] for file in (write(published), path))
    assert sparse.keys() == full.keys()
    assert all(torch.equal(value, full[key]) for key, value in sparse.items())


def test_a_missing_tensor_is_reported_with_allow_partial(write):
    path = write(files.clip_caer(Recipe()).changed({LAYER: None}))
    assert open_checkpoint(path, {"allow_partial": True}).report.missing == [LAYER]


def test_an_unexpected_tensor_is_named_or_left_out_on_request(write, views):
    published = files.clip_caer(Recipe()).changed({"gate.weight": torch.ones(2, 3)})
    path = write(published)
    with pytest.raises(UserError, match="gate.weight"):
        open_checkpoint(path, {})
    assert open_checkpoint(path, {"allow_partial": True}).report.unexpected == ["gate.weight"]
    expected = learnable_texts()(published, *views)
    assert_close(score(path, {"allow_partial": True}, *views), expected)


@pytest.mark.parametrize(
    ("alias", "part"),
    [
        ("clip_model_.visual.conv1.weight", "image_encoder.conv1.weight"),
        ("clip_model_.transformer.resblocks.1.mlp.c_fc.bias", "text_encoder.transformer.resblocks.1.mlp.c_fc.bias"),
    ],
)
def test_an_alias_with_another_value_is_named_and_ignored_on_request(write, views, alias, part):
    published = files.clip_caer(Recipe())
    copy = published.state[alias].clone()
    copy.view(-1)[3] += 0.5
    broken = published.changed({alias: copy})
    path = write(broken)
    with pytest.raises(UserError, match=alias):
        open_checkpoint(path, {})
    expected = learnable_texts()(broken, *views)
    assert_close(score(path, {"allow_partial": True}, *views), expected)


def test_an_alias_may_be_a_copy(write, views):
    """Published programs share storages; equal values are accepted too."""
    published = files.clip_caer(Recipe())
    name = "clip_model_.visual.proj"
    path = write(published.changed({name: published.state[name].clone()}))
    expected = learnable_texts()(published, *views)
    assert_close(score(path, {}, *views), expected)


def test_a_prompt_that_is_not_in_the_token_embedding_is_refused(write):
    """Its text, and therefore the position of its end, is unknown."""
    published = files.clip_caer(Recipe())
    suffix = published.state["prompt_learner.token_suffix"].clone()
    suffix[2] += 0.01
    with pytest.raises(UserError, match="prompt 3"):
        open_checkpoint(write(published.changed({"prompt_learner.token_suffix": suffix})), {})
