"""Losses on tensors: classification with its corrections for class sizes, the two text losses, contrast."""

import torch
import torch.nn.functional as F
from torch import Tensor

TEXT_TEMPERATURE = 0.07  # of the mutual-information loss; not the classifier's


def classification_loss(
    logits: Tensor,
    label: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Cross-entropy over (B, C), smoothed, weighted by the true class, focused on hard clips; each where asked for."""
    loss = clip_losses(logits, label, label_smoothing=label_smoothing, focal_gamma=focal_gamma)
    if class_weights is None:
        return loss.mean()
    weights = class_weights[label]
    return (weights * loss).sum() / weights.sum()


def clip_losses(logits: Tensor, label: Tensor, *, label_smoothing: float, focal_gamma: float) -> Tensor:
    """(B,): the loss of every clip."""
    log_p = F.log_softmax(logits.float(), dim=-1)
    true = log_p.gather(1, label[:, None])[:, 0]
    loss = -(1 - label_smoothing) * true - label_smoothing * log_p.mean(dim=-1)
    if focal_gamma > 0:
        doubt = (-torch.expm1(true)).clamp(min=1e-6)  # at 0 a power below 1 has no finite slope
        loss = loss * doubt**focal_gamma
    return loss


def inverse_weights(counts: Tensor) -> Tensor:
    """1 / n_c scaled to mean 1 over the classes that occur; 0 for one that does not."""
    weights = torch.where(counts > 0, 1 / counts.clamp(min=1).double(), 0.0)
    return (weights * (counts > 0).sum() / weights.sum()).float()


def log_priors(counts: Tensor) -> Tensor:
    """log of each class's share; a class without clips counts as one, so that it stays finite."""
    counts = counts.clamp(min=1).double()
    return (counts / counts.sum()).log().float()


def mutual_information_loss(soft: Tensor, descriptive: Tensor) -> Tensor:
    """Symmetric InfoNCE over classes: each (C, D) view must find its own class in the other."""
    similarity = F.normalize(soft.float(), dim=-1) @ F.normalize(descriptive.float(), dim=-1).T / TEXT_TEMPERATURE
    own = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(similarity, own) + F.cross_entropy(similarity.T, own)) / 2


def decorrelation_loss(soft: Tensor) -> Tensor:
    """The mean squared cosine between two different classes: 0 orthogonal, 1 identical."""
    C = len(soft)
    if C < 2:
        return soft.sum() * 0.0
    soft = F.normalize(soft.float(), dim=-1)
    cosine = soft @ soft.T
    # without its first entry, a square matrix in rows of C + 1 has its diagonal in the last column
    different = cosine.flatten()[1:].view(C - 1, C + 1)[:, :-1].flatten()
    return different.square().sum() / (C * (C - 1))


def contrastive_loss(video: Tensor, text: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """Each unit video (B, D) must find its text among the batch's, and each text its video.

    ``same`` (B, B) is True where both belong together: the diagonal, and what equals it. Their probabilities are
    added, so that a batch of equal texts has nothing to lose.
    """
    logits = scale * video.float() @ text.float().T
    return (missed(logits, same) + missed(logits.T, same.T)) / 2


def missed(logits: Tensor, same: Tensor) -> Tensor:
    """Minus the log of the probability that a row's own columns have together, the mean over rows."""
    own = logits.masked_fill(~same, float("-inf"))
    return (logits.logsumexp(dim=1) - own.logsumexp(dim=1)).mean()


def scheduled_weight(final: float, epoch: int, warmup: int, ramp: int) -> float:
    """0 during ``warmup`` epochs, then linear growth over ``ramp``, then ``final``; ``epoch`` counts from 0."""
    if epoch < warmup:
        return 0.0
    if epoch < warmup + ramp:
        return final * (epoch - warmup) / ramp
    return final
