"""Flags that change how fast a run is, not what it computes; and what carries over when it goes on."""

import copy

import pytest
import torch

from benchmarks.subject import make_subject, small_shape
from dataloader.annotation import read_annotation
from dataloader.classes import load_classes
from dataloader.clips import Views
from engine import clip_predict
from engine.clip_predict import passes
from engine.data import evaluation_loader
from engine.device import join_batches
from engine.optim import build_optimizer, parameter_groups, prepare_towers
from engine.session import Session
from engine.settings import read_command
from main import main
from models.clip_towers import Clip
from models.temporal import TemporalTransformer
from models.uninitialised import UninitialisedWeights
from tests.support.tools import error_of


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


def small_memory(task, monkeypatch, room):
    """A device with room for so many clips; returns the sizes of all passes that were tried."""
    sizes, forward = [], task.forward

    def limited(batch):
        sizes.append(len(batch["label"]))
        if sizes[-1] > room:
            raise torch.OutOfMemoryError("out of memory")
        return forward(batch)

    monkeypatch.setattr(task, "forward", limited)
    return sizes


def test_a_pass_that_does_not_fit_is_halved_and_the_size_that_fits_is_kept(monkeypatch):
    subject = make_subject(small_shape(), "clip_caer", [])
    task, session = subject.task, Session(torch.device("cpu"), None, None)
    task.model.eval()
    batches = [subject.pixels(clips) for clips in (5, 3, 1)]
    with torch.inference_mode():
        whole = torch.cat(passes(task, batches, subject.config, session))
        assert task.clips_that_fit is None
        sizes = small_memory(task, monkeypatch, room=2)
        parts = torch.cat(passes(task, batches, subject.config, session))
        assert sizes == [9, 4, 2, 2, 2, 2, 1] and task.clips_that_fit == 2
        assert torch.allclose(parts, whole, atol=1e-4)
        sizes.clear()
        assert torch.allclose(torch.cat(passes(task, batches[:1], subject.config, session)), whole[:5], atol=1e-4)
    assert sizes == [2, 2, 1]  # no larger pass is tried again


def test_one_clip_that_does_not_fit_is_out_of_memory(monkeypatch):
    subject = make_subject(small_shape(), "clip_caer", [])
    small_memory(subject.task, monkeypatch, room=0)
    with pytest.raises(torch.OutOfMemoryError):
        passes(subject.task, [subject.pixels(2)], subject.config, Session(torch.device("cpu"), None, None))


def test_the_copy_to_the_device_is_inside_what_is_halved(monkeypatch):
    subject, copied = make_subject(small_shape(), "clip_caer", []), []

    def copy(batches, device):
        copied.append(sum(len(batch["label"]) for batch in batches))
        if copied[-1] > 3:
            raise torch.OutOfMemoryError("out of memory")
        return join_batches(batches, device)

    monkeypatch.setattr(clip_predict, "join_batches", copy)
    subject.task.model.eval()
    with torch.inference_mode():
        passes(subject.task, [subject.pixels(4)], subject.config, Session(torch.device("cpu"), None, None))
    assert copied == [4, 2, 2]


@pytest.mark.parametrize(("on_gpu", "asked", "decoded", "together"), [
    (False, None, 4, 4), (False, "6", 6, 6), (False, "20", 5, 20), (False, "13", 1, 13), (True, None, 8, 64),
])  # fmt: skip
def test_few_clips_are_decoded_at_a_time_and_many_pass_together(tiny_arguments, on_gpu, asked, decoded, together):
    words = [*tiny_arguments, *(["--eval-batch-size", asked] if asked else [])]
    _, config = read_command(words)
    clips = read_annotation(config.data.train_annotation, config.data.root_dir, load_classes("RAER"))
    session = Session(torch.device("cuda" if on_gpu else "cpu"), None, None)
    loader = evaluation_loader(config, clips, Views(root=config.data.root_dir, segments=4, size=64), session)
    assert loader.loader.batch_size == decoded and loader.count * decoded == together
    assert len(loader) == -(-len(clips) // together)
    if not on_gpu:  # which would pin memory
        sizes = [[len(batch["label"]) for batch in group] for group in loader]
        assert sum(map(sum, sizes)) == len(clips) and {n for group in sizes for n in group[:-1]} <= {decoded}
        assert [sum(group) for group in sizes[:-1]] == [together] * (len(sizes) - 1)


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
    with UninitialisedWeights():
        empty = Clip(small_shape())
    assert torch.equal(torch.rand(1), expected)
    full = Clip(small_shape())
    empty.load_openai(full.openai_state())
    assert all(torch.equal(value, full.state_dict()[name]) for name, value in empty.state_dict().items())
