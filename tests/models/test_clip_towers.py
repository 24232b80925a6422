"""Both towers equal openai-clip's own model with the same weights; shapes are read from a state dict."""

import pytest
import torch

from models.clip_backbone import allow_imports
from models.clip_towers import Clip, ClipShape, QuickGELU, QuickGELUFunction, shape_of

allow_imports()
from clip.model import CLIP  # noqa: E402

SMALL = ClipShape(48, 64, 16, 192, 3, 128, 2)  # 3 image heads, 2 text heads


def openai(shape: ClipShape) -> CLIP:
    return CLIP(
        shape.embed_dim, shape.image_size, shape.image_layers, shape.image_width, shape.patch_size,
        77, 49408, shape.text_width, shape.text_width // 64, shape.text_layers,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pair():
    """openai-clip's model with every tensor random (no bias at 0, no norm at 1), and clip with its weights."""
    torch.manual_seed(0)
    original = openai(SMALL).eval()
    for name, parameter in original.named_parameters():
        if parameter.dim() < 2 and name != "logit_scale":
            torch.nn.init.normal_(parameter, mean=1.0 if "ln" in name and "weight" in name else 0.0, std=0.3)
    clip = Clip(SMALL).eval()
    clip.load_openai(original.state_dict())
    return original, clip


def relative(got, expected):
    return ((got - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
def test_images_are_encoded_as_by_openai_clip(pair):
    original, clip = pair
    image = torch.rand(4, 3, 64, 64)
    expected = original.encode_image(image)
    assert expected.std() > 0.1 and relative(clip.visual(image), expected) < 1e-5


@torch.no_grad()
def test_texts_are_encoded_as_by_openai_clip(pair):
    original, clip = pair
    tokens = torch.zeros(4, 77, dtype=torch.long)
    for row, length in enumerate((3, 9, 40, 75)):
        tokens[row, : length + 2] = torch.cat(
            [torch.tensor([49406]), torch.randint(1, 49000, (length,)), torch.tensor([49407])]
        )
    expected = original.encode_text(tokens)
    assert expected.std() > 0.1 and relative(clip.encode_text(tokens), expected) < 1e-5
    assert relative(clip.encode_text(tokens[:2]), expected[:2]) < 1e-5  # a smaller length for shorter texts


def test_state_dicts_pass_both_ways(pair):
    original, clip = pair
    state = clip.openai_state()
    assert set(state) == set(original.state_dict())
    for key, value in original.state_dict().items():
        assert torch.equal(state[key], value), key
    openai(SMALL).load_state_dict(state)


@pytest.mark.parametrize(
    ("shape", "millions"),
    [
        (ClipShape(), 151.277313),
        (ClipShape(patch_size=16), 149.620737),
        (ClipShape(768, 224, 14, 1024, 24, 768, 12), 427.616513),
        (SMALL, None),
    ],
)
def test_the_shape_is_read_from_a_state_dict(shape, millions):
    with torch.device("meta"):
        original, clip = openai(shape).state_dict(), Clip(shape)
    assert shape_of(original) == shape
    assert {k: v.shape for k, v in clip.openai_state().items()} == {k: v.shape for k, v in original.items()}
    if millions:
        assert sum(p.numel() for p in clip.parameters()) / 1e6 == pytest.approx(millions, abs=1e-6)


def test_a_shape_is_plain_numbers_for_checkpoints():
    assert ClipShape(**SMALL.as_dict()) == SMALL
    assert all(type(value) is int for value in shape_of(Clip(SMALL).openai_state()).as_dict().values())


def test_the_gpus_gelu_is_the_same_function_with_its_true_slope():
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.equal(QuickGELUFunction.apply(x), QuickGELU()(x))
    assert torch.allclose(QuickGELUFunction.apply(x), x * torch.sigmoid(1.702 * x))
    assert torch.autograd.gradcheck(QuickGELUFunction.apply, (x,))
    half = torch.randn(1000, generator=torch.Generator().manual_seed(0)).half()
    slopes = []
    for function, values in ((QuickGELUFunction.apply, half), (QuickGELU(), half), (QuickGELU(), half.double())):
        values = values.clone().requires_grad_()
        function(values).sum().backward()
        slopes.append(values.grad.double())
    assert (slopes[0] - slopes[2]).abs().mean() < (slopes[1] - slopes[2]).abs().mean()  # rounded once, not three times
