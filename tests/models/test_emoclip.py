"""EmoCLIP: prototypes by hand, forward pass by plain loops, published sizes, and its checkpoint."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dataloader.classes import Classes, load_classes, with_compounds
from engine.methods import method_named
from engine.model import build_model, rebuild_model
from engine.options import Config
from models.build import build_readout
from models.classifiers import prototypes
from models.clip_backbone import tokenize
from models.clip_towers import Clip, ClipShape
from models.emoclip import EmoClip
from tests.support.tools import configure

PUBLISHED = {  # shapes of one block in the published file
    "attention.to_qkv.weight": (49152, 512),
    "attention.to_out.weight": (512, 16384),
    "attention.to_out.bias": (512,),
    "feed_forward.0.weight": (512, 512),
    "feed_forward.0.bias": (512,),
    "feed_forward.3.weight": (512, 512),
    "feed_forward.3.bias": (512,),
}


def build(compound=(), **flags) -> tuple[EmoClip, ClipShape, Config]:
    classes = load_classes("RAER")
    if compound:
        classes = with_compounds(classes, [frozenset(parts) for parts in compound])
    config = configure(model="emoclip", **flags)
    model, sizes = build_model(config, classes)
    return model.eval(), ClipShape(**sizes), config


def frames(B=2, T=4, size=64):
    return torch.rand(B, T, 3, size, size, generator=torch.Generator().manual_seed(7))


def unit_mean(rows) -> np.ndarray:
    """The mean of some vectors, at unit length."""
    mean = np.mean(rows, axis=0)
    return mean / np.linalg.norm(mean)


# -- prototypes -----------------------------------------------------------------------------------------------------


@pytest.fixture
def texts():
    return F.normalize(torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0)), dim=-1)


def test_a_class_is_the_mean_of_its_texts_at_unit_length(texts):
    assert np.allclose(prototypes(texts, None), [unit_mean(rows) for rows in texts.numpy()], atol=1e-6)


def test_a_combination_is_the_mean_of_the_prototypes_of_its_parts(texts):
    """It is not the mean of all texts: each part has the same weight, however similar its texts are."""
    parts = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]])
    single = [unit_mean(rows) for rows in texts.numpy()]
    got = prototypes(texts, parts).numpy()
    assert np.allclose(got, [*single, unit_mean(single[:2]), unit_mean(single)], atol=1e-6)
    assert np.abs(got[3] - unit_mean(texts[:2].flatten(0, 1).numpy())).max() > 1e-3


# -- forward --------------------------------------------------------------------------------------------------------


def by_loops(model, clips, kind="class_descriptor", combinations=()):
    """Reference by loops over frames, clips and texts."""
    with torch.no_grad():
        video, classes = [], []
        for clip in clips:
            features = [model.image_encoder(frame[None])[0] for frame in clip]
            video.append(unit_mean(model.temporal(torch.stack(features)[None]).numpy()))
        for row in load_classes("RAER").texts_of(kind):
            features = []
            for ids in tokenize(list(row)):
                end = torch.tensor([ids.tolist().index(49407)])
                features.append(unit_mean(model.text_encoder(model.token_embedding[ids][None], end).numpy()))
            classes.append(unit_mean(features))
        classes += [unit_mean([classes[part] for part in parts]) for parts in combinations]
    return torch.from_numpy(math.exp(model.logit_scale.item()) * np.stack(video) @ np.stack(classes).T)


@pytest.mark.parametrize("kind", ["class_descriptor", "prompt_ensemble"])
@pytest.mark.parametrize("combinations", [(), ((0, 1), (1, 2, 4))])
def test_logits_are_scaled_cosines_of_videos_and_classes(kind, combinations):
    model, _, _ = build(combinations, text_type=kind)
    with torch.no_grad():
        model.logit_scale.fill_(1.7)
        out = model(frames())
    assert out.logits.shape == (2, 5 + len(combinations))
    torch.testing.assert_close(out.logits, by_loops(model, frames(), kind, combinations), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(out.video.norm(dim=-1), torch.ones(2))


def test_logits_are_not_rounded_under_mixed_precision():
    """In bf16, logits near 25 are rounded to steps of an eighth."""
    model, *_ = build(combinations := [(0, 1), (1, 2)])
    texts = model.encode_texts()
    feature = torch.rand(3, 4, model.temporal.positions.shape[-1], generator=torch.Generator().manual_seed(3))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = model.head(feature, texts=texts)
    assert out.logits.dtype == torch.float32 and out.logits.shape[1] == 5 + len(combinations)
    assert torch.allclose(out.logits, model.logit_scale.exp() * out.video @ texts.descriptive[:, 0].T, atol=1e-4)


def test_compound_prototypes_are_not_rounded_under_mixed_precision(texts):
    parts = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = prototypes(texts, parts)
    assert torch.equal(rounded, prototypes(texts, parts))


def test_the_scale_starts_at_the_value_of_clip_and_is_trained():
    model, _, _ = build()
    assert model.logit_scale.requires_grad
    assert math.exp(model.logit_scale.item()) == pytest.approx(100, rel=1e-3)


def test_encoded_texts_replace_the_texts_of_the_model():
    model, _, _ = build()
    with torch.no_grad():
        texts = model.encode_texts()
        texts.descriptive = texts.descriptive[[2, 0]]
        logits = model(frames(), None, texts).logits
        assert logits.shape == (2, 2)
        torch.testing.assert_close(logits, model(frames()).logits[:, [2, 0]])


def test_a_readout_gives_numbers_from_the_feature_at_its_own_length():
    model, shape, _ = build()
    model.readout = build_readout(shape.embed_dim, 256, 3)
    with torch.no_grad():
        out = model(frames())
        feature = torch.stack([model.temporal(model.image_encoder(clip)[None])[0] for clip in frames()])
        (first, _, last) = model.readout
        expected = torch.relu(feature @ first.weight.T + first.bias) @ last.weight.T + last.bias
    assert out.logits.shape == (2, 3)
    torch.testing.assert_close(out.logits, expected, atol=1e-5, rtol=1e-4)


# -- sizes ----------------------------------------------------------------------------------------------------------


def temporal_at(width, swapped, layers=2):
    return emoclip_model(ClipShape(width, 64, 32, 64, 1, 64, 1), swapped, layers, num_segments=1024).temporal


def emoclip_model(shape, swapped, layers=2, **more):
    config = configure(model="emoclip", swapped_heads=swapped, temporal_layers=layers, **more)
    classes = Classes(("a face", "a smile"), 0, {"class_descriptor": (("a face",), ("a smile",))}, "")
    return method_named("emoclip").build(config, classes, Clip(shape))


def test_swapped_heads_have_the_published_sizes():
    net = temporal_at(512, swapped=True)
    assert net.class_token.shape == (1, 1, 512) and net.positions.shape == (1, 1025, 512) and len(net.blocks) == 2
    for block in net.blocks:
        sizes = {name: tuple(value.shape) for name, value in block.named_parameters() if "norm" not in name}
        assert sizes == PUBLISHED
        assert block.attention.heads == 8


def test_heads_of_the_usual_width_are_those_of_the_other_methods():
    block = temporal_at(512, swapped=False).blocks[0]
    assert block.attention.heads == 8
    assert block.attention.to_qkv.weight.shape == (1536, 512) and block.attention.to_out.weight.shape == (512, 512)
    assert block.feed_forward[0].weight.shape == (1024, 512) and block.feed_forward[3].weight.shape == (512, 1024)


# -- through a checkpoint -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("width", [64, 128, 192])
def test_a_model_of_any_width_is_rebuilt_from_its_tensors(width, swapped):
    """The number of heads cannot be read from the tensors."""
    shape = ClipShape(width, 64, 32, 64, 1, 64, 1)
    torch.manual_seed(0)
    model = emoclip_model(shape, swapped).eval()
    again = rebuild_model("emoclip", shape, model.state_dict(), configure(model="emoclip")).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(frames()).logits, model(frames()).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("combinations", [(), ((0, 1), (1, 2, 4))])
@pytest.mark.parametrize("numbers", [0, 3])
def test_a_model_is_rebuilt_from_its_tensors(combinations, numbers, swapped):
    model, shape, options = build(combinations, swapped_heads=swapped)
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
    if numbers:
        model.readout = build_readout(shape.embed_dim, 256, numbers)
    again = rebuild_model("emoclip", shape, model.state_dict(), options).eval()
    with torch.no_grad():
        expected, got = model(frames()).logits, again(frames()).logits
    assert got.shape == (2, numbers or 5 + len(combinations))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert set(again.state_dict()) == set(model.state_dict())
