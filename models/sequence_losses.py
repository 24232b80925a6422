"""Losses over the frames that have a label: concordance, expression, action units. The others get no gradient.

Labels are NaN (valence-arousal, action units) or -1 (expressions) where there is none, and where ``padding`` is True
none counts. Without any label a loss is 0 and still has a graph.
"""

import torch.nn.functional as F
from torch import Tensor

from models.losses import classification_loss

EPSILON = 1e-8  # keeps the concordance of equal numbers from 0 / 0


def ccc_loss(predicted: Tensor, label: Tensor, padding: Tensor | None = None) -> Tensor:
    """(B, L, 2) both: 1 - CCC of valence plus 1 - CCC of arousal, each over all labelled frames of the batch."""
    known = ~label.isnan() & there(padding, label)
    return sum(
        1 - concordance(predicted[..., k][known[..., k]], label[..., k][known[..., k]])
        if known[..., k].any()
        else nothing(predicted)
        for k in range(label.shape[-1])
    )


def concordance(one: Tensor, other: Tensor) -> Tensor:
    """CCC of two series (N,), with population statistics; 0 where one of them is constant."""
    one, other = one.float(), other.float()
    mean, other_mean = one.mean(), other.mean()
    together = ((one - mean) * (other - other_mean)).mean()
    spread = (one - mean).square().mean() + (other - other_mean).square().mean()
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
    known = (label >= 0) & there(padding, label)
    if class_weights is not None:
        known &= class_weights[label.clamp(min=0)] > 0  # a batch of weight 0 alone would be 0 / 0
    if not known.any():
        return nothing(logits)
    return classification_loss(
        logits[known],
        label[known],
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        focal_gamma=focal_gamma,
    )


def action_unit_loss(
    logits: Tensor, label: Tensor, padding: Tensor | None = None, *, positive_weights: Tensor | None = None
) -> Tensor:
    """(B, L, K) both: binary cross-entropy over labelled units; ``positive_weights`` (K,) multiply active ones."""
    known = (label >= 0) & there(padding, label)  # NaN is not
    if not known.any():
        return nothing(logits)
    weights = None if positive_weights is None else positive_weights.expand_as(label)[known]
    return F.binary_cross_entropy_with_logits(logits[known].float(), label[known].float(), pos_weight=weights)


def there(padding: Tensor | None, label: Tensor) -> Tensor | bool:
    """Where there is a frame, in a shape that fits ``label`` (B, L) or (B, L, K)."""
    if padding is None:
        return True
    return ~padding if label.dim() == 2 else ~padding[..., None]


def nothing(predicted: Tensor) -> Tensor:
    """0 with a graph: an empty sum, so that it is 0 whatever was predicted."""
    return predicted[..., :0].float().sum()
