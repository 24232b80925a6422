"""``--mode predict``: videos, pictures and cameras with ``--input``; features of long videos with ``--features``."""

from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import Any

from apps.predict.predictor import Predictor
from apps.predict.runners import FRAMES, ModelFailure
from apps.predict.timeline import Timeline
from dataloader.detect import BETTER_FACES, CASCADES, ENOUGH, resolve_face_model
from dataloader.frames import list_frames, of_one_size
from dataloader.video import VIDEO_SUFFIXES, video_files
from engine.interrupt import Interruption
from engine.options import Config
from utils.errors import Interrupted, UserError, one_line
from utils.runlog import RunLog, open_run
from utils.text import plural, some

__all__ = ["Predictor", "predict"]

UNREAD_PICTURES = {".heic", ".heif", ".jfif"}
CONVERT = "pictures that end in .heic, .heif or .jfif are not read; convert them to JPEG"
CLASSES_IN_LINE = 5  # of a person, in the terminal
RUN_FILES = ("config.json", "log.txt")  # names that a video's folder cannot have
STOPPING = "stopping: the results so far are saved first (Ctrl-C again stops at once)"


def predict(config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Run the mode, and return the outcome of each video."""
    if config.video.input is None:
        from engine.long_videos.evaluate import predict_unlabelled

        return predict_unlabelled(config, flags)
    return predict_inputs(Predictor(**flags), config)


def predict_inputs(predictor: Predictor, config: Config) -> dict[str, Any]:
    """Predict on ``--input``: one source, or every video of a folder, each into a separate folder."""
    sources = find_sources(config.video.input)
    is_folder = len(sources) > 1 or (Path(config.video.input).is_dir() and sources[0] != config.video.input)
    log = open_run(config.run.output_dir, "predict", asdict(config))
    timelines: dict[str, Timeline] = {}
    unreadable: list[str] = []
    failed: list[str] = []  # inputs without a usable answer of the model
    try:
        for warning in predictor.warnings:
            log.warn(warning)
        if is_folder:
            names = {file.name for file in Path(config.video.input).iterdir() if file.name[0] != "."}
            if items := sorted(names - {Path(source).name for source in sources}):
                log.say(one_line(f"{plural(len(items), 'item')} ignored: {some(items, 3)}"))
        with Interruption(STOPPING) as stop:
            for source, name in zip(sources, folder_names(sources), strict=True):
                folder = log.folder / name if is_folder else log.folder
                try:
                    timelines[source] = predict_source(predictor, source, folder, config, log, stop)
                except UserError as error:
                    if len(sources) == 1:
                        raise
                    is_failure = isinstance(error, ModelFailure)
                    log.warn(one_line(f"{source}: {error}") if is_failure else str(error))
                    (failed if is_failure else unreadable).append(source)
                stop.check()
        uses_cascades = resolve_face_model(config.video.face_model) == CASCADES
        if uses_cascades and any(timeline.summary.face_share < ENOUGH for timeline in timelines.values()):
            log.say(BETTER_FACES)
        if unreadable or failed:
            raise UserError(count_failures(len(sources), unreadable, failed))
    except (UserError, OSError):
        log.discard_if_empty()
        raise
    finally:
        log.close()
    return {source: timeline.summary.as_json() for source, timeline in timelines.items()}


def count_failures(total: int, unreadable: list[str], failed: list[str]) -> str:
    parts = []
    reading, answering = ("could be read", "could not be read"), ("got an answer", "got no usable answer")
    for inputs, (positive, negative) in ((unreadable, reading), (failed, answering)):
        names = some([Path(source).name for source in inputs])
        if len(inputs) == total:
            return f"none of the {total} inputs {positive} ({names})"
        if inputs:
            parts.append(f"{len(inputs)} of {total} inputs {negative} ({names})")
    if len(unreadable) + len(failed) < total:
        parts.append("the others are done")
    return "; ".join(parts)


def predict_source(
    predictor: Predictor, source: str, folder: Path, config: Config, log: RunLog, stop: Interruption
) -> Timeline:
    """Predict one source, and print a summary."""
    options = {"overlay": config.video.overlay, "stop": lambda: stop.received is not None, "say": log.say}
    options["label"] = one_line(Path(source).name)
    timeline = predictor.record(source, folder, **options)
    for line in describe(timeline, source, folder):
        log.say(line)
    if timeline.interrupted:
        raise Interrupted(stop.received, f"stopped after {timeline.seconds:.1f} s of video; they are in {folder}")
    return timeline


def describe(timeline: Timeline, source: str, folder: Path) -> list[str]:
    """Return lines for the terminal."""
    lines = []
    if timeline.damaged:
        lines.append(f"warning: {source}: {timeline.damaged}")
    for person, counts in timeline.summary.predicted.items():
        total, classes = sum(counts.values()), counts.most_common(CLASSES_IN_LINE)
        classes.append(("the rest", total - sum(n for _, n in classes)))
        counts_text = ", ".join(f"{name} in {n}" for name, n in classes if n)
        windows = f" of {plural(total, 'frame' if timeline.info.kind == FRAMES else 'window')}"
        answers = ", ".join(name for name, n in classes if n) if timeline.is_still else counts_text + windows
        lines.append(f"person {person}: {answers if total else 'no answer'}")
    lines += timeline.summary.lines()
    if timeline.is_still:
        lines.append(f"answered in {timeline.took:.1f} s")
    else:
        speed = f"{timeline.speed:.1f} video seconds per second"
        lines.append(f"{timeline.seconds:.1f} s of video in {timeline.took:.1f} s: {speed}")
    return [one_line(line) for line in (*lines, f"written to {folder}")]


def find_sources(source: str) -> list[str]:
    """Return the videos of a folder, or its pictures if there is one or they differ in size; else the source itself."""
    folder = Path(source)
    if not folder.is_dir():
        if folder.suffix.lower() in UNREAD_PICTURES and folder.exists():
            raise UserError(f"--input {source}: {CONVERT}")
        return [source]
    if videos := video_files(folder):
        return list(map(str, videos))
    pictures = list_frames(folder)
    if not pictures:
        files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
        advice = f"; {CONVERT}" if any(file.suffix.lower() in UNREAD_PICTURES for file in files) else ""
        raise UserError(f"--input {folder}: holds no video ({' '.join(sorted(VIDEO_SUFFIXES))}) and no image{advice}")
    is_video = len(pictures) > 1 and of_one_size(folder, pictures)
    return [source] if is_video else [str(folder / name) for name in pictures]


def folder_names(sources: list[str]) -> list[str]:
    """Return a distinct folder name for each source: without the suffix, else with it, else with a number.

    Names that differ only in case count as equal, as in some file systems.
    """
    names, folded_names = [], set(RUN_FILES)
    for path in map(Path, sources):
        candidates = chain((path.stem, path.name), (f"{path.name}-{number}" for number in count(2)))
        names.append(next(name for name in candidates if name.casefold() not in folded_names))
        folded_names.add(names[-1].casefold())
    return names
