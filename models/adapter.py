"""The expression-aware adapter: a small bottleneck on each face frame's feature."""

from torch import Tensor, nn

REDUCTION = 4


class Adapter(nn.Module):
    """``f(x)`` as published, or ``x + ratio (f(x) - x)``, which keeps what CLIP already saw in the face."""

    def __init__(self, width: int, *, residual: bool = True, ratio: float = 0.2) -> None:
        super().__init__()
        self.ratio = ratio if residual else 1.0
        self.layers = nn.Sequential(
            nn.Linear(width, width // REDUCTION, bias=False),
            nn.ReLU(),
            nn.Linear(width // REDUCTION, width, bias=False),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        adapted = self.layers(x)
        return adapted if self.ratio == 1.0 else x + self.ratio * (adapted - x)
