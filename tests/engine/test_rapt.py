"""recipes/rapt.args against RAPT's arithmetic: the same tensors, and forward and loss computed by hand."""

import math

import pytest
import torch
from torch import nn

from dataloader.classes import load_classes
from engine.checkpoints import open_checkpoint
from engine.config import read_command
from engine.methods.clip_caer import PromptTask
from engine.model import build_model
from engine.options import names_with, value_of
from tests.support import published as files
from tests.support import reference
from tests.support.tools import RANDOM_CLIP, ROOT

RAER = (1383, 129, 150, 157, 422)  # training clips per class
MARGINS = (0.276320, 0.5, 0.481498, 0.476039, 0.371783)  # max_m 0.5 for these counts
PUBLISHED = files.rapt(files.Recipe(texts_per_class=3))
EPOCH = 9  # of 5 epochs without and 10 of growth: 4 / 10 of the weights 0.1


def recipe(*words):
    return read_command([f"@{ROOT}/recipes/rapt.args", *words])[1]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    path = tmp_path_factory.mktemp("rapt") / "model_best.pth"
    torch.save({"state_dict": dict(PUBLISHED.state)}, path)
    return open_checkpoint(path, {})


@pytest.fixture(scope="module")
def step(opened):
    """The output and the losses of a training step, without dropout."""
    model = opened.load({})[1].train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    task = PromptTask(model, load_classes("RAER").names, recipe().loss)
    task.set_training_counts(RAER, torch.device("cpu"))
    face, context = torch.rand(2, 6, 16, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    batch = {"face": face, "context": context, "label": torch.tensor([0, 1, 2, 3, 4, 1]), "id": [*"abcdef"]}
    out = task.forward(batch)
    return batch, out, task.losses(out, batch, EPOCH)


def test_the_recipe_builds_what_published_files_hold(opened):
    model = build_model(recipe(*RANDOM_CLIP), load_classes("RAER"))[0]
    towers = ("image_encoder.", "text_encoder.")  # of other sizes here
    ours, theirs = (
        {n for n in names if not n.startswith(towers)} for names in (model.state_dict(), opened.content["model"])
    )
    assert ours == theirs
    config, stored = recipe(), opened.config
    fixed = [name for kind in ("fixed", "fixed classes", "warn") for name in names_with(checkpoint=kind)]
    differing = {name for name in fixed if value_of(config, name) != value_of(stored, name)}
    # the small file reads smaller pictures; whether boxes of bodies are there is not in a file
    assert differing <= {"image_size", "crop_body", "adapter_ratio"}
    dropouts = {name: m.p for name, m in model.named_modules() if isinstance(m, nn.Dropout)}
    assert {p for name, p in dropouts.items() if name.startswith("adapter.")} == {0.5}
    assert {p for name, p in dropouts.items() if "_temporal." in name} == {0.1}


def test_the_logits_are_those_of_the_published_formulas(step):
    batch, out, _ = step
    expected = reference.clip_caer_logits(
        PUBLISHED.state, PUBLISHED.lengths, batch["face"], batch["context"], classes=5, tau=0.07
    )
    assert torch.allclose(out.logits.double(), expected, atol=1e-3)


def test_the_loss_is_ldam_at_30_and_the_text_losses_of_the_mean_texts(step):
    batch, out, losses = step
    state = reference.in_double(PUBLISHED.state)
    video = reference.video_features(state, batch["face"], batch["context"])
    prompts = reference.prompt_features(state, PUBLISHED.lengths)
    total = 0.0
    for feature, label in zip(video.tolist(), batch["label"].tolist(), strict=True):
        cosines = [sum(a * b for a, b in zip(feature, text, strict=True)) for text in prompts.tolist()]
        logits = [sum(cosines[3 * c : 3 * c + 3]) / 3 / 0.07 for c in range(5)]
        logits[label] -= MARGINS[label]
        scaled = [30 * value for value in logits]
        top = max(scaled)
        total += top + math.log(sum(math.exp(value - top) for value in scaled)) - scaled[label]
    assert losses["classification"].item() == pytest.approx(total / 6, rel=1e-3)
    learnt, written = prompts.unflatten(0, (5, 3)).mean(dim=1), reference.plain_features(state, PUBLISHED.plain_lengths)
    learnt = [[x / math.hypot(*row) for x in row] for row in learnt.tolist()]
    written = [[x / math.hypot(*row) for x in row] for row in written.tolist()]

    def cosines_of(first, second):
        return [[sum(a * b for a, b in zip(x, y, strict=True)) for y in second] for x in first]

    pairs, mi = cosines_of(learnt, written), 0.0
    for c in range(5):
        row, column = pairs[c], [pairs[k][c] for k in range(5)]
        mi += sum(math.log(sum(math.exp(v / 0.07) for v in values)) - pairs[c][c] / 0.07 for values in (row, column))
    own = cosines_of(learnt, learnt)
    dc = sum(own[i][j] ** 2 for i in range(5) for j in range(5) if i != j) / 20
    assert losses["mi"].item() == pytest.approx(0.1 * 4 / 10 * mi / 10, rel=1e-3)
    assert losses["dc"].item() == pytest.approx(0.1 * 4 / 10 * dc, rel=1e-3)
    assert list(losses) == ["classification", "mi", "dc"]
