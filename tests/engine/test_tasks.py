"""The losses of a task: their terms and weights, and that predictions are never adjusted."""

import pytest
import torch
import torch.nn.functional as F

from tests.support.tools import make_task, random_batch

COUNTS = torch.tensor([9.0, 3, 4, 5, 7])  # training clips per class, of make_task


def out_and_losses(epoch=0, **given):
    task, batch = make_task(**given), random_batch(B=5)
    task.model.train()
    torch.manual_seed(0)
    out = task.forward(batch)
    return task, batch, out, task.losses(out, batch, epoch)


def test_the_three_losses_have_the_weights_of_the_epoch():
    settings = dict(mi_loss_weight=0.7, mi_warmup=3, mi_ramp=8, dc_loss_weight=1.2, dc_warmup=5, dc_ramp=10)
    terms = {epoch: out_and_losses(epoch, **settings)[3] for epoch in (0, 4, 6, 30)}
    assert list(terms[0]) == ["classification", "mi", "dc"] and terms[0]["mi"] == terms[0]["dc"] == 0
    assert (terms[4]["mi"] / terms[30]["mi"]).item() == pytest.approx(0.0875 / 0.7, rel=1e-4)
    assert (terms[6]["dc"] / terms[30]["dc"]).item() == pytest.approx(0.1, rel=1e-4)
    assert terms[0]["classification"] == terms[30]["classification"]


def test_dc_of_an_ensemble_works_on_the_mean_of_a_classs_texts():
    _, _, out, losses = out_and_losses(text_type="prompt_ensemble", dc_loss_weight=1.0)
    mean = F.normalize(out.texts.soft.mean(dim=1), dim=-1)
    expected = ((mean @ mean.T).square().sum() - 5) / 20
    assert losses["dc"].item() == pytest.approx(expected.item(), rel=1e-3)


def plain(logits, label):
    return F.cross_entropy(logits, label)


def adjusted(logits, label):
    return F.cross_entropy(logits + 0.5 * (COUNTS / 28).log(), label)


def balanced_and_smoothed(logits, label):
    weights = (1 / COUNTS)[label]
    return (weights * F.cross_entropy(logits, label, label_smoothing=0.1, reduction="none")).sum() / weights.sum()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, plain),
        ({"logit_adj": True, "logit_adj_tau": 0.5}, adjusted),
        ({"class_balanced_loss": True, "label_smoothing": 0.1}, balanced_and_smoothed),
    ],
)
def test_corrections_for_class_sizes_are_in_the_loss_and_not_in_predictions(settings, expected):
    task, batch, out, losses = out_and_losses(**settings)
    assert losses["classification"].item() == pytest.approx(expected(out.logits, batch["label"]).item(), rel=1e-5)
    assert torch.equal(task.predictions(out), out.logits)


def test_without_weights_or_prompts_there_is_no_text_term_and_no_text_pass():
    _, _, out, losses = out_and_losses(mi_loss_weight=0.0, dc_loss_weight=0.0)
    assert list(losses) == ["classification"] and out.texts.soft is None
    assert list(out_and_losses(tune_prompts=False)[3]) == ["classification"]
