"""Every kind of file that holds a CLIP, and clear errors about others."""

import importlib.util
import sys

import pytest
import torch
from safetensors.torch import save_file

from models import clip_backbone
from models.clip_backbone import (
    allow_imports,
    define_missing_operators,
    load_clip,
    provide_pkg_resources,
    save_clip,
    tokenize,
)
from models.clip_towers import Clip, ClipShape
from utils.errors import UserError

allow_imports()
import clip as openai_clip  # noqa: E402
from clip.model import CLIP  # noqa: E402

SHAPE = ClipShape(32, 32, 16, 64, 1, 64, 1)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    state = CLIP(32, 32, 1, 64, 16, 77, 49408, 64, 1, 1).eval().state_dict()
    return {key: value.half().float() for key, value in state.items()}  # exact in half precision


def same(got: Clip, state) -> bool:
    pairs = [(value, state[key].float()) for key, value in got.openai_state().items()]
    return got.shape == SHAPE and all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def write_torch(state, path):
    torch.save(halved(state), path)


def write_nested(state, path):
    """FaRL's form."""
    torch.save({"state_dict": halved(state)}, path)


def halved(state):
    return {key: value.half() for key, value in state.items()}


def write_safetensors(state, path):
    save_file({key: value.contiguous() for key, value in halved(state).items()}, path)


def write_archive(state, path):
    """OpenAI publishes TorchScript archives."""
    original = CLIP(32, 32, 1, 64, 16, 77, 49408, 64, 1, 1).eval()
    original.load_state_dict(state)
    for name in ("input_resolution", "context_length", "vocab_size"):
        original.__dict__.pop(name, None)
        original.register_buffer(name, torch.tensor(5))
    archive = torch.jit.trace(original, (torch.rand(1, 3, 32, 32), openai_clip.tokenize(["a"])), check_trace=False)
    archive.save(str(path))


def write_with_sizes(state, path):
    """An archive also holds sizes, which are not weights."""
    torch.save(dict(state) | {n: torch.tensor(5) for n in ("input_resolution", "context_length", "vocab_size")}, path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("write", [write_torch, write_nested, write_safetensors, write_archive, write_with_sizes])
def test_every_kind_of_file_loads(tmp_path, state, write):
    path = tmp_path / ("a.safetensors" if write is write_safetensors else "a.pt")
    write(state, path)
    assert same(load_clip(str(path)), state)


def test_weights_saved_in_half_precision_load_again(tmp_path, state):
    first = Clip(SHAPE)
    first.load_openai(state)
    save_clip(first, tmp_path / "b.safetensors")
    assert same(load_clip(str(tmp_path / "b.safetensors")), {k: v.half() for k, v in state.items()})


def test_the_random_clip_depends_on_its_seed_alone(monkeypatch):
    monkeypatch.setattr(clip_backbone, "Clip", Clip)  # drawn anew at each call
    torch.manual_seed(1)
    first, before = load_clip("random", 3), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), before)
    equal, different = load_clip("random", 3).visual.proj, load_clip("random", 4).visual.proj
    assert torch.equal(first.visual.proj, equal) and not torch.equal(first.visual.proj, different)


def test_tokens_are_openai_clips():
    texts = ["A calm face.", "X X a student, puzzled!", ""]
    assert torch.equal(tokenize(texts), openai_clip.tokenize(texts).long())


def test_a_name_that_is_neither_file_nor_model_offers_the_nearest():
    with pytest.raises(UserError, match=r"--clip-path ViT-B/23: no such file.*did you mean ViT-B/32"):
        load_clip("ViT-B/23")
    with pytest.raises(UserError, match=r"gone/clip\.pt.*ViT-B/32"):
        load_clip("gone/clip.pt")


BROKEN = {
    "text.pt": b"hello",
    "empty.pt": b"",
    "text.safetensors": b"hello",
    "zip.pt": b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_without_weights_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(UserError, match=name) as caught:
        load_clip(str(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        {"model": {}},
        {},
        [torch.zeros(2)],
        torch.zeros(2),
        {"visual.positional_embedding": 3},
        {"visual.attnpool.positional_embedding": torch.zeros(50, 8)},
        lambda state: {key: value for key, value in state.items() if key != "ln_final.bias"},
        lambda state: dict(state) | {"ln_final.bias": torch.zeros(3)},
    ],
)
def test_weights_of_another_model_are_refused_as_not_a_clip(tmp_path, state, content):
    torch.save(content(state) if callable(content) else content, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt"):
        load_clip(str(tmp_path / "a.pt"))


# -- imports beside any torch: the repairs are harmless where nothing is broken, and enough where something is --------


def test_both_operators_have_a_schema_and_repairing_again_changes_nothing():
    for _ in range(2):
        allow_imports()
        define_missing_operators()
    for name in ("nms", "qnms"):
        assert len(torch._C._jit_get_schemas_for_operator(f"torchvision::{name}")) == 1


def test_a_missing_pkg_resources_is_replaced(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.delitem(sys.modules, "pkg_resources", raising=False)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "pkg_resources" else find(name, *a)
    )
    provide_pkg_resources()
    from pkg_resources import packaging

    assert packaging.version.parse("2.13.0+cpu") > packaging.version.parse("1.7.1")
    monkeypatch.delitem(sys.modules, "pkg_resources")
