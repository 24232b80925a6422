"""Ten simulated annotators: each reads a clip's behaviour with a bias and noise of their own, and names one emotion."""

import numpy as np

from simulate.behaviour import EMOTIONS
from simulate.moment import Moment

ANNOTATORS = 10
READING_NOISE, SHARED_NOISE, BIAS = 0.11, 0.085, 0.05  # of one reading, of the clip as a whole, and of a person
NEUTRAL_EVIDENCE = 0.42  # what the other emotions must exceed to be named


def read_clip(moments: tuple[Moment, ...]) -> np.ndarray:
    """The evidence for each emotion in what is seen, (5,): behaviour only, never the intended emotion."""
    enjoyment = np.mean([max(0.0, m.smile) * 1.05 + 0.3 * m.mouth_open * (m.smile > 0.25) for m in moments])
    confusion = np.mean([_puzzlement(m) for m in moments])
    fatigue = np.mean([_tiredness(m) for m in moments]) + 0.5 * _nodding(moments)
    distraction = np.mean([0.95 * (m.phone == "held" and m.attention == "phone") + _straying(m) for m in moments])
    return np.array([NEUTRAL_EVIDENCE, enjoyment, confusion, fatigue, distraction])


def _puzzlement(moment: Moment) -> float:
    hands = {moment.hand("left"), moment.hand("right")}
    thinking = bool(hands & {"chin", "head", "pen"})
    frown = 0.75 * moment.brow_furrow + 0.25 * abs(moment.brow_tilt) + 0.2 * moment.mouth_press
    return frown + 0.015 * abs(moment.roll) + 0.22 * thinking - 0.15 * max(0.0, moment.smile)


def _tiredness(moment: Moment) -> float:
    hands = {moment.hand("left"), moment.hand("right")}
    yawn = moment.mouth_open * (moment.smile < 0.25)
    heavy = max(0.0, 0.78 - moment.eyelid)
    return 1.25 * heavy + 0.6 * yawn + 0.22 * moment.slump + 0.1 * ("palm" in hands) + 0.35 * ("eye" in hands)


def _nodding(moments: tuple[Moment, ...]) -> float:
    """How far the head falls and jerks back up, as a share of 20 degrees."""
    return float(np.clip(np.abs(np.diff([m.pitch for m in moments])).max() / 20 - 0.15, 0, 0.5))


def _straying(moment: Moment) -> float:
    """Eyes and head turned out of the scene; a slight turn counts little."""
    if moment.attention == "phone":
        return 0.0
    turned = np.clip((abs(moment.yaw) - 12) / 24, 0, 1) + 0.35 * max(0.0, abs(moment.gaze_x) - 0.45)
    return float(turned) + 0.12 * ("fiddle" in (moment.left_hand, moment.right_hand))


def annotate(evidence: np.ndarray, seed: int, rng: np.random.Generator) -> np.ndarray:
    """The votes for each emotion, (5,); the ten people of a set, and so their biases, depend on ``seed`` alone."""
    biases = np.random.default_rng((seed, ANNOTATORS)).normal(0, BIAS, (ANNOTATORS, len(EMOTIONS)))
    impression = evidence + rng.normal(0, SHARED_NOISE, len(EMOTIONS))
    readings = impression + biases + rng.normal(0, READING_NOISE, (ANNOTATORS, len(EMOTIONS)))
    return np.bincount(readings.argmax(1), minlength=len(EMOTIONS))


def majority(votes: np.ndarray) -> int | None:
    """The 0-based label most annotators chose, or None where two tie."""
    first, second = np.sort(votes)[::-1][:2]
    return int(votes.argmax()) if first > second else None
