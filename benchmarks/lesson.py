"""Writes a video of a simulated student who shows every emotion for 8 s, to try predictions on.

    python -m benchmarks.lesson                                # writes lesson.mp4, prints the times of the emotions
    python -m benchmarks.lesson --picture docs/predict.jpg     # also predicts, and writes one picture

The student is the first of the simulated test list with two clips of every emotion.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from apps.drawing import class_colours
from apps.predict.run import Predictor
from benchmarks.video_render import write_video
from benchmarks.video_segments import FPS, Segment, in_time, play, segments_by_person
from dataloader.classes import load_classes
from simulate import Settings, write_set
from utils.command import run_command, writing_to
from utils.config import Parser
from utils.errors import UserError

SCALE = 2.0  # of the simulation's 320 x 240
GAP = 8  # pixels
VIDEO, PICTURE = (".mp4",), (".jpg", ".jpeg", ".png")  # endings of --out, of --picture
NAMES = load_classes("RAER").names


def main(arguments: list[str] | None = None) -> int:
    return run_command(lambda: make_lesson(read_options(arguments)))


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = Parser(prog="python -m benchmarks.lesson", description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument(
        "--root-dir", type=Path, default=Path("data/raer-sim"), help="simulated set, written if it is missing"
    )
    parser.add_argument("--out", type=Path, default=Path("lesson.mp4"))
    parser.add_argument("--picture", type=Path, help="also predict, and write this picture")
    parser.add_argument("--checkpoint", default="weights/demo_best.pt")
    parser.add_argument("--face-model", help="face detector, as for --mode predict")
    return parser.parse_args(arguments)


def make_lesson(options: argparse.Namespace) -> int:
    """Write the video, and with ``--picture`` the picture. Paths are checked first: the set can take minutes."""
    check_file("--out", options.out, VIDEO)
    predictor = None
    if options.picture is not None:
        check_file("--picture", options.picture, PICTURE)
        predictor = Predictor(options.checkpoint, face_model=options.face_model)
    draw_set(options.root_dir)
    segments = one_student(options.root_dir)
    write_video(options.out, ((s.seconds, s.frame) for s in play(segments, options.root_dir, SCALE)), FPS)
    for segment in segments:
        print(f"{segment.start:4.0f} to {segment.stop:3.0f} s  {NAMES[segment.label]}")
    print(f"written: {options.out}")
    if predictor is not None:
        with tempfile.TemporaryDirectory() as folder:
            predictor(options.out, out=folder)
            sheet = draw_sheet(Path(folder), segments)
        sheet.save(options.picture, quality=88)
        print(f"{options.picture}: {sheet.width} x {sheet.height}")
    return 0


def check_file(flag: str, path: Path, endings: tuple[str, ...]) -> None:
    """Refuse other endings and folders; create the folder that will hold the file."""
    if path.suffix.lower() not in endings or path.is_dir():
        raise UserError(f"{flag} {path}: expected a file that ends in {' or '.join(endings)}")
    with writing_to(flag, str(path.parent)):
        path.parent.mkdir(parents=True, exist_ok=True)


def draw_set(root: Path) -> None:
    try:
        write_set(root, Settings())
    except UserError as error:  # the generator names its own flag
        raise UserError(str(error).replace("--out", "--root-dir")) from None


def one_student(root: Path) -> list[Segment]:
    persons = segments_by_person(root, "annotation/test.txt")
    return in_time(next(segments for segments in persons if len(segments) == len(NAMES)))


def draw_sheet(folder: Path, segments: list[Segment]) -> Image.Image:
    """Return one picture: an overlay frame from the middle of three segments, the true labels, the predictions."""
    timeline = Image.open(folder / "timeline.png").convert("RGB")
    middles = [(s.start + s.stop) / 2 for s in segments[::2]]
    frames = [Image.fromarray(frame) for frame in frames_at(folder / "overlay.mp4", middles)]
    width = (timeline.width - GAP * (len(frames) - 1)) // len(frames)
    frames = [frame.resize((width, frame.height * width // frame.width), Image.Resampling.LANCZOS) for frame in frames]
    band = draw_truth(segments, axis_of(timeline), timeline.width)
    sheet = Image.new("RGB", (timeline.width, frames[0].height + band.height + timeline.height + 2 * GAP), "white")
    for column, frame in enumerate(frames):
        sheet.paste(frame, (column * (width + GAP), 0))
    sheet.paste(band, (0, frames[0].height + GAP))
    sheet.paste(timeline, (0, frames[0].height + band.height + 2 * GAP))
    return sheet


def frames_at(path: Path, seconds: list[float]) -> list[np.ndarray]:
    """Return the first frame at or after each time."""
    frames: list[np.ndarray] = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            if len(frames) < len(seconds) and frame.time >= seconds[len(frames)]:
                frames.append(frame.to_ndarray(format="rgb24"))
    return frames


def axis_of(timeline: Image.Image) -> tuple[int, int]:
    """Return the left and right end of the time axis: its columns are filled from bottom to top."""
    filled = (np.asarray(timeline.convert("L")) < 250).mean(axis=0) > 0.4
    (columns,) = np.nonzero(filled)
    return int(columns[0]), int(columns[-1]) + 1


def draw_truth(segments: list[Segment], axis: tuple[int, int], width: int) -> Image.Image:
    (left, right), seconds = axis, segments[-1].stop
    band, colours = Image.new("RGB", (width, 36), "white"), class_colours(NAMES)
    draw, font = ImageDraw.Draw(band), ImageFont.load_default(size=14)
    draw.text((6, 18), "drawn", fill="black", font=font, anchor="lm")
    for segment in segments:
        start, stop = (left + (right - left) * time / seconds for time in (segment.start, segment.stop))
        draw.rectangle([round(start), 0, round(stop) - 1, 35], fill=colours[NAMES[segment.label]])
        draw.text(((start + stop) / 2, 18), NAMES[segment.label], fill="white", font=font, anchor="mm")
    return band


if __name__ == "__main__":
    sys.exit(main())
