"""The losses of a task: their terms and weights, and that predictions are never adjusted."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import beta, kstest

from engine.methods.clip_caer import PromptTask
from engine.step import with_partners
from tests.support.tools import configure, make_task, random_batch
from utils.errors import UserError

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


def margins() -> torch.Tensor:
    """LDAM's for these class sizes: the class of 3 clips has the largest."""
    return 0.3 * (3 / COUNTS) ** 0.25


def ldam_of_cosines(logits, label):
    """One scale, 1 / 0.05: the margin is one of cosines."""
    cosine = 0.05 * logits
    return F.cross_entropy((cosine - margins() * F.one_hot(label, 5)) / 0.05, label)


def ldam_of_logits(logits, label):
    return F.cross_entropy(30 * (logits - margins() * F.one_hot(label, 5)), label)


def effective(logits, label):
    weights = (0.1 / (1 - 0.9**COUNTS))[label]
    return (weights * F.cross_entropy(logits, label, reduction="none")).sum() / weights.sum()


def smoothed_as_in_the_fork(logits, label):
    fixed = torch.tensor([0.06526781, 0.817977729, 1.035884371, 0.388144355, 0.19551041668])
    rows = []
    for true in label.tolist():
        row = fixed.clone()
        row[true] = 0
        row = 0.05 * row / row.sum()
        row[true] = 0.95
        rows.append(row)
    return F.cross_entropy(logits, torch.stack(rows))


CORRECTIONS = [
    ({}, plain),
    ({"logit_adj": True, "logit_adj_tau": 0.5}, adjusted),
    ({"class_balanced_loss": True, "label_smoothing": 0.1}, balanced_and_smoothed),
    ({"ldam": "cosine", "ldam_margin": 0.3, "temperature": 0.05}, ldam_of_cosines),
    ({"ldam": "published", "ldam_margin": 0.3}, ldam_of_logits),
    ({"class_balanced_loss": True, "class_beta": 0.9}, effective),
    ({"label_smoothing": 0.05, "smoothing_weights": "published"}, smoothed_as_in_the_fork),
]


@pytest.mark.parametrize(("settings", "expected"), CORRECTIONS)
def test_corrections_for_class_sizes_are_in_the_loss_and_not_in_predictions(settings, expected):
    task, batch, out, losses = out_and_losses(**settings)
    assert losses["classification"].item() == pytest.approx(expected(out.logits, batch["label"]).item(), rel=1e-5)
    assert torch.equal(task.predictions(out), out.logits)


PARTNERS, SHARE = torch.tensor([3, 1, 4, 0, 2]), 0.7


@pytest.mark.parametrize(("settings", "expected"), CORRECTIONS)
def test_mixup_mixes_frame_features_and_losses_by_one_share(settings, expected):
    task, batch = make_task(mixup=0.2, **settings), random_batch(B=5)
    for module in task.model.train().modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    face, context = task.encode_frames(batch)
    mixed = [0.7 * stream + 0.3 * torch.stack([stream[row] for row in (3, 1, 4, 0, 2)]) for stream in (face, context)]
    logits = task.model.head(*mixed, task.step_texts()).logits
    batch |= {"partner": PARTNERS, "share": SHARE}
    out = task.forward(batch)
    assert torch.allclose(out.logits, logits, atol=1e-5)
    loss = task.losses(out, batch, 9)["classification"].item()
    label, theirs = batch["label"], batch["label"][PARTNERS]
    assert loss == pytest.approx(0.7 * expected(logits, label).item() + 0.3 * expected(logits, theirs).item(), rel=1e-4)
    if expected is plain:
        target = 0.7 * F.one_hot(label, 5).float() + 0.3 * F.one_hot(theirs, 5)
        assert loss == pytest.approx(F.cross_entropy(logits, target).item(), rel=1e-5)
        mi = out_and_losses(**settings)[3]["mi"]
        assert task.losses(out, batch, 0)["mi"].item() == pytest.approx(mi.item(), rel=1e-5)  # texts are not mixed


def test_partners_and_shares_are_a_function_of_seed_epoch_and_step():
    batch = {"label": torch.zeros(6, dtype=torch.int64)}
    samples = {key: with_partners(batch, 0.4, *key) for key in ((1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3))}
    again = with_partners(batch, 0.4, 1, 2, 3)
    assert again["share"] == samples[1, 2, 3]["share"]
    assert torch.equal(again["partner"], samples[1, 2, 3]["partner"])
    assert len({sample["share"] for sample in samples.values()}) == 4
    many = [with_partners(batch, 0.4, 0, 0, step) for step in range(3000)]
    shares = np.array([sample["share"] for sample in many])
    assert kstest(shares, lambda x: beta.cdf(x, 0.4, 0.4) - beta.cdf(1 - x, 0.4, 0.4)).pvalue > 0.01
    partners = np.stack([sample["partner"].numpy() for sample in many])
    assert (np.sort(partners, axis=1) == np.arange(6)).all()
    counts = np.array([np.bincount(column, minlength=6) for column in partners.T])
    assert np.abs(counts / 3000 - 1 / 6).max() < 0.03


def test_class_weights_begin_after_the_first_epochs():
    settings = {"class_balanced_loss": True, "label_smoothing": 0.1, "drw_epoch": 3}
    plain_loss = {epoch: out_and_losses(epoch, **settings)[3]["classification"] for epoch in (0, 2, 3, 9)}
    _, batch, out, _ = out_and_losses(**settings)
    before = F.cross_entropy(out.logits, batch["label"], label_smoothing=0.1)
    after = balanced_and_smoothed(out.logits, batch["label"])
    assert [plain_loss[epoch].item() for epoch in (0, 2)] == pytest.approx([before.item()] * 2, rel=1e-5)
    assert [plain_loss[epoch].item() for epoch in (3, 9)] == pytest.approx([after.item()] * 2, rel=1e-5)
    assert abs(before - after) > 1e-3


def of_similar_texts(out, batch, texts):
    """Targets spread by the cosines of these texts."""
    texts = F.normalize(texts.mean(dim=1), dim=-1).detach()
    return F.cross_entropy(out.logits, (texts @ texts.T / 0.3).softmax(dim=-1)[batch["label"]]).item()


@pytest.mark.parametrize("slerp_weight", [0.0, 0.5])
def test_semantic_labels_follow_the_texts_that_classify(slerp_weight):
    """With IEC on written texts these classify, else the learnable ones; before the warm-up ends the label counts."""
    settings = {"semantic_labels": 0.3, "semantic_warmup": 2, "slerp_weight": slerp_weight}
    _, batch, out, losses = out_and_losses(2, **settings)
    written, learnable = (of_similar_texts(out, batch, view) for view in (out.texts.descriptive, out.texts.soft))
    early = out_and_losses(1, **settings)[3]["classification"].item()
    assert early == pytest.approx(plain(out.logits, batch["label"]).item(), rel=1e-5)
    expected, wrong = (written, learnable) if slerp_weight else (learnable, written)
    assert losses["classification"].item() == pytest.approx(expected, rel=1e-5)
    assert all(abs(value - expected) > 1e-4 for value in (wrong, early))


def test_fixed_smoothing_weights_are_refused_for_other_classes():
    task = make_task()
    loss = configure(label_smoothing=0.05, smoothing_weights="published").loss
    with pytest.raises(UserError, match=r"--smoothing-weights published: .*5 classes.* 7;"):
        PromptTask(task.model, tuple("abcdefg"), loss)


def test_without_weights_or_prompts_there_is_no_text_term_and_no_text_pass():
    _, _, out, losses = out_and_losses(mi_loss_weight=0.0, dc_loss_weight=0.0)
    assert list(losses) == ["classification"] and out.texts.soft is None
    assert list(out_and_losses(tune_prompts=False)[3]) == ["classification"]
