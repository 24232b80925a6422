"""Losses: classification, the two text losses, contrast, and losses over the labelled frames of long videos.

Missing frame labels are NaN (valence-arousal, action units) or -1 (expressions), and labels where ``padding`` is True
are ignored. Without any label a frame loss is 0 but still has a graph. Frames are masked instead of selected, because
to select them the CPU would have to wait for their number from the GPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TEXT_TEMPERATURE = 0.07  # of the mutual-information loss, not of the classifier
EPSILON = 1e-8  # prevents 0 / 0 in the concordance of constant columns
RAPT_SCALE = 30.0  # of logits that the temperature has already divided
FORK_SMOOTHING = (0.06526781, 0.817977729, 1.035884371, 0.388144355, 0.19551041668)  # RAER's classes in their order


# --- classification of clips


def classification_loss(
    logits: Tensor,
    label: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
    targets: Tensor | None = None,
) -> Tensor:
    """Return the cross-entropy over (B, C); optionally with label smoothing, class weights and focal loss.

    ``targets`` (B, C): a distribution over the classes for each clip, in place of its label and of smoothing.
    """
    loss = clip_losses(logits, label, label_smoothing=label_smoothing, focal_gamma=focal_gamma, targets=targets)
    if class_weights is None:
        return loss.mean()
    weights = class_weights[label]
    return (weights * loss).sum() / weights.sum()


def clip_losses(
    logits: Tensor, label: Tensor, *, label_smoothing: float, focal_gamma: float, targets: Tensor | None = None
) -> Tensor:
    """Return the loss of every clip, (B,)."""
    log_p = F.log_softmax(logits.float(), dim=-1)
    true = log_p.gather(1, label[:, None])[:, 0]
    if targets is None:
        loss = -(1 - label_smoothing) * true - label_smoothing * log_p.mean(dim=-1)
    else:
        loss = -(targets * log_p).sum(dim=-1)
    if focal_gamma > 0:
        # 1 - p by expm1 is exact for small values; at 0 a power below 1 has no finite derivative
        doubt = (-torch.expm1(true)).clamp(min=1e-6)
        loss = loss * doubt**focal_gamma
    return loss


def inverse_weights(counts: Tensor) -> Tensor:
    """Return 1 / n_c, scaled to mean 1 over the classes that occur; 0 for a class that does not."""
    weights = torch.where(counts > 0, 1 / counts.clamp(min=1).double(), 0.0)
    return (weights * (counts > 0).sum() / weights.sum()).float()


def effective_weights(counts: Tensor, beta: float) -> Tensor:
    """Return 1 / (effective number of clips), scaled like ``inverse_weights`` (Cui et al., 2019).

    n clips of a class count as ``(1 - beta^n) / (1 - beta)``: as 1 with ``beta`` 0, as n with ``beta`` 1.
    """
    if beta == 1:
        return inverse_weights(counts)
    numbers = (1 - beta ** counts.double()) / (1 - beta)
    weights = torch.where(counts > 0, 1 / numbers.clamp(min=1), 0.0)
    return (weights * (counts > 0).sum() / weights.sum()).float()


def ldam_margins(counts: Tensor, largest: float) -> Tensor:
    """Return n_c^(-1/4), scaled so that the rarest class has the margin ``largest``; 0 for a class without clips."""
    margins = torch.where(counts > 0, counts.clamp(min=1).double() ** -0.25, 0.0)
    return (largest * margins / margins.max()).float()


def lower_true_logits(logits: Tensor, label: Tensor, margins: Tensor) -> Tensor:
    """Return logits (B, C) in which each clip's true class has lost its margin, (C,)."""
    is_true = label[:, None] == torch.arange(len(margins), device=label.device)
    return torch.where(is_true, logits - margins, logits)


def fork_targets(smoothing: float) -> Tensor:
    """Return the fork's smoothed targets, a row for each true class, (5, 5).

    The true class has ``1 - smoothing``. The rest is divided among the others in proportion to fixed weights.
    """
    weights = torch.tensor(FORK_SMOOTHING, dtype=torch.float64).expand(len(FORK_SMOOTHING), -1)
    is_true = torch.eye(len(weights), dtype=torch.bool)
    weights = weights.masked_fill(is_true, 0.0)
    rest = smoothing * weights / weights.sum(dim=-1, keepdim=True)
    return torch.where(is_true, 1 - smoothing, rest).float()


def semantic_targets(texts: Tensor, temperature: float) -> Tensor:
    """Return a target distribution for each true class, (C, C): the softmax of the cosines of the class texts (C, D).

    The targets are constants. With a gradient, the texts could lower the loss by moving the targets.
    """
    texts = F.normalize(texts.detach().float(), dim=-1)
    return (texts @ texts.T / temperature).softmax(dim=-1)


def log_priors(counts: Tensor) -> Tensor:
    """Return the log of each class's share; a class without clips counts as one clip, so that it stays finite."""
    counts = counts.clamp(min=1).double()
    return (counts / counts.sum()).log().float()


def scheduled_weight(final: float, epoch: int, warmup: int, ramp: int) -> float:
    """Return 0 during ``warmup`` epochs, then a linear growth over ``ramp``, then ``final``; ``epoch`` starts at 0."""
    if epoch < warmup:
        return 0.0
    return final * (epoch - warmup) / ramp if epoch < warmup + ramp else final


# --- texts


def mutual_information_loss(soft: Tensor, descriptive: Tensor) -> Tensor:
    """Return the symmetric InfoNCE over classes: each class of one (C, D) view must match itself in the other view."""
    similarity = F.normalize(soft.float(), dim=-1) @ F.normalize(descriptive.float(), dim=-1).T / TEXT_TEMPERATURE
    classes = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(similarity, classes) + F.cross_entropy(similarity.T, classes)) / 2


def decorrelation_loss(soft: Tensor) -> Tensor:
    """Return the mean squared cosine between two different classes of (C, D): 0 if orthogonal, 1 if identical."""
    C = len(soft)
    if C < 2:
        return soft.sum() * 0.0
    soft = F.normalize(soft.float(), dim=-1)
    cosine = soft @ soft.T
    # Without its first entry, a C × C matrix reshaped to rows of C + 1 has its diagonal in the last column.
    different = cosine.flatten()[1:].view(C - 1, C + 1)[:, :-1].flatten()
    return different.square().sum() / (C * (C - 1))


def contrastive_loss(video: Tensor, text: Tensor, scale: Tensor, same: Tensor) -> Tensor:
    """Return the contrastive loss: each unit video (B, D) must match its text in the batch, and each text its video.

    ``same`` (B, B) is True for pairs that match: on the diagonal, and for equal texts. Their probabilities are added,
    so that the loss of a batch of equal texts is 0.
    """
    logits = scale * video.float() @ text.float().T
    return (_retrieval_loss(logits, same) + _retrieval_loss(logits.T, same.T)) / 2


def _retrieval_loss(logits: Tensor, same: Tensor) -> Tensor:
    """Return the mean over rows of -log of the probability of all columns that belong to the row."""
    matching = logits.masked_fill(~same, float("-inf"))
    return (logits.logsumexp(dim=1) - matching.logsumexp(dim=1)).mean()


# --- frames of long videos


def ccc_loss(predicted: Tensor, label: Tensor, padding: Tensor) -> Tensor:
    """Return 1 - CCC of valence plus 1 - CCC of arousal over all labelled frames of a batch; inputs are (B, L, 2)."""
    is_labelled = ~label.isnan() & ~padding[..., None]
    predicted, label, is_labelled = (values.flatten(0, 1) for values in (predicted, label, is_labelled))  # (B * L, 2)
    return torch.where(is_labelled.any(dim=0), 1 - concordance(predicted, label, is_labelled), 0.0).sum()


def concordance(predicted: Tensor, label: Tensor, is_labelled: Tensor) -> Tensor:
    """Return the CCC (K,) of each column of (N, K) over its labelled rows, with population statistics.

    It is 0 for a column that is constant or has no label.
    """
    predicted, label = (torch.where(is_labelled, values.float(), 0.0) for values in (predicted, label))
    count = is_labelled.sum(dim=0).clamp(min=1)
    predicted_mean, label_mean = predicted.sum(dim=0) / count, label.sum(dim=0) / count
    predicted_gap, label_gap = (predicted - predicted_mean) * is_labelled, (label - label_mean) * is_labelled
    covariance = (predicted_gap * label_gap).sum(dim=0) / count
    variances = (predicted_gap.square().sum(dim=0) + label_gap.square().sum(dim=0)) / count
    return 2 * covariance / (variances + (predicted_mean - label_mean).square() + EPSILON)


def expression_loss(
    logits: Tensor,
    label: Tensor,
    padding: Tensor,
    *,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Return ``classification_loss`` over labelled frames; ``logits`` (B, L, C), ``label`` (B, L)."""
    is_labelled, label = (label >= 0) & ~padding, label.clamp(min=0)
    logits = torch.where(is_labelled[..., None], logits, 0.0)  # NaN elsewhere must not reach the gradient
    weights = is_labelled.float() if class_weights is None else is_labelled * class_weights[label]
    losses = clip_losses(
        logits.flatten(0, 1), label.flatten(), label_smoothing=label_smoothing, focal_gamma=focal_gamma
    )
    return weighted_mean(losses, weights.flatten())


def action_unit_loss(
    logits: Tensor, label: Tensor, padding: Tensor, *, positive_weights: Tensor | None = None
) -> Tensor:
    """Return the binary cross-entropy over labelled units (B, L, K); ``positive_weights`` (K,) multiply active ones."""
    is_labelled = (label >= 0) & ~padding[..., None]  # NaN >= 0 is False
    logits, target = (torch.where(is_labelled, values, 0.0).float() for values in (logits, label))
    losses = F.binary_cross_entropy_with_logits(logits, target, pos_weight=positive_weights, reduction="none")
    return weighted_mean(losses, is_labelled.float())


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean; 0, with a graph, if all weights are 0."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)
