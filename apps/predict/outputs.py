"""What ``--mode predict`` leaves of each video: timeline.csv, timeline.json, overlay.mp4, timeline.png."""

import dataclasses
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any

from apps.predict.camera import Screen
from apps.predict.colours import class_colours
from apps.predict.overlay import Overlay
from apps.predict.pictures import draw_timeline
from apps.predict.timeline import Timeline, TimelineWriter
from dataloader.detect import BETTER_FACES, CASCADES, ENOUGH, resolve_face_model
from dataloader.frames import list_frames
from dataloader.video import VIDEO_SUFFIXES, CameraVideo, Video, of_one_size, open_video, video_files
from engine.interrupt import Interruption
from engine.options import Config
from utils.errors import Interrupted, UserError, one_line
from utils.runlog import RunLog, open_run
from utils.words import plural, some

OTHER_PICTURES = {".heic", ".heif", ".jfif"}
CONVERT = "pictures that end in .heic, .heif or .jfif are not read; convert them to JPEG"
NAMED = 5  # classes of a person, on the screen
OWN_FILES = ("config.json", "log.txt")  # of every run folder
STOPPING = "stopping: what was seen is saved first (Ctrl-C again stops at once)"


def predict_inputs(predictor: Any, config: Config) -> dict[str, Any]:
    """``--input``: one source, or every video of a folder, each with a folder of its own."""
    sources = find_sources(config.video.input)
    several = len(sources) > 1 or (Path(config.video.input).is_dir() and sources[0] != config.video.input)
    log, done, bad = open_run(config.run.output_dir, "predict", asdict(config)), {}, []
    try:
        for caution in predictor.cautions:
            log.warn(caution)
        if several and (others := left_alone(Path(config.video.input), sources)):
            log.say(one_line(f"{plural(len(others), 'item')} left alone: {some(others, 3)}"))
        with Interruption(STOPPING) as stop:
            for source, name in zip(sources, folder_names(sources), strict=True):
                folder = log.folder / name if several else log.folder
                try:
                    done[source] = one_source(predictor, source, folder, config, log, stop)
                except UserError as error:
                    if len(sources) == 1:
                        raise
                    log.warn(str(error))
                    bad.append(source)
                stop.check()
        if resolve_face_model(config.video.face_model) == CASCADES and any(
            one.summary.found < ENOUGH for one in done.values()
        ):
            log.say(BETTER_FACES)
        if bad:
            raise UserError(bad_inputs(bad, len(sources)))
    except (UserError, OSError):
        log.discard_if_empty()
        raise
    finally:
        log.close()
    return {source: timeline.summary.as_json() for source, timeline in done.items()}


def bad_inputs(bad: list[str], count: int) -> str:
    shown = some([Path(source).name for source in bad])
    if len(bad) == count:
        return f"none of the {count} inputs could be read ({shown})"
    return f"{len(bad)} of {count} inputs could not be read ({shown}); the others are done"


def one_source(predictor: Any, source: str, folder: Path, config: Config, log: RunLog, stop: Interruption) -> Timeline:
    timeline = record(
        predictor,
        source,
        folder,
        overlay=config.video.overlay,
        stop=lambda: stop.received is not None,
        say=log.say,
    )
    for line in describe(timeline, source, folder):
        log.say(line)
    if timeline.interrupted:
        raise Interrupted(stop.received, f"stopped after {timeline.seconds:.1f} s of video; they are in {folder}")
    return timeline


def record(
    predictor: Any,
    source: str | int | Path,
    folder: Path,
    *,
    overlay: bool = True,
    keep_rows: bool = False,
    longest: float | None = None,
    stop: Callable[[], bool] | None = None,
    say: Callable[[str], None] | None = None,
) -> Timeline:
    """Every file grows while the video is read; an end before time leaves them whole. ``longest``: see ``Video``."""
    timeline, started = Timeline(predictor.about), time.perf_counter()
    with open_video(source) as video, ExitStack() as files:
        folder.mkdir(parents=True, exist_ok=True)
        video.longest, timeline.is_still = longest, video.is_still
        timeline.interrupted = True  # until the end is seen, so that an error on the way does not pass for it
        writer = TimelineWriter(folder, predictor.about, header(predictor, video, source))
        files.callback(lambda: writer.close(ending(timeline)))
        is_live, picture, screen = isinstance(video, CameraVideo), None, None
        if overlay or is_live:
            picture = files.enter_context(Overlay(folder, predictor, video, write=overlay, live=is_live))
        if is_live:
            screen = files.enter_context(Screen(video.name, say))

        def ends() -> bool:
            return (stop is not None and stop()) or (screen is not None and screen.closed)

        for step in predictor.follow(video, sampled_only=picture is None, stop=ends):
            timeline.seconds, timeline.took = step.seconds, time.perf_counter() - started
            for rows in step.rows:
                writer.write(rows)
                timeline.summary.add(rows)
                timeline.rows += rows if keep_rows else []
            shown = None if picture is None else picture.add(step)
            if screen is not None:
                screen.show(step, shown)
        timeline.interrupted, timeline.damaged = stop is not None and stop(), video.damaged
    timeline.took = time.perf_counter() - started
    draw_timeline(folder, predictor.about)
    return timeline


def header(predictor: Any, video: Video, source: str | int | Path) -> dict[str, Any]:
    """Everything about the run that is known before the first row."""
    about, config = predictor.about, predictor.config
    options = dataclasses.asdict(config.video) | {
        "smooth": config.sequence.smooth,
        "face_model": resolve_face_model(config.video.face_model),
    }
    used = ("seconds", "detect_every", "threshold", "max_persons", "encoder", "face_model", "smooth")
    return {
        "source": video.name if isinstance(video, CameraVideo) else Path(source).name,
        "duration": video.duration and round(video.duration, 3),
        "fps": round(video.fps, 3),
        "width": video.width,
        "height": video.height,
        "family": about.family,
        "model": about.model,
        "kind": about.kind,
        "classes": list(about.names),
        "numbers": list(about.numbers),
        "colours": class_colours(about.names),
        "calibrated": about.calibrated,
        "temperature": about.temperature,
        "trained_on": about.trained_on,
        "face_width": about.face_width,
        "options": {"every": predictor.timing.every} | {name: options[name] for name in used},
    }


def ending(timeline: Timeline) -> dict[str, Any]:
    """What only the end knows."""
    return timeline.summary.as_json() | {
        "seconds": round(timeline.seconds, 3),
        "speed": round(timeline.speed, 2),
        "damaged": timeline.damaged,
        "interrupted": timeline.interrupted,
    }


def describe(timeline: Timeline, source: str, folder: Path) -> list[str]:
    """For the screen."""
    lines = []
    if timeline.damaged:
        lines.append(f"warning: {source}: {timeline.damaged}")
    for person, counts in timeline.summary.predicted.items():
        total = sum(counts.values())
        named = counts.most_common(NAMED)
        named.append(("the rest", total - sum(n for _, n in named)))
        told = ", ".join(f"{name} {100 * n / total:.0f} %" for name, n in named if n)
        lines.append(f"person {person}: {told or 'no answer'}")
    lines += timeline.summary.lines()
    took, speed = f"{timeline.took:.1f} s", f"{timeline.speed:.1f} video seconds per second"
    lines.append(
        f"answered in {took}" if timeline.is_still else f"{timeline.seconds:.1f} s of video in {took}: {speed}"
    )
    return [one_line(line) for line in (*lines, f"written to {folder}")]


def find_sources(given: str) -> list[str]:
    """A folder of videos, of one picture, or of pictures of several sizes, is each of them; anything else is itself."""
    folder = Path(given)
    if not folder.is_dir():
        if folder.suffix.lower() in OTHER_PICTURES and folder.exists():
            raise UserError(f"--input {given}: {CONVERT}")
        return [given]
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    if videos := video_files(folder):
        return list(map(str, videos))
    pictures = list_frames(folder)
    if not pictures:
        advice = f"; {CONVERT}" if any(file.suffix.lower() in OTHER_PICTURES for file in files) else ""
        raise UserError(f"--input {folder}: holds no video ({' '.join(sorted(VIDEO_SUFFIXES))}) and no image{advice}")
    is_video = len(pictures) > 1 and of_one_size(folder, pictures)
    return [given] if is_video else [str(folder / name) for name in pictures]


def left_alone(folder: Path, sources: list[str]) -> list[str]:
    """What else lies in a folder; hidden files say nothing."""
    return sorted({file.name for file in folder.iterdir() if file.name[0] != "."} - {Path(s).name for s in sources})


def folder_names(sources: list[str]) -> list[str]:
    """Names without endings, else whole, else numbered; where letters have no case, ``A`` and ``a`` are one folder."""
    names, taken = [], set(OWN_FILES)
    for path in map(Path, sources):
        numbered = (f"{path.name}-{number}" for number in count(2))
        name = next(name for name in chain((path.stem, path.name), numbered) if name.casefold() not in taken)
        names.append(name)
        taken.add(name.casefold())
    return names
