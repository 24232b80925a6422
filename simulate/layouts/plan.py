"""Who shows what in which list or fold: persons apart, every class as often as any other. No drawing here."""

from collections import Counter
from dataclasses import replace

import numpy as np

from simulate.layouts.layout import Layout
from simulate.layouts.settings import LayoutSettings, divide
from simulate.layouts.streams import PLAN, stream
from simulate.place import PLACES
from simulate.plan import Slot

BLENDS = (  # in MAFW's class order
    ("anger", "disgust"), ("fear", "surprise"), ("sadness", "disappointment"), ("happiness", "surprise"),
    ("anxiety", "helplessness"), ("anger", "contempt"), ("fear", "anxiety"), ("sadness", "helplessness"),
    ("anger", "surprise"), ("disgust", "contempt"), ("anger", "sadness"),
)  # fmt: skip


def plan_layout(settings: LayoutSettings) -> list[Slot]:
    """The slots of all lists, numbered in random order; a pure function of the settings."""
    layout, rng = settings.rules, stream(settings, PLAN)
    order = rng.permutation(settings.persons).tolist()
    persons = divide(settings.persons, settings.list_shares())
    slots: list[Slot] = []
    for name, clips in settings.list_sizes().items():
        cast, order = order[: persons[name]], order[persons[name] :]
        for turn, (label, blend) in enumerate(_labels(layout, clips, rng)):
            place = PLACES[rng.integers(len(PLACES))]
            slots.append(Slot(0, name, cast[turn % len(cast)], place, label, "", blend))
    return _placed([slots[i] for i in rng.permutation(len(slots))], layout)


def _labels(layout: Layout, clips: int, rng: np.random.Generator) -> list[tuple[int, int | None]]:
    """Label and blend of the clips of one list, in random order."""
    singles, classes = layout.single_clips(clips), rng.permutation(len(layout.classes))
    chosen = [(int(classes[turn % len(classes)]), None) for turn in range(singles)]
    pairs = rng.permutation(len(BLENDS))
    for turn in range(clips - singles):
        first, second = (layout.emotions.index(name) for name in BLENDS[pairs[turn % len(pairs)]])
        chosen.append((first, second))
    return [chosen[i] for i in rng.permutation(clips)]


def _placed(slots: list[Slot], layout: Layout) -> list[Slot]:
    """Slots with their numbers and folders; clips of one folder are counted from 1."""
    counts, placed = Counter(), []
    for number, slot in enumerate(slots):
        parent = layout.parent(slot)
        counts[parent] += 1
        name = f"{counts[parent]:0{layout.digits}d}{'.png' if layout.is_still else ''}"
        placed.append(replace(slot, number=number, folder=f"{parent}/{name}"))
    return placed
