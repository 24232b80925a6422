"""Prints the score of an ideal reader of the simulated test clips: the highest that a model can expect.

    python -m benchmarks.ceiling                     # the set of python -m benchmarks.demo; 10 s, draws no picture

A label is the majority of ten simulated annotators, who read the evidence for each emotion with individual noise. The
ideal reader knows the evidence itself, without noise, and takes the strongest emotion.
"""

import sys

import numpy as np

from benchmarks.demo import SET, parse
from simulate.behaviour import EMOTIONS
from simulate.raer import Settings, behave, read_evidence


def main() -> int:
    settings = Settings(**SET, seed=parse().set_seed)
    confusion, majorities = np.zeros((len(EMOTIONS), len(EMOTIONS)), dtype=int), []
    for slot in settings.plan():
        if slot.list_name == "test":
            moments, votes = behave(settings, slot)
            confusion[slot.label, read_evidence(moments).argmax()] += 1
            majorities.append(votes.max() / votes.sum())
    recalls = 100 * confusion.diagonal() / confusion.sum(axis=1)
    for name, recall in zip(EMOTIONS, recalls, strict=True):
        print(f"{name:<12}{recall:6.1f}")
    print(
        f"UAR {recalls.mean():.1f} of {confusion.sum()} clips; {np.mean(majorities):.0%} of the votes are for the label"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
