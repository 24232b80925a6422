"""The instance-enhanced classifier: every class text moves towards the video before the two are compared."""

import torch
from torch import Tensor

NEAR_PARALLEL = 1e-4  # 1 - cosine below which the series replaces the arc cosine
LOWEST = -1 + 1e-6  # at -1 no direction is defined and the slope is infinite


def instance_enhanced_cosine(cosine: Tensor, weight: float) -> Tensor:
    """``cos((1 - weight) acos(cosine))``: the video's cosine with slerp(text, video, weight).

    slerp turns the text by ``weight`` times the angle between the two, along the great circle that joins them, so the
    rest of the angle is what remains: no mixed vector is ever formed. It rises with ``cosine``, so one weight for all
    classes never changes which class is highest.
    """
    if weight == 0:
        return cosine
    share = 1 - weight
    cosine = cosine.clamp(LOWEST, 1)
    gap = 1 - cosine
    near = gap < NEAR_PARALLEL
    series = 1 - share**2 * gap * (1 + (1 - share**2) * gap / 6)
    # the branch that is not taken must stay finite too: its gradient is multiplied by zero, and 0 · inf is NaN
    angle = torch.acos(torch.where(near, torch.zeros_like(cosine), cosine))
    return torch.where(near, series, torch.cos(share * angle))
