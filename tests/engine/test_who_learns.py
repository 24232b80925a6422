"""Who learns: groups hold every trainable parameter once, and each of them gets a gradient, or a warning says why."""

from dataclasses import replace

import pytest
import torch

from engine.config import read_command, warnings_of
from engine.model import build_model
from engine.optim import build_optimizer, build_schedule, parameter_groups
from engine.registry import method_named
from tests.support.tools import RANDOM_CLIP, ROOT, configure, make_task, random_batch

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


def recipe_task(name):
    _, config = read_command([f"@{ROOT / 'recipes' / name}.args", *RANDOM_CLIP, "--num-segments", "4"])
    given = {}
    for group in (config.data, config.model, config.optim, config.loss):
        given |= vars(group)
    return make_task(**{k: v for k, v in given.items() if v is not None and k != "use_amp"}), config


def gradients(task, epoch: int, steps: int = 2) -> dict[str, torch.Tensor | None]:
    """The gradients of a few clips, summed; dropout at work."""
    torch.manual_seed(0)
    task.model.train()
    for seed in range(steps):
        batch = random_batch(seed=seed)
        streams = {k: v for k, v in batch.items() if getattr(task.model, f"{k}_temporal", batch) is not None}
        sum(task.losses(task.forward(streams), batch, epoch).values()).backward()
    return {name: p.grad for name, p in task.model.named_parameters()}


def check_all_learn(task, epoch=40):
    got = gradients(task, epoch)
    for name, parameter in task.model.named_parameters():
        if parameter.requires_grad:
            assert got[name] is not None and got[name].abs().sum() > 0, name
            assert got[name].isfinite().all(), name
        else:
            assert got[name] is None, name


def check_partition(model, config):
    grouped = [id(p) for group in parameter_groups(model, config.optim) for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in model.parameters() if p.requires_grad}


@pytest.mark.parametrize("name", CONFIGS)
def test_groups_hold_every_trainable_parameter_once(name):
    check_partition(make_task(**CONFIGS[name]).model, configure(**CONFIGS[name]))


@pytest.mark.parametrize("name", RECIPES)
def test_so_do_those_of_the_recipes(name):
    task, config = recipe_task(name)
    check_partition(task.model, config)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_trainable_parameter_gets_a_gradient_and_no_frozen_one_does(name):
    check_all_learn(make_task(**CONFIGS[name]))


@pytest.mark.parametrize("name", RECIPES)
def test_every_trainable_parameter_of_a_recipe_gets_a_gradient(name):
    task, config = recipe_task(name)
    assert not any("stay as they are" in warning for warning in warnings_of(config))
    check_all_learn(task)


def test_the_text_tower_is_always_frozen_and_the_image_tower_learns():
    model = make_task().model
    assert not any(p.requires_grad for p in model.text_encoder.parameters())
    assert all(p.requires_grad for p in model.image_encoder.parameters())


def test_each_part_has_its_own_rate():
    rates = {"lr": 0.1, "lr_image_encoder": 0.2, "lr_prompt_learner": 0.3, "lr_adapter": 0.4, "lr_fusion": 0.5}
    model, config = make_task(**rates).model, configure(**rates)
    modules = {
        "image_encoder": 0.2, "prompts": 0.3, "adapter": 0.4,
        "face_temporal": 0.1, "context_temporal": 0.1, "fuse": 0.5,
    }  # fmt: skip
    rate_of = {id(p): group["lr"] for group in parameter_groups(model, config.optim) for p in group["params"]}
    for module, rate in modules.items():
        assert {rate_of[id(p)] for p in getattr(model, module).parameters()} == {rate}, module


def test_the_fusion_layer_learns_at_the_general_rate_unless_told_otherwise():
    assert configure(lr=0.25).optim.lr_fusion == 0.25
    _, published = recipe_task("clip_caer")
    assert published.optim.lr_fusion == published.optim.lr_image_encoder == 1e-5


def test_a_frozen_image_encoder_builds_no_gradient_graph():
    task, seen = make_task(lr_image_encoder=0.0), []
    task.model.image_encoder.register_forward_hook(lambda module, args, out: seen.append(out.requires_grad))
    task.model.train()
    task.forward(random_batch())
    assert seen == [False]


@pytest.mark.parametrize("tune", [True, False])
def test_frozen_contexts_stay_bit_for_bit_and_tuned_ones_move(tune):
    config = configure(tune_prompts=tune, slerp_weight=0.0, optimizer="AdamW", lr_prompt_learner=0.1)
    task = make_task(tune_prompts=tune, slerp_weight=0.0)
    before = task.model.prompts.context.detach().clone()
    optimizer = build_optimizer(parameter_groups(task.model, config.optim), config.optim)
    gradients(task, 0)
    optimizer.step()
    assert torch.equal(task.model.prompts.context, before) is not tune


class TestIdlePrompts:
    IDLE = {"slerp_weight": 0.5, "iec_text": "descriptive", "mi_loss_weight": 0.0, "dc_loss_weight": 0.0}

    def said(self, **changes) -> bool:
        return any("learnable prompts do not enter" in w for w in warnings_of(configure(**(self.IDLE | changes))))

    def test_soft_prompts_that_nothing_reaches_get_no_gradient_and_a_warning_says_so(self):
        got = gradients(make_task(**self.IDLE), 40)
        assert got["prompts.context"] is None
        assert got["fuse.weight"].abs().sum() > 0 and self.said()

    @pytest.mark.parametrize(
        "changes",
        [
            {"mi_loss_weight": 0.1},
            {"dc_loss_weight": 0.1},
            {"iec_text": "soft"},
            {"iec_text": "both"},
            {"slerp_weight": 0.0},
        ],
    )
    def test_whatever_reaches_them_silences_it(self, changes):
        assert not self.said(**changes)
        assert gradients(make_task(**(self.IDLE | changes)), 40)["prompts.context"].abs().sum() > 0


def test_the_schedule_multiplies_every_rate_at_its_milestones():
    config = configure(milestones=(2, 4), gamma=0.1, lr=1.0, lr_image_encoder=0.01)
    groups = parameter_groups(make_task(lr_image_encoder=0.01).model, config.optim)
    optimizer = build_optimizer(groups, config.optim)
    schedule, seen = build_schedule(optimizer, config.optim), []
    for _ in range(6):
        seen.append({group["name"]: group["lr"] for group in optimizer.param_groups})
        optimizer.step()
        schedule.step()
    assert [row["temporal"] for row in seen] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert [row["image encoder"] for row in seen] == pytest.approx([0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])


@pytest.mark.parametrize(("name", "kind"), [("SGD", torch.optim.SGD), ("AdamW", torch.optim.AdamW)])
def test_the_optimizer_is_the_one_asked_for(name, kind):
    config = configure(optimizer=name, momentum=0.8, weight_decay=0.03)
    optimizer = build_optimizer(parameter_groups(make_task().model, config.optim), config.optim)
    assert type(optimizer) is kind
    for group in optimizer.param_groups:
        assert group["weight_decay"] == 0.03 and (name == "AdamW" or group["momentum"] == 0.8)


def test_set_trainable_switches_back_on_too():
    config = configure(lr_image_encoder=0.0)
    from dataloader.classes import load_classes

    model, _ = build_model(config, load_classes("RAER"))
    learning = replace(config, optim=replace(config.optim, lr_image_encoder=1e-6))
    method_named("clip-caer").set_trainable(model, learning)
    assert all(p.requires_grad for p in model.image_encoder.parameters())
