"""The whole model: its figure computed by hand, what its texts do to it, and its way through a checkpoint."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dataloader.classes import load_classes
from engine.options import ModelOptions
from models.build import build_clip_caer
from models.clip_backbone import RANDOM_SHAPE, load_clip, tokenize
from models.clip_caer import Adapter
from models.rebuild import rebuild_model

CLASSES = load_classes("RAER")
OPTIONS = ModelOptions(clip_path="random")


def build(seed=0, **changes):
    options = replace(OPTIONS, **changes)
    texts, descriptive = CLASSES.texts_of(options.text_type), CLASSES.texts_of("descriptive")
    return build_clip_caer(load_clip("random", 0), texts, descriptive, options, max_frames=4, seed=seed).eval()


@pytest.fixture(scope="module")
def frames():
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 4, 3, 64, 64, generator=generator)  # face and context, B = 3, T = 4


def slerped(cosine, weight):
    return torch.cos((1 - weight) * torch.acos(cosine))


@torch.no_grad()
def test_the_video_feature_follows_the_figure(frames):
    model = build(adapter="published")
    streams = []
    for stream, temporal in zip(frames, (model.face_temporal, model.context_temporal), strict=True):
        features = torch.stack([torch.stack([model.image_encoder(f[None])[0] for f in clip]) for clip in stream])
        if temporal is model.face_temporal:
            first, second = model.adapter.layers[0], model.adapter.layers[2]
            features = (features @ first.weight.T).relu() @ second.weight.T
            features = features.relu()
        streams.append(temporal(features))
    fused = torch.cat(streams, dim=-1) @ model.fuse.weight.T + model.fuse.bias
    out = model(*frames)
    assert torch.allclose(out.video, fused / fused.norm(dim=-1, keepdim=True), atol=1e-5)


@torch.no_grad()
def test_the_adapter_blends_or_replaces():
    x = torch.randn(5, 32)
    adapter = Adapter(32, residual=True, ratio=0.2)
    published = Adapter(32, residual=False, ratio=0.2)
    published.load_state_dict(adapter.state_dict())
    first, second = adapter.layers[0].weight, adapter.layers[2].weight
    assert first.shape == (8, 32) and second.shape == (32, 8)
    assert {n for n, _ in adapter.named_parameters()} == {"layers.0.weight", "layers.2.weight"}  # no biases
    inner = ((x @ first.T).relu() @ second.T).relu()
    assert torch.allclose(published(x), inner, atol=1e-6)
    assert torch.allclose(adapter(x), 0.8 * x + 0.2 * inner, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("text", ["descriptive", "soft", "both"])
def test_logits_are_slerped_cosines_over_the_temperature(frames, weight, text):
    model = build(slerp_weight=weight, iec_text=text, temperature=0.05)
    out = model(*frames)
    soft = F.normalize(model.text_encoder(model.prompts(), model.prompts.end), dim=-1)
    fixed = load_clip("random", 0).encode_text(tokenize([row[0] for row in CLASSES.texts_of("descriptive")]))
    views = {"soft": [soft], "descriptive": [F.normalize(fixed, dim=-1)]}
    views["both"] = [*views["soft"], *views["descriptive"]]
    chosen = views[text if weight else "soft"]
    expected = torch.stack([slerped(out.video @ view.T, weight) for view in chosen]).mean(dim=0) / 0.05
    assert torch.allclose(out.logits, expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_an_ensemble_takes_the_mean_over_a_classs_texts_and_iec_still_works(frames, weight):
    model = build(text_type="prompt_ensemble", slerp_weight=weight, iec_text="soft")
    out = model(*frames)
    assert out.texts.soft.shape == (5, 3, 64)
    soft = F.normalize(model.text_encoder(model.prompts(), model.prompts.end), dim=-1)
    expected = torch.zeros(3, 5)
    for c in range(5):
        for p in range(3):
            expected[:, c] += slerped(out.video @ soft[3 * c + p], weight) / 3
    assert torch.allclose(out.logits, expected / 0.07, atol=1e-4)


@torch.no_grad()
def test_an_ensemble_with_descriptive_iec_reads_the_slerp_weight(frames):
    plain, warm = (build(text_type="prompt_ensemble", slerp_weight=w)(*frames).logits for w in (0.3, 0.6))
    assert plain.shape == (3, 5) and not torch.allclose(plain, warm)


@torch.no_grad()
@pytest.mark.parametrize(
    ("changes", "uses_contexts"),
    [
        ({"slerp_weight": 0.5, "iec_text": "descriptive"}, False),
        ({"slerp_weight": 0.5, "iec_text": "soft"}, True),
        ({"slerp_weight": 0.5, "iec_text": "both"}, True),
        ({"slerp_weight": 0.0}, True),
    ],
)
def test_the_learnable_contexts_enter_the_classifier_only_where_they_should(frames, changes, uses_contexts):
    model = build(**changes)
    before = model(*frames).logits
    model.prompts.context.add_(torch.randn_like(model.prompts.context))
    assert torch.equal(model(*frames).logits, before) is not uses_contexts


@torch.no_grad()
@pytest.mark.parametrize("streams", ["face", "context"])
def test_one_stream_alone(frames, streams):
    model = build(streams=streams)
    face, context = (frames[0], None) if streams == "face" else (None, frames[1])
    out = model(face, context)
    assert out.logits.shape == (3, 5) and model.fuse.in_features == 64
    assert (model.context_temporal is None) == (streams == "face")
    assert (model.adapter is None) == (streams == "context")


@torch.no_grad()
def test_face_and_context_are_not_mixed_up(frames):
    model = build()
    plain, changed = model.encode_frames(*frames), model.encode_frames(frames[0], frames[1].flip(0))
    assert torch.allclose(plain[0], changed[0], atol=1e-5) and torch.allclose(plain[1], changed[1].flip(0), atol=1e-5)
    assert not torch.allclose(model(*frames).logits, model(*frames.flip(0)).logits)


@torch.no_grad()
def test_clips_do_not_see_one_another(frames):
    model = build()
    together = model(*frames).logits
    alone = torch.cat([model(frames[0, b : b + 1], frames[1, b : b + 1]).logits for b in range(3)])
    assert torch.allclose(together, alone, atol=1e-4)


def test_leaving_a_part_out_draws_the_others_alike():
    whole, bare = build(), build(adapter="none")
    for name, value in bare.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name
    assert not torch.equal(build(seed=1).fuse.weight, whole.fuse.weight)


@torch.no_grad()
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"text_type": "prompt_ensemble", "slerp_weight": 0.0, "class_token_position": "middle"},
        {"class_specific_contexts": False, "iec_text": "both", "contexts_number": 4, "class_token_position": "front"},
        {"streams": "face", "adapter": "none", "temporal_layers": 2},
        {"streams": "context"},
    ],
)
def test_a_model_rebuilt_from_its_tensors_gives_the_same_logits(frames, changes):
    model = build(seed=5, **changes)
    options = replace(OPTIONS, **changes)
    again = rebuild_model("clip-caer", RANDOM_SHAPE, model.state_dict(), options).eval()
    face = frames[0] if model.face_temporal is not None else None
    context = frames[1] if model.context_temporal is not None else None
    assert torch.equal(again(face, context).logits, model(face, context).logits)


def test_the_descriptive_texts_are_unit_features_and_not_trained():
    model = build()
    assert model.descriptive.norm(dim=-1).flatten().tolist() == pytest.approx([1.0] * 5, abs=1e-5)
    assert not model.descriptive.requires_grad


def test_the_sizes_asked_for_are_the_sizes_built():
    model = build(temporal_layers=3, contexts_number=7)
    assert len(model.face_temporal.blocks) == len(model.context_temporal.blocks) == 3
    assert model.face_temporal.positions.shape == (1, 5, 64) and model.prompts.context.shape == (5, 7, 64)
    assert model.face_temporal is not model.context_temporal
