"""``Predictor(checkpoint)(video)``: predict one video or picture, from detection of faces to the written files.

This file does not import torch, so that an exported model (``--onnx``) runs without it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from apps.drawing import class_colours
from apps.predict.overlay import Overlay, Screen
from apps.predict.pictures import draw_timeline
from apps.predict.runners import FRAMES, ModelInfo, OnnxRunner, Runner
from apps.predict.timeline import Smoother, Step, Timeline, TimelineWriter
from apps.predict.windows import FrameAnswers, FrameWindows, Grid, SlidingWindows, Watcher, WindowAnswers
from dataloader import detect, track
from dataloader.video import CameraVideo, Video, open_video
from engine.checks import idle_flags
from engine.config import make_config
from engine.options import GROUPS, Config, defaults
from utils.config import checked_numbers
from utils.errors import UserError, closest, one_line
from utils.runlog import progress_bar

LONGEST_NOTE = 300  # letters of the note of a training set that are shown
EVERY_WINDOW, EVERY_FRAME = 1.0, 0.2  # defaults of ``every`` in seconds for models of windows and of single frames


class Predictor:
    """A model that predicts for persons in videos: ``Predictor("best.pt")("lesson.mp4").rows``.

    ``options`` are those of ``--mode predict`` by name: ``every``, ``seconds``, ``smooth``, ``threshold``,
    ``max_persons``, ``face_model``, ``detect_every``, ``encoder``, ``class_texts``, ``device``, ...
    """

    def __init__(self, checkpoint: str | Path | None = None, *, runner: Runner | None = None, **options: Any) -> None:
        """``runner``: a loaded model in place of a checkpoint."""
        self.config, flags = video_config(checkpoint, options)
        video = self.config.video
        if video.face_model is not None:  # raises an error here for an unusable detector, not once per video
            detect.open_detector(video.face_model, video.max_persons)
        self.runner = open_model(self.config, flags) if runner is None else runner
        self.info: ModelInfo = self.runner.info
        if video.face_width is not None:
            self.info = replace(self.info, face_width=video.face_width)
        refuse_meaningless(self.info, flags)
        warnings = [idle_flags(self.config, flags), *self.runner.warnings]
        if self.info.trained_on:
            note = self.info.trained_on[:LONGEST_NOTE]
            warnings.append(f"{self.info.model} was trained on a data set with this note: {note}")
        self.warnings = [one_line(warning) for warning in warnings if warning]
        self.every = video.every  # seconds between two answers; None: an answer for every frame
        if self.every is None and self.info.kind != FRAMES:
            self.every = EVERY_FRAME if self.info.frames == 1 else EVERY_WINDOW

    def __call__(self, source: str | int | Path, out: str | Path | None = None) -> Timeline:
        """Return all rows of a video; with ``out`` also write the files of ``--mode predict`` into that folder."""
        if out is not None and (Path(out) / "timeline.json").exists():
            raise UserError(f"{out}: already holds a timeline; name another folder")
        folder = None if out is None else Path(out)
        return self.record(source, folder, overlay=self.config.video.overlay, keep_rows=True)

    def record(
        self,
        source: str | int | Path,
        folder: Path | None,
        *,
        overlay: bool = True,
        strip: bool = True,
        keep_rows: bool = False,
        longest: float | None = None,
        stop: Callable[[], bool] | None = None,
        say: Callable[[str], None] | None = None,
        label: str | None = None,
    ) -> Timeline:
        """Write timeline.csv, timeline.json, timeline.png and the overlay of a video into ``folder``, if there is one.

        The files grow while the video is read; if reading ends early, they are complete up to that point. ``longest``:
        seconds after which a frame raises ``TooLong``. ``stop()`` is called before every frame, and True ends reading.
        ``label``: name of the progress bar; None shows none. ``strip``: whether the overlay shows the last minute and
        the legend below the picture.
        """
        timeline, started = Timeline(self.info), time.perf_counter()
        with open_video(source) as video, ExitStack() as files:
            video.longest, timeline.is_still = longest, video.is_still
            writer = drawing = screen = None
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                timeline.interrupted = True  # until the end is reached, so that an error before it is recorded
                writer = TimelineWriter(folder, self.info, self._header(video, source))
                files.callback(lambda: writer.close(timeline.as_json()))
                is_live, max_persons = isinstance(video, CameraVideo), self.config.video.max_persons
                if overlay or is_live:
                    drawing = Overlay(folder, self.info, video, self.every, max_persons, write=overlay, strip=strip)
                    files.enter_context(drawing)
                if is_live:
                    screen = files.enter_context(Screen(video.name, say))

            def ends() -> bool:
                return (stop is not None and stop()) or (screen is not None and screen.is_closed)

            steps = self.follow(video, sampled_only=drawing is None, stop=ends)
            if label is not None and not video.is_still and not isinstance(video, CameraVideo):
                steps = progress_bar(steps, video.duration, label, position=attrgetter("seconds"))
            for step in steps:
                timeline.seconds, timeline.took = step.seconds, time.perf_counter() - started
                for rows in step.rows:
                    timeline.summary.add(rows)
                    timeline.rows += rows if keep_rows else []
                    if writer is not None:
                        writer.write(rows)
                picture = None if drawing is None else drawing.add(step)
                if screen is not None:
                    screen.show(step, picture)
            timeline.interrupted, timeline.damaged = stop is not None and stop(), video.damaged
        timeline.took = time.perf_counter() - started
        if folder is not None:
            draw_timeline(folder, self.info, timeline.is_still)
        return timeline

    def follow(
        self, video: Video, sampled_only: bool = False, stop: Callable[[], bool] | None = None
    ) -> Iterator[Step]:
        """Yield every frame of ``video`` with the rows that are known by then, in bounded memory."""
        options, end = self.config.video, 0.0
        grid, windows = self._open_windows(video.fps)
        watcher = Watcher(*self.open_tracking(video), self.info, grid, options.detect_every)
        answers = FrameAnswers(self.runner) if self.info.kind == FRAMES else WindowAnswers(self.runner, self.info)
        smoother = Smoother(self.config.sequence.smooth, self.info, options.threshold)
        frames = video.frames(self._frame_spacing(grid, video)) if sampled_only else iter(video)
        for seconds, frame in frames:
            if stop is not None and stop():
                break
            sample, end = watcher.look(seconds, frame), seconds + 1 / video.fps
            groups = [] if sample is None else [g for w in windows.push(sample) for g in answers.answer(w)]
            yield Step(seconds, frame, watcher.persons, [rows for group in groups for rows in smoother.push(group)])
        else:
            end = max(end, video.end)  # frames after the last sample are not decoded
        groups = [group for window in windows.finish(end) for group in answers.answer(window)]
        groups += answers.finish(end)
        rows = [rows for group in groups for rows in smoother.push(group)] + list(smoother.finish())
        yield Step(end, None, [], rows)

    def _open_windows(self, fps: float) -> tuple[Grid, SlidingWindows | FrameWindows]:
        """Return the grid of sampled frames, and the windows over them."""
        info, seconds = self.info, self.config.video.seconds
        if info.kind == FRAMES:
            rate = None if self.every is None else 1 / self.every
            return Grid(rate, fps), FrameWindows(info.window, info.stride)
        if info.frames == 1:
            return Grid(1 / self.every, fps), SlidingWindows(self.every, self.every)
        rate = fps / info.downsample if info.sampling == "window" else info.frames / seconds
        return Grid(rate, fps), SlidingWindows(seconds, self.every)

    def open_tracking(self, video: Video) -> tuple[detect.Detector, track.Tracker]:
        """Return a detector and a tracker; for a picture or a very short video one detection makes a person."""
        options = self.config.video
        wait = max(options.detect_every, 1 / video.fps)
        is_short = video.duration is not None and video.duration <= track.HITS * wait
        hits = 1 if is_short else track.HITS
        tracker = track.Tracker(options.max_persons, track.patience_of(wait), hits, in_all=True)
        return detect.open_detector(options.face_model, options.max_persons), tracker

    def _frame_spacing(self, grid: Grid, video: Video) -> float | None:
        """Return the seconds between frames that must be converted to RGB without an overlay; None for all frames."""
        if grid.rate is None:
            return None
        spacing = 1 / grid.rate
        return spacing if 1 / video.fps < spacing <= 2 * self.config.video.detect_every else None

    def _header(self, video: Video, source: str | int | Path) -> dict[str, Any]:
        """Return everything about the run that is known before the first row, for timeline.json."""
        info, options = self.info, self.config.video
        return {
            "source": video.name if isinstance(video, CameraVideo) else Path(source).name,
            "duration": video.duration and round(video.duration, 3),
            "fps": round(video.fps, 3),
            "width": video.width,
            "height": video.height,
            "family": info.family,
            "model": info.model,
            "kind": info.kind,
            "classes": list(info.names),
            "numbers": list(info.numbers),
            "colours": class_colours(info.names),
            "calibrated": info.calibrated,
            "temperature": info.temperature,
            "trained_on": info.trained_on,
            "face_width": info.face_width,
            "options": {
                "every": self.every,
                "seconds": options.seconds,
                "detect_every": options.detect_every,
                "threshold": options.threshold,
                "max_persons": options.max_persons,
                "encoder": options.encoder,
                "face_model": detect.resolve_face_model(options.face_model),
                "smooth": self.config.sequence.smooth,
            },
        }


def video_config(checkpoint: str | Path | None, options: dict[str, Any]) -> tuple[Config, dict[str, Any]]:
    """Return the checked config for a model on videos, and the options that it was made from."""
    for name in options.keys() - defaults().keys():
        raise UserError(f"Predictor: no option {name}{closest(name, list(defaults()))}")
    flags: dict[str, Any] = {"mode": "predict"}
    if checkpoint is not None:
        flags["eval_checkpoint"] = str(checkpoint)
    flags |= checked_numbers(GROUPS, options)
    return make_config(flags, for_videos=True), flags


def open_model(config: Config, flags: dict[str, Any]) -> Runner:
    """Return the model of ``--onnx``, without importing torch, or any other model."""
    if config.video.onnx is not None:
        return OnnxRunner(Path(config.video.onnx), config.run.device, config.run.gpu)
    from apps.predict.torch_runner import open_runner

    return open_runner(config, flags)


def refuse_meaningless(info: ModelInfo, flags: dict[str, Any]) -> None:
    """Raise a UserError for options that a model of this kind does not use."""
    if "seconds" in flags and (info.kind == FRAMES or info.frames == 1):
        raise UserError(f"--seconds: {info.model} predicts single frames, not windows; --every sets their spacing")
    if flags.get("threshold") and not info.names:
        raise UserError(f"--threshold: {info.model} predicts numbers, not classes with a confidence; leave it out")
    if info.kind != FRAMES and "encoder" in flags:
        encoder = flags["encoder"]
        raise UserError(f"--encoder {encoder}: {info.model} has its own image encoder; leave it out")
