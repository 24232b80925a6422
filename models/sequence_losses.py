"""Losses over the frames that have a label: concordance, expression, action units. The others get no gradient.

Labels are NaN (valence-arousal, action units) or -1 (expressions) where there is none, and where ``padding`` is True
none counts. Without any label a loss is 0 and still has a graph. Frames are masked, not picked: to pick them a GPU
would first have to tell the CPU how many there are.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from models.losses import clip_losses

EPSILON = 1e-8  # keeps the concordance of equal numbers from 0 / 0


def ccc_loss(predicted: Tensor, label: Tensor, padding: Tensor | None = None) -> Tensor:
    """(B, L, 2) both: 1 - CCC of valence plus 1 - CCC of arousal, each over all labelled frames of the batch."""
    known = ~label.isnan() & there(padding, label)
    predicted, label, known = (values.flatten(0, 1) for values in (predicted, label, known))  # (B * L, 2)
    has_labels = known.any(dim=0)
    return torch.where(has_labels, 1 - concordance(predicted, label, known), 0.0).sum()


def concordance(one: Tensor, other: Tensor, known: Tensor) -> Tensor:
    """CCC of each column of two tables (N, K) over the rows that are ``known``, with population statistics; 0 where a
    column is constant, or nothing of it is known."""
    one, other = (torch.where(known, values.float(), 0.0) for values in (one, other))
    count = known.sum(dim=0).clamp(min=1)
    mean, other_mean = one.sum(dim=0) / count, other.sum(dim=0) / count
    apart, other_apart = (one - mean) * known, (other - other_mean) * known
    together = (apart * other_apart).sum(dim=0) / count
    spread = (apart.square().sum(dim=0) + other_apart.square().sum(dim=0)) / count
    return 2 * together / (spread + (mean - other_mean).square() + EPSILON)


def expression_loss(
    logits: Tensor,
    label: Tensor,
    padding: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """``logits`` (B, L, C), ``label`` (B, L): cross-entropy over labelled frames, as ``classification_loss``."""
    known, label = (label >= 0) & there(padding, label), label.clamp(min=0)
    logits = torch.where(known[..., None], logits, 0.0)
    weights = known.float() if class_weights is None else known * class_weights[label]
    losses = clip_losses(
        logits.flatten(0, 1), label.flatten(), label_smoothing=label_smoothing, focal_gamma=focal_gamma
    )
    return weighted_mean(losses, weights.flatten())


def action_unit_loss(
    logits: Tensor, label: Tensor, padding: Tensor | None = None, *, positive_weights: Tensor | None = None
) -> Tensor:
    """(B, L, K) both: binary cross-entropy over labelled units; ``positive_weights`` (K,) multiply active ones."""
    known = (label >= 0) & there(padding, label)  # NaN is not
    logits, target = (torch.where(known, values, 0.0).float() for values in (logits, label))
    losses = F.binary_cross_entropy_with_logits(logits, target, pos_weight=positive_weights, reduction="none")
    return weighted_mean(losses, known.float())


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """0, with a graph, where all weights are 0."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)


def there(padding: Tensor | None, label: Tensor) -> Tensor | bool:
    """Where there is a frame, in a shape that fits ``label`` (B, L) or (B, L, K)."""
    if padding is None:
        return True
    return ~padding if label.dim() == 2 else ~padding[..., None]
