"""The task's losses: which terms there are, what they weigh, and that predictions are never adjusted."""

import pytest
import torch
import torch.nn.functional as F

from tests.support.tools import make_task, random_batch


def out_and_losses(epoch=0, **given):
    task, batch = make_task(**given), random_batch(B=5)
    task.model.train()
    torch.manual_seed(0)
    out = task.forward(batch)
    return task, batch, out, task.losses(out, batch, epoch)


def test_three_named_terms_with_their_weights_at_this_epoch():
    settings = {
        "mi_loss_weight": 0.7,
        "mi_warmup": 3,
        "mi_ramp": 8,
        "dc_loss_weight": 1.2,
        "dc_warmup": 5,
        "dc_ramp": 10,
    }
    terms = {epoch: out_and_losses(epoch, **settings)[3] for epoch in (0, 4, 6, 30)}
    assert list(terms[0]) == ["classification", "mi", "dc"]
    assert terms[0]["mi"] == 0 and terms[0]["dc"] == 0
    assert (terms[4]["mi"] / terms[30]["mi"]).item() == pytest.approx(0.0875 / 0.7, rel=1e-4)
    assert (terms[6]["dc"] / terms[30]["dc"]).item() == pytest.approx(0.1, rel=1e-4)
    assert terms[0]["classification"] == terms[30]["classification"]


def test_mi_and_dc_of_an_ensemble_work_on_the_mean_of_a_classs_texts():
    _, _, out, losses = out_and_losses(text_type="prompt_ensemble", dc_loss_weight=1.0)
    mean = F.normalize(out.texts.soft.mean(dim=1), dim=-1)
    cosine = mean @ mean.T
    expected = (cosine.square().sum() - 5) / 20
    assert losses["dc"].item() == pytest.approx(expected.item(), rel=1e-3)


def test_logit_adjustment_adds_the_scaled_log_prior_to_the_loss_and_not_to_predictions():
    task, batch, out, losses = out_and_losses(logit_adj=True, logit_adj_tau=0.5)
    prior = torch.tensor([9, 3, 4, 5, 7]) / 28
    expected = F.cross_entropy(out.logits + 0.5 * prior.log(), batch["label"])
    assert losses["classification"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(task.predictions(out), out.logits)


def test_without_it_the_loss_is_plain_cross_entropy():
    _, batch, out, losses = out_and_losses()
    assert losses["classification"].item() == pytest.approx(
        F.cross_entropy(out.logits, batch["label"]).item(), rel=1e-5
    )


def test_class_balance_and_label_smoothing_both_apply():
    _, batch, out, losses = out_and_losses(class_balanced_loss=True, label_smoothing=0.1)
    weights = 1 / torch.tensor([9.0, 3, 4, 5, 7])
    each = F.cross_entropy(out.logits, batch["label"], label_smoothing=0.1, reduction="none")
    expected = (weights[batch["label"]] * each).sum() / weights[batch["label"]].sum()
    assert losses["classification"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_with_both_weights_at_zero_there_is_no_text_term_and_no_text_pass():
    task, _, out, losses = out_and_losses(mi_loss_weight=0.0, dc_loss_weight=0.0)
    assert list(losses) == ["classification"] and out.texts.soft is None
    task, _, _, losses = out_and_losses(tune_prompts=False)
    assert list(losses) == ["classification"]
