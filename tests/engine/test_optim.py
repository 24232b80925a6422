"""Trained parameters and their learning rates; updates: momentum from zero, steps that the gradient scaler skips."""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from benchmarks.subject import make_subject, small_shape
from dataloader.classes import load_classes
from engine.config import read_command, warnings_of
from engine.methods import method_named
from engine.model import build_model
from engine.optim import (
    build_optimizer,
    build_schedule,
    count_updates,
    parameter_groups,
    prepare_towers,
    rate_factor,
    restore_optimizer,
    step_scaled,
)
from models.classifiers import FrameExpression
from models.clip_backbone import load_clip
from tests.support.tools import RANDOM_CLIP, ROOT, configure, make_task, random_batch
from utils.errors import UserError

RECIPES = ["clip_caer", "advanced"]
CONFIGS = {
    "default": {},
    "no adapter": {"adapter": "none"},
    "published adapter": {"adapter": "published"},
    "face alone": {"streams": "face"},
    "context alone": {"streams": "context"},
    "shared contexts": {"class_specific_contexts": False, "slerp_weight": 0.0},
    "ensemble": {"text_type": "prompt_ensemble", "slerp_weight": 0.0},
    "soft IEC": {"iec_text": "soft", "mi_loss_weight": 0.0, "dc_loss_weight": 0.0},
    "frozen image encoder": {"lr_image_encoder": 0.0},
    "frozen prompts": {"tune_prompts": False, "slerp_weight": 0.0},
    "deep": {"temporal_layers": 3},
}
LAYER_RATES = {"lr_image_encoder": 0.1, "lr_text_encoder": 0.0, "lr_prompt_learner": 0.0, "lr_adapter": 0.0, "lr": 1.0}


def recipe_config(name):
    return read_command([f"@{ROOT / 'recipes' / name}.args", *RANDOM_CLIP, "--num-segments", "4"])[1]


def task_and_config(name):
    """A task by the name of a config above or of a recipe."""
    if name in CONFIGS:
        return make_task(**CONFIGS[name]), configure(**CONFIGS[name])
    config = recipe_config(name)
    options = {k: v for group in (config.data, config.model, config.optim, config.loss) for k, v in vars(group).items()}
    return make_task(**{k: v for k, v in options.items() if v is not None and k != "use_amp"}), config


def gradients(task, epoch: int) -> dict[str, torch.Tensor | None]:
    """The summed gradients of a few clips, with dropout."""
    torch.manual_seed(0)
    task.model.train()
    for seed in range(2):
        batch = random_batch(seed=seed)
        streams = {k: v for k, v in batch.items() if getattr(task.model, f"{k}_temporal", batch) is not None}
        sum(task.losses(task.forward(streams), batch, epoch).values()).backward()
    return {name: p.grad for name, p in task.model.named_parameters()}


@pytest.mark.parametrize("name", [*CONFIGS, *RECIPES])
def test_groups_hold_every_trainable_parameter_once_and_each_gets_a_gradient(name):
    task, config = task_and_config(name)
    assert_partition(task.model, config.optim)
    assert not any("stay as they are" in warning for warning in warnings_of(config))
    got = gradients(task, epoch=40)
    for name, parameter in task.model.named_parameters():
        if parameter.requires_grad:
            assert got[name] is not None and got[name].abs().sum() > 0 and got[name].isfinite().all(), name
        else:
            assert got[name] is None, name


def assert_partition(model, optim):
    grouped = [id(p) for group in parameter_groups(model, optim) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_the_text_tower_is_frozen_and_the_image_tower_learns_unless_its_rate_is_zero():
    model = make_task().model
    assert not any(p.requires_grad for p in model.text_encoder.parameters())
    assert all(p.requires_grad for p in model.image_encoder.parameters())
    frozen, graphs = make_task(lr_image_encoder=0.0), []
    frozen.model.image_encoder.register_forward_hook(lambda module, args, out: graphs.append(out.requires_grad))
    frozen.model.train()
    frozen.forward(random_batch())
    assert graphs == [False]


def test_a_frozen_image_encoder_can_be_made_to_learn_again():
    config = configure(lr_image_encoder=0.0)
    model, _ = build_model(config, load_classes("RAER"))
    method_named("clip-caer").set_trainable(model, replace(config, optim=replace(config.optim, lr_image_encoder=1e-6)))
    assert all(p.requires_grad for p in model.image_encoder.parameters())


@pytest.mark.parametrize("tune", [True, False])
def test_frozen_contexts_stay_bit_for_bit_and_tuned_ones_move(tune):
    config = configure(tune_prompts=tune, slerp_weight=0.0, optimizer="AdamW", lr_prompt_learner=0.1)
    task = make_task(tune_prompts=tune, slerp_weight=0.0)
    before = task.model.prompts.context.detach().clone()
    optimizer = build_optimizer(parameter_groups(task.model, config.optim), config.optim)
    gradients(task, 0)
    optimizer.step()
    assert torch.equal(task.model.prompts.context, before) is not tune


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mi_loss_weight": 0.1},
        {"dc_loss_weight": 0.1},
        {"iec_text": "soft"},
        {"iec_text": "both"},
        {"slerp_weight": 0.0},
    ],
)
def test_prompts_without_a_loss_get_no_gradient_and_a_warning(changes):
    given = {"slerp_weight": 0.5, "iec_text": "descriptive", "mi_loss_weight": 0.0, "dc_loss_weight": 0.0} | changes
    got = gradients(make_task(**given), 40)
    is_warned = any("with MI and DC at 0 nothing trains them" in w for w in warnings_of(configure(**given)))
    given["mi_loss_weight"], warm_up = 0.1, {"epochs": 5, "mi_warmup": 5}
    late = [w for w in warnings_of(configure(**given | warm_up)) if "nothing trains them" in w]
    assert not is_warned or "at 0 in all 5 epochs (--mi-warmup 5, --dc-warmup 0)" in late[0]
    assert is_warned is (got["prompts.context"] is None) is (not changes)
    assert got["fuse.weight"].abs().sum() > 0 and (is_warned or got["prompts.context"].abs().sum() > 0)


def test_each_part_has_its_own_learning_rate():
    rates = {"lr": 0.1, "lr_image_encoder": 0.2, "lr_prompt_learner": 0.3, "lr_adapter": 0.4, "lr_fusion": 0.5}
    model, config = make_task(**rates).model, configure(**rates)
    modules = {
        "image_encoder": 0.2, "prompts": 0.3, "adapter": 0.4,
        "face_temporal": 0.1, "context_temporal": 0.1, "fuse": 0.5,
    }  # fmt: skip
    rate_of = {id(p): group["lr"] for group in parameter_groups(model, config.optim) for p in group["params"]}
    for module, rate in modules.items():
        assert {rate_of[id(p)] for p in getattr(model, module).parameters()} == {rate}, module
    published = recipe_config("clip_caer").optim
    assert published.lr_fusion == published.lr_image_encoder == 1e-5


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_with_layer_decay_each_block_has_half_the_rate_of_the_next(decay):
    clip = load_clip("random")
    model = FrameExpression(clip.visual, clip.shape.embed_dim, 8)
    optim = SimpleNamespace(**LAYER_RATES, lr_fusion=1.0, layer_decay=decay)
    rates = {g["name"]: g["lr"] for g in parameter_groups(model, optim) if g["name"].startswith("image")}
    halved = {"image head": 0.1, "image block 2": 0.05, "image block 1": 0.025, "image stem": 0.0125}
    assert rates == pytest.approx(halved if decay < 1 else {"image encoder": 0.1})
    assert_partition(model, optim)


def test_the_schedule_multiplies_every_rate_at_its_milestones():
    config = configure(milestones=(2, 4), gamma=0.1, lr=1.0, lr_image_encoder=0.01)
    groups = parameter_groups(make_task(lr_image_encoder=0.01).model, config.optim)
    optimizer = build_optimizer(groups, config.optim)
    schedule, rates = build_schedule(optimizer, config.optim, updates=7), []
    for _ in range(6):
        rates.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        optimizer.step()
        schedule.step()
    assert [row["temporal"] for row in rates] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert [row["image encoder"] for row in rates] == pytest.approx([0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])


def test_the_cosine_schedule_rises_in_a_line_and_falls_by_half_a_cosine():
    assert [rate_factor(step, 4, 20) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rate_factor(12, 4, 20) == pytest.approx(0.5)
    assert rate_factor(8, 4, 20) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert rate_factor(20, 4, 20) == pytest.approx(0.0) == rate_factor(99, 4, 20)
    falling = [rate_factor(step, 4, 20) for step in range(4, 20)]
    assert falling == sorted(falling, reverse=True) and falling[-1] > 0
    assert rate_factor(0, 0, 10) == 1.0


@pytest.mark.parametrize(("warmup", "updates"), [(0, 3), (1, 3), (0.5, 4)])
def test_the_cosine_schedule_counts_updates_and_scales_every_rate(warmup, updates):
    config = configure(schedule="cosine", warmup_epochs=warmup, epochs=4)
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1.0, 0.01)])
    schedule, rates = build_schedule(optimizer, config.optim, updates), []
    for _ in range(4 * updates):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    first, total = int(warmup * updates), 4 * updates
    expected = [(n + 1) / (first + 1) for n in range(first)]
    expected += [math.cos(math.pi / 2 * (n - first) / (total - first)) ** 2 for n in range(first, total)]
    assert [row[0] for row in rates] == pytest.approx(expected)
    assert [row[1] for row in rates] == pytest.approx([0.01 * factor for factor in expected])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_updates_of_an_epoch_are_windows_and_the_last_may_be_shorter():
    assert [count_updates(steps, 2) for steps in range(6)] == [0, 1, 1, 2, 2, 3]
    assert count_updates(7, 1) == 7 and count_updates(3, 8) == 1


def make_optimizer(rule="SGD", momentum=0.9):
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    optim = SimpleNamespace(optimizer=rule, momentum=momentum, weight_decay=1e-2)
    return layer, build_optimizer([{"params": list(layer.parameters()), "lr": 0.1}], optim)


def make_scaler():
    return torch.amp.GradScaler("cpu", init_scale=8.0)


def scaled_step(layer, optimizer, scaler, gradient, grad_clip=0.0):
    """One step; ``gradient``: as the backward pass leaves it, before it is scaled."""
    for p in layer.parameters():
        p.grad = torch.full_like(p, gradient) * scaler.get_scale()
        scaler.scale(torch.zeros(()))  # the scaler is initialised when it first scales a loss
    step_scaled(optimizer, scaler, grad_clip)


@pytest.fixture(params=[False, True], ids=["", "deterministic"])
def deterministic(request):
    """With torch's deterministic algorithms new memory is NaN; without them its content is arbitrary."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(request.param)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize("grad_clip", [0.0, 1.0])
@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
@pytest.mark.parametrize("gradients", [[math.inf], [1.0, math.inf], [math.inf, 1.0], [math.inf, math.inf, 1.0, 2.0]])
def test_a_skipped_step_changes_nothing_and_a_resumed_run_continues_equally(deterministic, rule, gradients, grad_clip):
    """The weights are those of the finite gradients alone, computed by torch's optimiser without fused kernels."""
    layer, optimizer = make_optimizer(rule)
    scaler = make_scaler()
    for gradient in gradients:
        scaled_step(layer, optimizer, scaler, gradient, grad_clip)
    resumed, resumed_optimizer = make_optimizer(rule)
    resumed.load_state_dict(layer.state_dict())
    resumed_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # as from a file: loading shares tensors
    resumed_scaler = make_scaler()
    resumed_scaler.load_state_dict(scaler.state_dict())
    scaled_step(layer, optimizer, scaler, 3.0, grad_clip)
    scaled_step(resumed, resumed_optimizer, resumed_scaler, 3.0, grad_clip)
    torch.manual_seed(0)
    expected = nn.Linear(3, 2)
    settings = {"momentum": 0.9} if rule == "SGD" else {}
    plain = getattr(torch.optim, rule)(expected.parameters(), lr=0.1, weight_decay=1e-2, **settings)
    for gradient in filter(math.isfinite, [*gradients, 3.0]):
        for p in expected.parameters():
            p.grad = torch.full_like(p, gradient)
        if grad_clip:
            torch.nn.utils.clip_grad_norm_(expected.parameters(), grad_clip)
        plain.step()
    for value, again, target in zip(layer.parameters(), resumed.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(value, target, atol=1e-6), (value, target)
        assert torch.equal(again, value)


@pytest.mark.parametrize("missing", ["no state", "no buffer", "unwritten memory"])
def test_a_checkpoint_without_finite_momentum_continues_from_zero(missing):
    layer, optimizer = make_optimizer()
    state = optimizer.state_dict()
    if missing == "no state":
        state["state"] = {}
    else:
        buffer = None if missing == "no buffer" else torch.full((2, 3), math.nan)
        state["state"][0] = {"momentum_buffer": buffer}
    optimizer.load_state_dict(state)
    before = [p.detach().clone() for p in layer.parameters()]
    scaled_step(layer, optimizer, make_scaler(), 1.0)
    for p, start in zip(layer.parameters(), before, strict=True):
        assert torch.allclose(p, start - 0.1 * (1.0 + 1e-2 * start))


def test_without_momentum_there_is_no_buffer():
    layer, optimizer = make_optimizer(momentum=0.0)
    scaled_step(layer, optimizer, make_scaler(), 1.0)
    assert all(state.get("momentum_buffer") is None for state in optimizer.state.values())


def subject_and_options(**changes):
    subject = make_subject(small_shape(), "clip_caer", [])
    options = vars(subject.config.optim) | {"grad_checkpointing": False, "compile": False} | changes
    return subject.task.model, SimpleNamespace(**options)


@pytest.mark.parametrize("rule", ["SGD", "AdamW"])
def test_a_fused_optimizer_equals_a_plain_one_and_continues_from_its_state(rule):
    torch.manual_seed(0)
    rates = {"lr": 0.1, "lr_fusion": 0.1, "lr_image_encoder": 0.1, "lr_prompt_learner": 0.1}
    plain_model, optim = subject_and_options(optimizer=rule, momentum=0.8, weight_decay=0.03, **rates)
    fused_model, settings = copy.deepcopy(plain_model), {"momentum": optim.momentum} if rule == "SGD" else {}
    groups = parameter_groups(plain_model, optim)
    plain = getattr(torch.optim, rule)(groups, weight_decay=optim.weight_decay, **settings)
    fused = build_optimizer(parameter_groups(fused_model, optim), optim)
    for _ in range(2):
        for _ in range(2):
            for parameter, twin in zip(plain_model.parameters(), fused_model.parameters(), strict=True):
                if parameter.requires_grad:
                    parameter.grad = torch.randn_like(parameter)
                    twin.grad = parameter.grad.clone()
            plain.step()
            fused.step()
        for parameter, twin in zip(plain_model.parameters(), fused_model.parameters(), strict=True):
            assert (parameter - twin).abs().max() < 1e-5
        state = fused.state_dict()
        fused = build_optimizer(parameter_groups(fused_model, optim), optim)
        fused.load_state_dict(state)
        assert type(fused) is type(plain)
        for group in fused.param_groups:
            assert group["fused"] and group["weight_decay"] == optim.weight_decay
            assert rule == "AdamW" or group["momentum"] == optim.momentum


def test_checkpointed_blocks_are_computed_twice_and_give_the_same_gradients():
    results, calls = [], []
    pixels = torch.rand(2, 2, 4, 3, 64, 64)
    for checkpointing in (False, True):
        model, optim = subject_and_options(grad_checkpointing=checkpointing)
        prepare_towers(model.eval(), optim, None)
        model.image_encoder.transformer.resblocks[0].ln_1.register_forward_hook(lambda *_: calls.append(1))
        model(*pixels).logits.square().sum().backward()
        results.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert len(calls) == 1 + 2
    plain, checkpointed = results
    assert plain.keys() == checkpointed.keys() and any("image_encoder" in name for name in plain)
    assert all(torch.equal(plain[name], checkpointed[name]) for name in plain)


def test_compiling_and_mixed_precision_do_not_rename_or_convert_tensors():
    model, optim = subject_and_options(compile=True)
    names = list(model.state_dict())
    prepare_towers(model, optim, torch.bfloat16)
    assert list(model.state_dict()) == names
    assert all(tensor.dtype != torch.bfloat16 for tensor in model.state_dict().values())
    assert model.image_encoder._compiled_call_impl is not None


# -- a stored state -------------------------------------------------------------------------------------------------


def two_groups(name):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    optim = SimpleNamespace(optimizer=name, weight_decay=0.1, momentum=0.9)
    groups = [{"name": f"layer {n}", "params": list(layer.parameters()), "lr": 0.1} for n, layer in enumerate(layers)]
    return layers, build_optimizer(groups, optim)


def stepped(name):
    layers, optimizer = two_groups(name)
    layers(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_a_stored_optimizer_state_is_restored(name):
    stored, (_, optimizer) = stepped(name).state_dict(), two_groups(name)
    stored["param_groups"][1]["lr"] = 0.01
    stored["param_groups"][1]["weight_decay"] = 1e9  # an option, and not a state
    restore_optimizer(optimizer, stored)
    restored = optimizer.state_dict()
    assert [group["lr"] for group in restored["param_groups"]] == [0.1, 0.01]
    assert {group["weight_decay"] for group in restored["param_groups"]} == {0.1}
    for number, values in stored["state"].items():
        assert all(torch.equal(restored["state"][number][key], value) for key, value in values.items())


def test_parameters_without_a_step_have_no_state():
    stored, (_, optimizer) = stepped("AdamW").state_dict(), two_groups("AdamW")
    del stored["state"][1]
    restore_optimizer(optimizer, stored)
    assert sorted(optimizer.state_dict()["state"]) == [0, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state[0].update(exp_avg=torch.zeros(1)),
        lambda state: state[0].update(exp_avg=torch.zeros(4, 3).half()),
        lambda state: state[0].update(exp_avg=[0.0]),
        lambda state: state[0].update(exp_avg_sq=torch.full((4, 3), -1.0)),
        lambda state: state[0].update(exp_avg=torch.full((4, 3), torch.nan)),
        lambda state: state[0].update(step=torch.zeros(2)),
        lambda state: state[0].update(max_exp_avg_sq=torch.zeros(4, 3)),
        lambda state: state[0].pop("step"),
        lambda state: state.update({99: {}}),
        lambda state: state.update({"x": {}}),
        lambda state: state.update({0: 3}),
    ],
)
def test_a_state_of_other_parameters_is_refused(change):
    stored, (_, optimizer) = stepped("AdamW").state_dict(), two_groups("AdamW")
    change(stored["state"])
    with pytest.raises(UserError, match="its optimizer"):
        restore_optimizer(optimizer, stored)
