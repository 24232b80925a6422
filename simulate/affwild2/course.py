"""A video's inner course: valence, arousal and dominance that move smoothly from one expression's region to another's.

All that is shown and all that is labelled follows from the course: the face moves with the weights of the regions and
with valence and arousal themselves, and the expression of a frame is the region that it is in.
"""

import numpy as np

REGIONS = {  # valence, arousal, dominance; in the order of the classes
    "neutral": (0.05, -0.05, 0.0),
    "anger": (-0.6, 0.65, 0.7),
    "disgust": (-0.75, 0.0, 0.5),
    "fear": (-0.5, 0.7, -0.75),
    "happiness": (0.75, 0.4, 0.2),
    "sadness": (-0.65, -0.45, -0.5),
    "surprise": (0.2, 0.85, -0.3),
    "other": (0.05, -0.35, 0.9),
}
CENTRES = np.array(list(REGIONS.values()))  # (8, 3)
DECK = [*range(len(CENTRES)), list(REGIONS).index("happiness")]  # most of the others are unpleasant
STAYS = (35, 110)  # frames in or near one region
DEPTHS = (0.5, 1.1)  # how far from neutral into a region, of the way to its centre
SOFTNESS = 0.22  # distance over which regions blend
TURNING, WANDERING = 7.0, 18.0  # frames
WANDER = 0.1


def draw_course(frames: int, rng: np.random.Generator) -> np.ndarray:
    """(frames, 3), each within -1 … 1."""
    goals, deck = [], []
    while len(goals) < frames:
        deck = deck or rng.permutation(DECK).tolist()
        centre = CENTRES[0] + rng.uniform(*DEPTHS) * (CENTRES[deck.pop()] - CENTRES[0])
        goals += [centre + rng.normal(0, 0.08, 3)] * int(rng.integers(*STAYS))
    return np.clip(smooth(np.array(goals[:frames]), TURNING) + wander((frames, 3), WANDER, rng), -1, 1)


def weigh_regions(course: np.ndarray) -> np.ndarray:
    """(frames, 8), each row adds up to 1."""
    distances = ((course[:, None] - CENTRES) ** 2).sum(-1)
    weights = np.exp(-(distances - distances.min(1, keepdims=True)) / (2 * SOFTNESS**2))
    return weights / weights.sum(1, keepdims=True)


def wander(shape: tuple[int, int], size: float, rng: np.random.Generator, width: float = WANDERING) -> np.ndarray:
    """Noise around zero of that standard deviation, smooth over ``width`` frames."""
    return size * np.sqrt(2 * np.sqrt(np.pi) * width) * smooth(rng.standard_normal(shape), width)


def smooth(values: np.ndarray, width: float) -> np.ndarray:
    """Every column of (frames, K) under a Gaussian of ``width`` frames, its ends held."""
    reach = int(3 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    padded = np.pad(values, ((reach, reach), (0, 0)), mode="edge")
    return np.stack([np.convolve(column, kernel / kernel.sum(), mode="valid") for column in padded.T], axis=1)
