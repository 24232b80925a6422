"""Options of the methods for every frame of long videos: --model sequence, and the features that it reads."""

from dataclasses import dataclass
from typing import Literal

from utils.config import option


@dataclass(frozen=True)
class SequenceOptions:
    features: tuple[str, ...] = option(
        (), "folders of <video>.npy, frames x numbers each; several stand side by side", metavar="DIR"
    )
    window: int = option(300, "frames that the model reads together", minimum=1)
    stride: int = option(200, "frames between the beginnings of two windows, at most --window", minimum=1)
    warmup_epochs: float = option(1.0, "epochs in which the rate rises, before it falls to 0 by a cosine", minimum=0)
    tcn: bool = option(True, "the temporal convolutions")
    tcn_channels: tuple[int, ...] = option((768, 256, 128), "width of each block of the convolutions", minimum=1)
    transformer: bool = option(True, "the transformer encoder")
    causal: bool = option(True, "the convolutions read earlier frames alone; off: both sides")
    positions: bool = option(False, "sinusoidal positions before the transformer")
    transformer_layers: int = option(8, "blocks of the transformer encoder", minimum=1, maximum=48)
    patience: int = option(0, "epochs without a better validation score after which training ends; 0: never", minimum=0)
    frame_step: int = option(1, "of frame-expr: every so many-th training frame, neighbours being alike", minimum=1)
    smooth: int = option(
        1,
        "predictions: a centred mean of VA, a majority of EXPR over so many frames, an odd number; 1 is off; "
        "in --mode predict and serve: probabilities averaged over so many windows",
        minimum=1,
    )
    thresholds: Literal["0.5", "tuned"] = option(
        "0.5", "from which probability an action unit is active; tuned: each unit's best on the training videos"
    )
