"""What a model says of windows: persons' frames chosen and encoded once, answers made into rows of a timeline."""

from collections.abc import Iterator

import numpy as np

from apps.predict.runner import CLASSES, FRAMES, About, Halves, probabilities
from apps.predict.timeline import CONTEXT_ONLY, FACE, NO_FACE, NO_ONE, Row
from apps.predict.windows import ANYONE, Sample, View, Window
from dataloader.sampling import choose_frames


class WindowAnswers:
    """One answer a person and window, of models of kinds "classes" and "numbers"."""

    def __init__(self, runner: Halves) -> None:
        self.runner, self.about = runner, runner.about

    def answer(self, window: Window) -> Iterator[list[Row]]:
        """The rows of the window, together."""
        persons = window.persons()
        chosen = {person: choose_views(views_of(window, person), self.about) for person in persons}
        encode_views(self.runner, [view for views in chosen.values() for view in views])
        asked = [person for person in persons if chosen[person]]
        values = dict(zip(asked, self._ask([chosen[person] for person in asked]), strict=True))
        rows = [self._row(window, person, values.get(person)) for person in persons]
        yield rows or [Row(window.start, window.stop, None, NO_ONE, samples=len(window.samples))]

    def finish(self, end: float) -> Iterator[list[Row]]:
        return iter(())

    def _ask(self, persons: list[list[View]]) -> np.ndarray:
        if not persons:
            return np.zeros((0, len(self.about.columns)))
        streams = {
            name: np.stack([[v.features[name] for v in views] for views in persons]) for name in self.about.views
        }
        logits = self.runner.head(streams.get("face"), streams.get("context"))
        return probabilities(logits, self.about.temperature) if self.about.kind == CLASSES else logits

    def _row(self, window: Window, person: int, values: np.ndarray | None) -> Row:
        views = views_of(window, person)
        faces = sum(view.found for view in views)
        seen = FACE if faces else NO_FACE if values is None else CONTEXT_ONLY
        told = None if values is None else tuple(map(float, values))
        return Row(window.start, window.stop, person or None, seen, told, faces, len(window.samples))


class FrameAnswers:
    """One answer a person and frame, of models of kind "frames": windows overlap, and their answers are averaged."""

    def __init__(self, runner: Halves) -> None:
        self.runner, self.about = runner, runner.about
        self.samples: dict[int, Sample] = {}  # those whose answers are not settled
        self.sums: dict[int, dict[int, tuple[np.ndarray, int]]] = {}  # frame → person → sum, windows

    def answer(self, window: Window) -> Iterator[list[Row]]:
        """Frames before this window are settled: no later one covers them."""
        yield from self._settle(window.first, window.start)
        for number, sample in enumerate(window.samples, window.first):
            self.samples[number] = sample
        persons = [person for person in window.persons() if any(v.found for v in views_of(window, person))]
        encode_views(self.runner, [v for person in persons for v in views_of(window, person) if v.found])
        for person in persons:
            self._add(window, person)

    def finish(self, end: float) -> Iterator[list[Row]]:
        """The last frame lasts until ``end``."""
        yield from self._settle(max(self.samples, default=-1) + 1, end)

    def _add(self, window: Window, person: int) -> None:
        """Frames before the person came and after the person left are padding; a face missed in between has the
        features of the frame before it, as in evaluation."""
        views = [sample.views.get(person) for sample in window.samples]
        places = [place for place, view in enumerate(views) if view is not None and view.found]
        padding = np.ones((1, len(views)), dtype=bool)
        padding[0, places[0] : places[-1] + 1] = False
        before = np.searchsorted(places, np.arange(len(views)), side="right") - 1
        stand_in = [places[max(number, 0)] for number in before]
        features = np.stack([views[place].features["face"] for place in stand_in])[None]
        values = self.runner.head(features, padding)[0]
        for place in places:
            frame = self.sums.setdefault(window.first + place, {})
            total, windows = frame.get(person, (0.0, 0))
            frame[person] = total + values[place].astype(np.float64), windows + 1

    def _settle(self, stop: int, end: float) -> Iterator[list[Row]]:
        for number in sorted(n for n in self.samples if n < stop):
            sample, answers = self.samples.pop(number), self.sums.pop(number, {})
            until = self.samples[number + 1].seconds if number + 1 in self.samples else end
            yield self._rows(sample, answers, until)

    def _rows(self, sample: Sample, answers: dict[int, tuple[np.ndarray, int]], until: float) -> list[Row]:
        rows = []
        for person in sorted(person for person in sample.views if person != ANYONE):
            told = tuple(map(float, answers[person][0] / answers[person][1])) if person in answers else None
            seen = FACE if told else NO_FACE
            rows.append(Row(sample.seconds, until, person, seen, told, int(seen == FACE), 1))
        return rows or [Row(sample.seconds, until, None, NO_ONE, samples=1)]


def answers_of(runner: Halves) -> WindowAnswers | FrameAnswers:
    return FrameAnswers(runner) if runner.about.kind == FRAMES else WindowAnswers(runner)


def views_of(window: Window, person: int) -> list[View]:
    return [sample.views[person] for sample in window.samples if person in sample.views]


def choose_views(views: list[View], about: About) -> list[View]:
    """T of the frames in which the face was found, as evaluation chooses among those of a clip; where it never was,
    of all of them for a model that sees the context, and none for one that does not."""
    found = [view for view in views if view.found]
    if not found and about.needs_face:
        return []
    usable = found if found and about.streams != "context" else views
    segments = about.frames // about.duration
    return [usable[i] for i in choose_frames(len(usable), segments, about.duration, about.sampling, None, False)]


def encode_views(runner: Halves, views: list[View]) -> None:
    """The squares of all views that have not passed yet, in one go; pixels are let go."""
    waiting = [(view, name) for view in {id(view): view for view in views}.values() for name in view.squares]
    if not waiting:
        return
    rows = runner.encode(np.stack([view.squares[name] for view, name in waiting]))
    for (view, name), row in zip(waiting, rows, strict=True):
        view.features[name] = row
        del view.squares[name]
