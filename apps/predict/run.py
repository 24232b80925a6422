"""Emotions in a video: ``Predictor(checkpoint)(video)``, and ``--mode predict --input FILE|FOLDER|0``.

No torch here: an exported model (``--onnx``) runs without it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from apps.predict.answers import answers_of
from apps.predict.runner import FRAMES, About, in_halves
from apps.predict.timeline import Smoother, Step, Timeline
from apps.predict.watch import Watcher
from apps.predict.windows import FrameWindows, Grid, SlidingWindows
from dataloader.video import Video, open_video
from engine.checks import idle_flags
from engine.config import make_config
from engine.options import GROUPS, Config, defaults
from utils.config import checked_numbers
from utils.errors import UserError, closest, one_line

LONGEST = 300  # letters of what a training set says of itself
EVERY, EVERY_FRAME = 1.0, 0.2  # seconds, where the user names none: of models of windows, of single frames


class Predictor:
    """A model with everything that stands before and behind it: ``Predictor("best.pt")("lesson.mp4").rows``.

    ``options``: those of ``--mode predict`` by name: ``every``, ``seconds``, ``smooth``, ``threshold``,
    ``max_persons``, ``face_model``, ``detect_every``, ``encoder``, ``class_texts``, ``device``, ...
    """

    def __init__(self, checkpoint: str | Path | None = None, *, runner: Any = None, **options: Any) -> None:
        """``runner``: a model that is open already, in place of a checkpoint."""
        for name in options.keys() - defaults().keys():
            raise UserError(f"Predictor: no option {name}{closest(name, list(defaults()))}")
        options = checked_numbers(GROUPS, options)
        named = {} if checkpoint is None else {"eval_checkpoint": str(checkpoint)}
        given = {"mode": "predict", "input": "-"} | named | options  # "-": some video, named when it is called
        self.config: Config = make_config({"eval_checkpoint": "-"} | given if runner is not None else given)
        if self.config.video.face_model is not None:
            self._open_detector()  # what is wrong with it is not found out by every video
        self.runner = in_halves(open_model(self.config, given) if runner is None else runner)
        self.about: About = self.runner.about
        if self.config.video.face_width is not None:
            self.about = replace(self.about, face_width=self.config.video.face_width)
        refuse_idle(self.about, given)
        self.cautions = cautions_of(self.about, [idle_flags(self.config, given), *getattr(self.runner, "doubts", ())])
        self.timing = Timing.of(self.about, self.config)

    def __call__(self, source: str | int | Path, out: str | Path | None = None) -> Timeline:
        """All rows of a video; with ``out`` also the files that ``--mode predict`` writes, into that folder."""
        from apps.predict.outputs import record

        if out is not None and (Path(out) / "timeline.json").exists():
            raise UserError(f"{out}: holds a timeline already; name another folder")
        if out is not None:
            return record(self, source, Path(out), overlay=self.config.video.overlay, keep_rows=True)
        timeline, started = Timeline(self.about), time.perf_counter()
        with open_video(source) as video:
            for step in self.follow(video, sampled_only=True):
                timeline.rows += [row for rows in step.rows for row in rows]
                for rows in step.rows:
                    timeline.summary.add(rows)
                timeline.seconds = step.seconds
            timeline.damaged = video.damaged
        timeline.took = time.perf_counter() - started
        return timeline

    def follow(self, video: Video, sampled_only: bool = False, stop: Any = None) -> Iterator[Step]:
        """Every frame of ``video`` with what is known by then; memory does not grow. ``stop()`` ends it early."""
        timing, end = self.timing, 0.0
        grid = Grid(timing.rate_of(video.fps), video.fps)
        watcher = Watcher(*self._eyes(video), self.about, grid, self.config.video.detect_every)
        windows, answers = timing.windows(self.about), answers_of(self.runner)
        smoother = Smoother(self.config.sequence.smooth, self.about, self.config.video.threshold)
        frames = video.frames(self._spacing(grid, video)) if sampled_only else iter(video)
        for seconds, frame in frames:
            if stop is not None and stop():
                break
            sample, end = watcher.look(seconds, frame), seconds + 1 / video.fps
            groups = [] if sample is None else [g for w in windows.push(sample) for g in answers.answer(w)]
            yield Step(seconds, frame, watcher.faces(), [rows for group in groups for rows in smoother.push(group)])
        else:
            end = max(end, video.end)  # frames behind the last sample pass unseen
        last = [group for window in windows.finish(end) for group in answers.answer(window)]
        last += answers.finish(end)
        rows = [rows for group in last for rows in smoother.push(group)] + list(smoother.finish())
        yield Step(end, None, [], rows)

    def _eyes(self, video: Video) -> tuple[Any, Any]:
        """A detector, and who is who. A picture, or a video of hardly more, lasts too short to find a face twice."""
        from dataloader.track import HITS, Tracker, patience_of

        options = self.config.video
        wait = max(options.detect_every, 1 / video.fps)
        hits = 1 if video.duration is not None and video.duration <= HITS * wait else HITS
        tracker = Tracker(options.max_persons, patience_of(wait), hits, in_all=True)
        return self._open_detector(), tracker

    def _open_detector(self) -> Any:
        from dataloader.detect import open_detector

        return open_detector(self.config.video.face_model, self.config.video.max_persons)

    def _spacing(self, grid: Grid, video: Video) -> float | None:
        """Where nothing is drawn, frames between samples need not become pictures."""
        if grid.rate is None:
            return None
        wanted = min(1 / grid.rate, 2 * self.config.video.detect_every)
        return wanted if wanted > 1 / video.fps and wanted == 1 / grid.rate else None


@dataclass(frozen=True)
class Timing:
    """Windows of ``seconds``, one ``every`` so many; ``rate``: frames sampled in a second, None for every frame."""

    every: float | None
    seconds: float
    rate: float | None
    downsample: int = 1
    by_frame_rate: bool = False  # the model reads neighbouring frames

    @classmethod
    def of(cls, about: About, config: Config) -> "Timing":
        options = config.video
        if about.kind == FRAMES:
            return cls(options.every, 0.0, None if options.every is None else 1 / options.every)
        if about.frames == 1:
            every = options.every or EVERY_FRAME
            return cls(every, every, 1 / every)
        by_rate = about.sampling == "window"
        rate = about.frames / options.seconds
        return cls(options.every or EVERY, options.seconds, rate, about.downsample, by_rate)

    def rate_of(self, fps: float) -> float | None:
        return fps / self.downsample if self.by_frame_rate else self.rate

    def windows(self, about: About) -> SlidingWindows | FrameWindows:
        if about.kind == FRAMES:
            return FrameWindows(about.window, about.stride)
        return SlidingWindows(self.seconds, self.every or EVERY)


def cautions_of(about: About, doubts: list[str | None]) -> list[str]:
    """What should not go unsaid before the first answer."""
    drawn = about.trained_on and f"{about.model} was trained on a set that says of itself: {about.trained_on[:LONGEST]}"
    return [one_line(told) for told in (*doubts, drawn) if told]


def refuse_idle(about: About, given: dict[str, Any]) -> None:
    """Flags that mean nothing to a model of this kind."""
    if "seconds" in given and (about.kind == FRAMES or about.frames == 1):
        raise UserError(f"--seconds: {about.model} answers for single frames, not for windows; --every spaces them")
    if given.get("threshold") and not about.names:
        raise UserError(f"--threshold: {about.model} gives numbers and no class, whose confidence could be less")
    if about.kind != FRAMES and "encoder" in given:
        raise UserError(f"--encoder {given['encoder']}: {about.model} has an image encoder of its own; leave it out")


def open_model(config: Config, given: dict[str, Any]) -> Any:
    """``--onnx`` without torch; all else with it."""
    if config.video.onnx is not None:
        from apps.export.onnx_runner import OnnxRunner

        return OnnxRunner(Path(config.video.onnx), config.run.device, config.run.gpu)
    from apps.predict.torch_runner import open_runner

    return open_runner(config, given)


def predict(config: Config, given: dict[str, Any]) -> Any:
    """``--mode predict``: videos with ``--input``; without it a sequence model on the features of ``--features``."""
    if config.video.input is None:
        from apps.predict.long_videos import predict as predict_features

        return predict_features(config, given)
    from apps.predict.outputs import predict_inputs

    return predict_inputs(Predictor(**given), config)
