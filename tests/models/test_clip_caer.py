"""CLIP-CAER: its figure computed by hand, the effect of its texts, its checkpoint; adapter and IEC."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dataloader.classes import load_classes
from engine.methods import method_named
from engine.model import rebuild_model
from models.clip_backbone import RANDOM_SHAPE, load_clip, tokenize
from models.clip_caer import Adapter, instance_enhanced_cosine
from tests.support.tools import configure

CLASSES = load_classes("RAER")


def build(seed=0, **changes):
    config = configure(seed=seed, **changes)
    return method_named("clip-caer").build(config, CLASSES, load_clip("random", 0)).eval()


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
@pytest.mark.parametrize("residual", [True, False])
def test_dropout_follows_both_activations_of_the_adapter_in_training_alone(residual):
    x, adapter = torch.randn(5, 32), Adapter(32, residual=residual, dropout=0.5)
    plain = Adapter(32, residual=residual)
    plain.load_state_dict(adapter.state_dict())  # the same names
    first, second = adapter.layers[0].weight, adapter.layers[2].weight
    assert torch.equal(adapter.eval()(x), plain(x))
    torch.manual_seed(3)
    inner = F.dropout((x @ first.T).relu(), 0.5)
    inner = F.dropout((inner @ second.T).relu(), 0.5)
    torch.manual_seed(3)
    assert torch.allclose(adapter.train()(x), 0.8 * x + 0.2 * inner if residual else inner, atol=1e-6)


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
    used = views[text if weight else "soft"]
    expected = torch.stack([slerped(out.video @ view.T, weight) for view in used]).mean(dim=0) / 0.05
    assert torch.allclose(out.logits, expected, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_an_ensemble_averages_the_texts_of_a_class_and_iec_still_works(frames, weight):
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
@pytest.mark.parametrize("streams", ["face", "context"])
def test_one_stream_alone(frames, streams):
    model = build(streams=streams)
    face, context = (frames[0], None) if streams == "face" else (None, frames[1])
    out = model(face, context)
    assert out.logits.shape == (3, 5) and model.fuse.in_features == 64
    assert (model.context_temporal is None) == (streams == "face")
    assert (model.adapter is None) == (streams == "context")


def test_leaving_a_part_out_does_not_change_the_first_weights_of_others():
    full, bare = build(), build(adapter="none")
    for name, value in bare.state_dict().items():
        assert torch.equal(value, full.state_dict()[name]), name
    assert not torch.equal(build(seed=1).fuse.weight, full.fuse.weight)


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
    again = rebuild_model("clip-caer", RANDOM_SHAPE, model.state_dict(), configure(**changes)).eval()
    face = frames[0] if model.face_temporal is not None else None
    context = frames[1] if model.context_temporal is not None else None
    assert torch.equal(again(face, context).logits, model(face, context).logits)


def test_the_descriptive_texts_are_unit_features_and_not_trained():
    model = build()
    assert model.descriptive.norm(dim=-1).flatten().tolist() == pytest.approx([1.0] * 5, abs=1e-5)
    assert not model.descriptive.requires_grad


def test_the_model_has_the_configured_sizes():
    model = build(temporal_layers=3, contexts_number=7)
    assert len(model.face_temporal.blocks) == len(model.context_temporal.blocks) == 3
    assert model.face_temporal.positions.shape == (1, 5, 64) and model.prompts.context.shape == (5, 7, 64)
    assert model.face_temporal is not model.context_temporal


# -- the instance-enhanced classifier: its closed form against an explicit slerp and dot product -------------------

WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
GOLDEN = {  # cosine → values at weight 0, .25, .5, .75
    -0.5: (-0.5, 0, 0.5, 0.866025),
    0.0: (0, 0.382683, 0.707107, 0.92388),
    0.25: (0.25, 0.549871, 0.790569, 0.946195),
    0.5: (0.5, 0.707107, 0.866025, 0.965926),
    0.9: (0.9, 0.94333, 0.974679, 0.99365),
}


def explicit(text: Tensor, video: Tensor, weight: float) -> Tensor:
    """Move every text towards every video along the great circle, then compare: (B, C)."""
    cosine = (video @ text.T)[..., None]
    angle = weight * torch.acos(cosine)
    across = F.normalize(video[:, None] - cosine * text, dim=-1)
    mixed = torch.cos(angle) * text + torch.sin(angle) * across
    return (video[:, None] * mixed).sum(dim=-1)


def units(rows: int, seed: int, D: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, D, generator=generator, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("pull", [0.0, 2.0, 20.0, -5.0])
def test_the_closed_form_is_slerp_and_a_dot_product(weight, pull):
    video = units(40, 1)
    text = F.normalize(units(40, 2) + pull * video, dim=-1)  # far, near, and opposite
    got = instance_enhanced_cosine(video @ text.T, weight)
    assert torch.allclose(got, explicit(text, video, weight), atol=1e-6, rtol=0)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_gradients_are_those_of_the_explicit_slerp(weight):
    gradients = []
    for form in ("closed", "explicit"):
        video, text = units(6, 3).requires_grad_(), units(4, 4).requires_grad_()
        value = instance_enhanced_cosine(video @ text.T, weight) if form == "closed" else explicit(text, video, weight)
        share = torch.arange(24, dtype=torch.float64).view(6, 4).sin()
        slopes = torch.autograd.grad((share * value).sum(), (video, text))
        for vector, slope in zip((video, text), slopes, strict=True):
            # the two forms differ along the vector itself, but a unit vector cannot move in that direction
            gradients.append((slope - (slope * vector).sum(-1, keepdim=True) * vector).detach())
    for closed, slow in zip(gradients[:2], gradients[2:], strict=True):
        assert torch.allclose(closed, slow, atol=1e-9)


@pytest.mark.parametrize("cosine", GOLDEN)
def test_values_and_a_slope_are_golden(cosine):
    cosine = torch.tensor(cosine, dtype=torch.float64, requires_grad=True)
    values = [instance_enhanced_cosine(cosine, weight) for weight in (0, 0.25, 0.5, 0.75)]
    assert [value.item() for value in values] == pytest.approx(GOLDEN[cosine.item()], abs=1e-6)
    if cosine == 0.25:
        assert torch.autograd.grad(values[2], cosine)[0].item() == pytest.approx(0.316228, abs=1e-6)


@pytest.mark.parametrize("weight", [0.1, 0.5, 0.9, 0.999])
def test_near_parallel_vectors_the_series_equals_the_arc(weight):
    for gap in (0.0, 1e-12, 1e-8, 1e-5, 9.99e-5, 1.0001e-4, 1e-3):
        cosine = torch.tensor(1 - gap, dtype=torch.float64, requires_grad=True)
        value = instance_enhanced_cosine(cosine, weight)
        value.backward()
        angle = 2 * math.asin(math.sqrt((1 - cosine.item()) / 2))  # exact where acos is not
        share = 1 - weight
        slope = share**2 if angle == 0 else share * math.sin(share * angle) / math.sin(angle)
        assert value.item() == pytest.approx(math.cos(share * angle), abs=1e-11)
        assert cosine.grad.item() == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weight", WEIGHTS)
def test_parallel_and_opposite_vectors_stay_finite(dtype, weight):
    base = units(1, 5).to(dtype)[0]
    nudged = [F.normalize(base + size * units(1, 6).to(dtype)[0], dim=-1) for size in (1e-8, 1e-6, 1e-4, 1e-2)]
    text = torch.stack([base, -base, *nudged, *(-v for v in nudged)]).requires_grad_()
    video = base[None].clone().requires_grad_()
    exact = torch.tensor([1.0, -1.0, 1 + 1e-6, -1 - 1e-6, 0.0], dtype=dtype, requires_grad=True)  # some overshoot
    values = torch.cat([instance_enhanced_cosine((video @ text.T)[0], weight), instance_enhanced_cosine(exact, weight)])
    values.sum().backward()
    assert values.isfinite().all() and (values.abs() <= 1 + 2e-6).all()
    assert all(tensor.grad.isfinite().all() for tensor in (text, video, exact))


@pytest.mark.parametrize("weight", WEIGHTS)
def test_iec_rises_with_the_cosine_so_the_highest_class_never_changes(weight):
    cosine = torch.linspace(-0.9999, 1, 20001, dtype=torch.float64)
    assert (instance_enhanced_cosine(cosine, weight).diff() > 0).all()
    logits = units(500, 7) @ units(5, 8).T
    assert torch.equal(instance_enhanced_cosine(logits, weight).argmax(-1), logits.argmax(-1))


def test_weight_0_is_the_cosine_itself():
    cosine = torch.linspace(-1, 1, 101)
    assert torch.equal(instance_enhanced_cosine(cosine, 0), cosine)
