"""Two simulated symptom scores of a clip, 0 to 10, from what was drawn: numbers to try regression on, no diagnosis."""

from dataclasses import dataclass

import numpy as np

from simulate.moment import Moment

NOISE = 0.35  # standard deviation of a rating
LIVELY, LOWERED = 1.1, 1.0  # movement, and lowering, at which a score has come to 63 % of 10


@dataclass(frozen=True)
class Symptoms:
    """What a rater would write down, were the person real."""

    expressivity: float  # how much brows and mouth move and open
    withdrawal: float  # how far gaze, head and body are lowered


def rate(moments: tuple[Moment, ...], rng: np.random.Generator) -> Symptoms:
    """Both scores with the noise of a rating, two decimals."""
    scores = 10 * (1 - np.exp(-np.array([_movement(moments) / LIVELY, _lowering(moments) / LOWERED])))
    return Symptoms(*np.clip(scores + rng.normal(0, NOISE, 2), 0, 10).round(2).tolist())


def _movement(moments: tuple[Moment, ...]) -> float:
    """How far brows and mouth range over the clip, and how far the mouth stands open."""
    tracks = np.array([(m.brow_raise, m.brow_furrow, m.brow_tilt, m.smile, m.mouth_open) for m in moments])
    return float(np.ptp(tracks, axis=0) @ (0.3, 0.3, 0.2, 0.4, 0.5) + 0.5 * tracks[:, 4].mean())


def _lowering(moments: tuple[Moment, ...]) -> float:
    tracks = np.array([(max(0.0, m.gaze_y), max(0.0, m.pitch) / 12, m.slump) for m in moments])
    return float(tracks.mean(0) @ (0.8, 0.5, 0.5))
