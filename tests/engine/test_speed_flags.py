"""Flags that change how fast a run is, not what it computes; and what carries over when it goes on."""

import copy

import pytest
import torch

from benchmarks.subject import make_subject, small_shape
from engine.clip_predict import forward_in_parts
from engine.optim import build_optimizer, parameter_groups, prepare_towers
from main import main
from models.clip_towers import Clip
from models.temporal import TemporalTransformer
from models.undrawn import Undrawn
from tests.tools import error_of


def options(**changes):
    subject = make_subject(small_shape(), "clip_caer", [])
    fields = {"grad_checkpointing": False, "compile": False} | changes
    return subject, type("Options", (), vars(subject.config.optim) | fields)


def gradients(checkpointing):
    subject, optim = options(grad_checkpointing=checkpointing)
    model = subject.task.model.eval()
    prepare_towers(model, optim, None)
    torch.manual_seed(1)
    model(*torch.rand(2, 2, 4, 3, 64, 64)).logits.square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_checkpointed_blocks_give_the_same_gradients(monkeypatch):
    kept, again = gradients(False), gradients(True)
    assert kept.keys() == again.keys() and any("image_encoder" in name for name in kept)
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def test_checkpointing_computes_each_block_but_the_last_twice():
    calls = []
    subject, optim = options(grad_checkpointing=True)
    model = subject.task.model
    prepare_towers(model, optim, None)
    model.image_encoder.transformer.resblocks[0].ln_1.register_forward_hook(lambda *_: calls.append(1))
    model(*torch.rand(2, 1, 4, 3, 64, 64)).logits.sum().backward()
    assert len(calls) == 2


def test_compiling_and_laying_out_rename_no_tensor():
    subject, optim = options(compile=True)
    names = list(subject.task.model.state_dict())
    prepare_towers(subject.task.model, optim, torch.bfloat16)
    assert list(subject.task.model.state_dict()) == names
    assert all(tensor.dtype != torch.bfloat16 for tensor in subject.task.model.state_dict().values())
    assert subject.task.model.image_encoder._compiled_call_impl is not None


def test_texts_laid_out_once_are_bit_equal_to_autocast():
    model = make_subject(small_shape(), "clip_caer", []).task.model
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        before = model.encode_texts().soft
        model.lay_out_texts(torch.bfloat16)
        assert torch.equal(model.encode_texts().soft, before)
        model.laid_out["text"].text_projection.data.zero_()
        assert not torch.equal(model.encode_texts().soft, before)  # it is what computes
    with torch.no_grad():
        assert model.encode_texts().soft.dtype == torch.float32


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
def test_a_fused_optimiser_goes_on_from_an_unfused_state(rule):
    """A run that was begun before the fused kernels, or without them, continues as it would have."""
    torch.manual_seed(0)
    subject, optim = options(optimizer=rule, lr=0.1, lr_fusion=0.1, lr_image_encoder=0.1, lr_prompt_learner=0.1)
    plain_model, fused_model = subject.task.model, copy.deepcopy(subject.task.model)
    fused = build_optimizer(parameter_groups(fused_model, optim), optim)
    groups = parameter_groups(plain_model, optim)
    decay = {"weight_decay": optim.weight_decay}
    plain = (
        torch.optim.SGD(groups, momentum=optim.momentum, **decay)
        if rule == "SGD"
        else torch.optim.AdamW(groups, **decay)
    )
    step_both(plain, plain_model, fused, fused_model, 2)
    assert distance(plain_model, fused_model) < 1e-5
    state = fused.state_dict()
    again = build_optimizer(parameter_groups(fused_model, optim), optim)
    again.load_state_dict(state)
    assert all(group["fused"] for group in again.param_groups)
    step_both(plain, plain_model, again, fused_model, 2)
    assert distance(plain_model, fused_model) < 1e-5


def step_both(one, model, other, twin, steps):
    for _ in range(steps):
        for parameter, same in zip(model.parameters(), twin.parameters(), strict=True):
            if parameter.requires_grad:
                parameter.grad = torch.randn_like(parameter)
                same.grad = parameter.grad.clone()
        one.step()
        other.step()


def distance(one, other):
    return max((a - b).abs().max().item() for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_batch_that_does_not_fit_passes_in_halves(monkeypatch):
    subject = make_subject(small_shape(), "clip_caer", [])
    task = subject.task
    task.model.eval()
    batch = {"face": torch.rand(5, 4, 3, 64, 64), "context": torch.rand(5, 4, 3, 64, 64), "label": torch.zeros(5)}
    sizes, forward = [], task.forward

    def small_memory(given):
        sizes.append(len(given["label"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(given)

    with torch.no_grad():
        whole = forward(batch).logits
        monkeypatch.setattr(task, "forward", small_memory)
        parts = forward_in_parts(task, batch)
    assert sizes == [5, 2, 3, 1, 2]
    assert torch.allclose(parts, whole, atol=1e-4)
    monkeypatch.setattr(task, "forward", lambda _: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(torch.OutOfMemoryError):
        forward_in_parts(task, {"label": torch.zeros(1)})


def test_contradictions_are_refused(capsys):
    base = ["--train-annotation", "x", "--dry-run", "--lr-image-encoder", "0"]
    assert "--lr-image-encoder is 0" in error_of([*base, "--grad-checkpointing"], capsys)
    assert "--cache-features runs only once" in error_of([*base, "--compile", "--cache-features"], capsys)
    assert main([*base, "--eval-batch-size", "3"]) == 0 and "--eval-batch-size " in capsys.readouterr().out
    assert main([*base, "--eval-batch-size", "0"]) == 2


def test_the_first_token_alone_is_the_first_token_of_all():
    net = TemporalTransformer(32, layers=2, heads=2, head_width=16, hidden=64, dropout=0.0, max_frames=6)
    frames, padding = torch.randn(3, 6, 32), torch.arange(6) >= torch.tensor([[6], [4], [1]])
    x = torch.cat([net.class_token.expand(3, -1, -1), frames], dim=1) + net.positions
    visible = torch.cat([torch.ones(3, 1, dtype=torch.bool), ~padding], dim=1)[:, None, None]
    for block in net.blocks:
        x = block(x, visible)
    assert torch.allclose(net(frames, padding), x[:, 0], atol=1e-6)


def test_undrawn_weights_are_left_to_the_file_and_draw_no_chance():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    with Undrawn():
        empty = Clip(small_shape())
    assert torch.equal(torch.rand(1), expected)
    full = Clip(small_shape())
    empty.load_openai(full.openai_state())
    assert all(torch.equal(value, full.state_dict()[name]) for name, value in empty.state_dict().items())
