"""Show the relevance maps of one clip: as numbers, over its frames, as a sheet and as a video."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from analysis.plots import plt
from apps.drawing import VideoWriter
from dataloader.annotation import Clip
from dataloader.clips import Views, boxes_of, streams_of
from dataloader.crops import Area, context_area, cut, face_area, letterbox_size
from dataloader.frames import BadFrame, decode_frame
from dataloader.video import open_clip
from utils.files import atomic_write

MAX_COLUMNS = 8  # frames on a sheet
SCALE_QUANTILE = 0.995  # quantile of a stream's pixels at the end of the colour scale
FPS = 12  # of the video
CELL_INCHES, STILL_INCHES, DPI = 1.5, 2.8, 150
PANEL, GAP, HEAD, CAPTION, COURSE = 288, 8, 56, 24, 72  # of the video, in pixels
BACK, INK, PALE = (255, 255, 255), (30, 30, 30), (150, 150, 150)
STREAM_COLOURS = {"face": (31, 119, 180), "context": (214, 96, 20)}
Panels = dict[str, tuple[np.ndarray, np.ndarray]]  # stream → crop and map of one frame, (H, W, 3) uint8


@dataclass(frozen=True)
class Explanation:
    """Where the model looked for one class in one clip."""

    clip: Clip
    names: tuple[str, ...]  # of the classes
    label: int  # the explained class
    probabilities: np.ndarray  # (C,)
    indexes: list[int]  # the frames of the clip that the model saw, in time order
    maps: dict[str, np.ndarray]  # stream → (frames, rows, columns), not negative
    padding: float | None  # share of the context's relevance in the padding

    @property
    def predicted(self) -> int:
        return int(self.probabilities.argmax())

    @property
    def courses(self) -> dict[str, np.ndarray]:
        """Return each stream's share of the relevance in every frame (frames,); all streams together sum to 1."""
        sums = {stream: values.sum(axis=(1, 2)) for stream, values in self.maps.items()}
        total = sum(float(values.sum()) for values in sums.values())
        return {stream: values / (total or 1.0) for stream, values in sums.items()}

    @property
    def shares(self) -> dict[str, float]:
        """Return each stream's share of all relevance."""
        return {stream: float(values.sum()) for stream, values in self.courses.items()}

    @property
    def is_empty(self) -> bool:
        """Return whether there is no evidence for the class."""
        return not any(values.any() for values in self.maps.values())

    def as_json(self) -> dict[str, Any]:
        courses = self.courses
        return {
            "clip": self.clip.id,
            "label": self.names[self.clip.label],
            "predicted": self.names[self.predicted],
            "probability": float(self.probabilities[self.predicted]),
            "explained": self.names[self.label],
            "explained_probability": float(self.probabilities[self.label]),
            "shares": self.shares,
            "padding": self.padding,
            "frames": [
                {"frame": self.clip.frames[index]} | {stream: float(courses[stream][n]) for stream in courses}
                for n, index in enumerate(self.indexes)
            ],
        }

    @property
    def title(self) -> str:
        """Return the clip and, below it, its label, the predicted class and the explained class."""
        confidence = f"{100 * self.probabilities[self.predicted]:.0f} %"
        prediction = f"label {self.names[self.clip.label]}, predicted {self.names[self.predicted]} ({confidence})"
        is_other = self.label != self.predicted
        probability = f" ({100 * self.probabilities[self.label]:.0f} %)" if is_other else ""
        nothing = ": none" if self.is_empty else ""
        return f"{self.clip.id}\n{prediction}; shown: evidence for {self.names[self.label]}{probability}{nothing}"

    @property
    def line(self) -> str:
        """Return a line for the terminal."""
        line = self.title.replace("\n", ": ")
        if self.is_empty:
            return line
        parts = [f"{stream} {100 * share:.0f} %" for stream, share in self.shares.items()]
        if self.padding is not None:
            parts.append(f"{100 * self.padding:.0f} % of the context's relevance in its padding")
        peak = self.clip.frames[self.indexes[int(np.argmax(sum(self.courses.values())))]]
        return f"{line}; {', '.join(parts)}; most in {peak}"

    def stream_label(self, stream: str) -> str:
        """Return a label with the share of relevance in a stream, if there are two streams."""
        return f"{stream}: {100 * self.shares[stream]:.0f} %" if len(self.maps) > 1 else "relevance"


@dataclass(frozen=True)
class SquareSource:
    """The area of a frame that a model's input square shows."""

    area: Area  # of the frame: left, top, right, bottom in its pixels
    inside: Area  # the part of the square that shows it; the rest is black padding


def square_sources(clip: Clip, views: Views, indexes: list[int]) -> dict[str, list[SquareSource]]:
    """Return, for each stream, the source of every frame in ``indexes``."""
    faces, body = boxes_of(clip, views)
    sources: dict[str, list[SquareSource]] = {stream: [] for stream in streams_of(views)}
    for index in indexes:
        width, height = frame_size(clip, index)
        if "face" in sources:  # resized to the square, so there is no padding
            sources["face"].append(SquareSource(face_area(width, height, faces[index]), (0, 0, views.size, views.size)))
        if "context" in sources:
            sources["context"].append(context_source(width, height, body, views.size))
    return sources


def context_source(width: int, height: int, box: tuple | None, size: int) -> SquareSource:
    """Return the source of a letterboxed square, which keeps the shape of the box."""
    area = context_area(width, height, box)
    inner_width, inner_height, x, y = letterbox_size(area[2] - area[0], area[3] - area[1], size)
    return SquareSource(area, (x, y, x + inner_width, y + inner_height))


def frame_size(clip: Clip, index: int) -> tuple[int, int]:
    """Return width and height of a frame or, if it cannot be read, of the nearest readable one."""
    if clip.is_video:
        return open_clip(clip.folder).size
    for candidate in sorted(range(len(clip.frames)), key=lambda number: abs(number - index)):
        try:
            with Image.open(clip.frame_path(candidate)) as image:
                return image.size
        except OSError:
            continue
    raise BadFrame(f"{clip.folder}: none of its frames can be read; remove the clip from the list")


def padding_share(maps: np.ndarray, sources: list[SquareSource], size: int) -> float:
    """Return the share of relevance (T, rows, columns) in the padding; patches are weighted by their area there."""

    def overlap(start: int, stop: int, patches: int) -> np.ndarray:
        edges = np.linspace(0, size, patches + 1)
        return np.clip(np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start), 0, None) / (size / patches)

    rows, columns = maps.shape[1:]
    inside = 0.0
    for values, source in zip(maps, sources, strict=True):
        x0, y0, x1, y1 = source.inside
        inside += float((values * np.outer(overlap(y0, y1, rows), overlap(x0, x1, columns))).sum())
    total = float(maps.sum())
    return max(1 - inside / total, 0.0) if total > 0 else 0.0


def spread(values: np.ndarray, source: SquareSource, size: int, shape: tuple[int, int]) -> np.ndarray:
    """Return a map (rows, columns) enlarged to ``shape`` (height, width) of its part of the frame, without padding.

    The interpolation is bicubic; values below 0 become 0.
    """
    square = cv2.resize(values.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    x0, y0, x1, y1 = source.inside
    height, width = shape
    inside = cv2.resize(square[y0:y1, x0:x1], (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(inside, 0, None)


def paint(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return a picture (H, W, 3) uint8 in grey, covered by the colours of a map (H, W) from 0 to 1."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    values = np.clip(values, 0, 1)
    colours = colormaps["inferno"](values)[..., :3].astype(np.float32) * 255
    opacity = (0.8 * np.sqrt(values))[..., None]
    return np.clip((40 + 0.75 * grey) * (1 - opacity) + colours * opacity, 0, 255).astype(np.uint8)


def panels_of(explanation: Explanation, views: Views, indexes: list[int]) -> Iterator[Panels]:
    """Yield crops and maps of the frames ``indexes`` (sorted), one frame after another; all of one size.

    Maps are scaled so that only 0.5 % of the stream's pixels in the whole clip exceed 1. So one frame does not hide the
    others. Maps of frames that the model did not see are interpolated between their neighbours.
    """
    sources, scaled = square_sources(explanation.clip, views, indexes), {}
    for stream, maps in explanation.maps.items():
        middle = sources[stream][len(indexes) // 2].area
        aspect = min(max((middle[2] - middle[0]) / (middle[3] - middle[1]), 0.4), 2.5)
        shape = PANEL, 2 * round(PANEL * aspect / 2)
        spreads = np.stack([spread(values, sources[stream][0], views.size, shape) for values in maps])
        highest = float(np.quantile(spreads, SCALE_QUANTILE)) or 1.0
        scaled[stream] = np.clip(spreads / highest, 0, 1)
    for number, frame in enumerate(read_frames(explanation.clip, indexes)):
        panels = {}
        for stream, maps in scaled.items():
            height, width = maps.shape[1:]
            crop = np.full((height, width, 3), 128, np.uint8)
            if frame is not None:
                pixels = np.ascontiguousarray(cut(frame, sources[stream][number].area))
                crop = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC)
            panels[stream] = crop, paint(crop, interpolate(maps, explanation.indexes, indexes[number : number + 1])[0])
        yield panels


def read_frames(clip: Clip, indexes: list[int]) -> Iterator[np.ndarray | None]:
    """Yield the frames ``indexes`` (sorted); None for one that cannot be read, which has already been reported.

    A video is decoded once.
    """
    if clip.is_video:
        frames = open_clip(clip.folder).read(indexes, clip.span)
        number, frame = next(frames, (None, None))
        for index in indexes:
            if number != index:
                yield None
                continue
            yield frame
            number, frame = next(frames, (None, None))
        return
    for index in indexes:
        try:
            yield decode_frame(clip.frame_path(index))[0].copy()
        except BadFrame:
            yield None


def interpolate(maps: np.ndarray, indexes: list[int], targets: list[int]) -> np.ndarray:
    """Return maps of the frames ``targets`` from those of the frames ``indexes``, linear in time and constant beyond
    the ends."""
    after = np.clip(np.searchsorted(indexes, targets), 0, len(indexes) - 1)
    before = np.clip(np.searchsorted(indexes, targets, side="right") - 1, 0, len(indexes) - 1)
    first, last, target = np.array(indexes)[before], np.array(indexes)[after], np.array(targets)
    share = np.where(last > first, (target - first) / np.maximum(last - first, 1), 0.0)[:, None, None]
    return (1 - share) * maps[before] + share * maps[after]


def draw_clip(explanation: Explanation, views: Views) -> Figure:
    """Return the sheet: frames as columns, each stream's picture above its map, and the course in time below.

    For a clip of one frame, each stream's picture is beside its map.
    """
    indexes = peak_frames(explanation)
    frames, is_still = list(panels_of(explanation, views, indexes)), len(indexes) == 1
    rows: list[tuple[str, list[np.ndarray]]] = []  # label and pictures
    for stream in explanation.maps:
        pictures, maps = ([panels[stream][part] for panels in frames] for part in (0, 1))
        if is_still:
            rows.append((explanation.stream_label(stream) if len(explanation.maps) > 1 else "", pictures + maps))
        else:
            rows += [(stream, pictures), (explanation.stream_label(stream), maps)]
    cell, columns = (STILL_INCHES, 2) if is_still else (CELL_INCHES, len(indexes))
    heights = [cell * pictures[0].shape[0] / pictures[0].shape[1] for _, pictures in rows]
    size = (2 * cell + 1.2, sum(heights) + 0.6) if is_still else (max(cell * columns + 1.3, 7.0), sum(heights) + 2.6)
    upper = figure = plt.figure(figsize=size, dpi=DPI, layout="constrained")
    write_title(figure, explanation)
    if not is_still:
        upper, lower = figure.subfigures(2, 1, height_ratios=[sum(heights) + 0.5, 1.6])
        draw_course(lower.subplots(), explanation, indexes)
    grid = upper.subplots(len(rows), columns, squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, (label, pictures) in zip(grid, rows, strict=True):
        for axes, picture in zip(row, pictures, strict=True):
            axes.imshow(picture)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(label, fontsize=9)
    if is_still:
        upper.colorbar(colour_scale(), ax=grid, label="relevance", fraction=0.04, pad=0.02)
    else:
        for axes, index in zip(grid[0], indexes, strict=True):
            axes.set_title(f"frame {index + 1}", fontsize=8)
        upper.colorbar(colour_scale(), ax=grid, label="relevance within the stream", fraction=0.02, pad=0.01)
    return figure


def write_title(figure: Figure, explanation: Explanation) -> None:
    """Write the title, smaller if a line would not fit; a letter is about half as wide as high."""
    longest = max(len(line) for line in explanation.title.split("\n"))
    figure.suptitle(explanation.title, fontsize=min(10, 72 * figure.get_figwidth() / (0.56 * longest)))


def peak_frames(explanation: Explanation) -> list[int]:
    """Return, for each of a few equal parts of the clip, the frame with the most relevance."""
    course = np.sum(list(explanation.courses.values()), axis=0)
    parts = np.array_split(np.arange(len(course)), min(MAX_COLUMNS, len(course)))
    return [explanation.indexes[part[int(course[part].argmax())]] for part in parts]


def colour_scale() -> ScalarMappable:
    """Return the colour scale as it looks over medium grey."""
    over_grey = paint(np.full((1, 256, 3), 128, np.uint8), np.linspace(0, 1, 256)[None])
    return ScalarMappable(cmap=ListedColormap(over_grey[0] / 255))


def draw_course(axes: Axes, explanation: Explanation, indexes: list[int]) -> None:
    """Draw the share of relevance in each frame, and mark the frames of the sheet."""
    for stream, shares in explanation.courses.items():
        colour = tuple(part / 255 for part in STREAM_COLOURS[stream])
        axes.plot([i + 1 for i in explanation.indexes], 100 * shares, "o-", ms=3, lw=1.2, color=colour, label=stream)
    for index in indexes:
        axes.axvline(index + 1, color="0.88", lw=0.8, zorder=0)
    axes.set(xlabel="frame", ylabel="% of all", ylim=(0, None), xlim=(0.5, len(explanation.clip.frames) + 0.5))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def write_clip_video(explanation: Explanation, views: Views, path: Path) -> None:
    """Write all frames of the clip with their maps beside them, and a line that moves over the plot of time."""
    frames = panels_of(explanation, views, list(range(len(explanation.clip.frames))))
    first = next(frames)
    background, course = draw_background(explanation, {stream: crop.shape[1] for stream, (crop, _) in first.items()})
    height, width = background.shape[:2]
    with (
        atomic_write(path) as temporary,
        VideoWriter(temporary, FPS, (width, height), crf=20, preset="fast", ticks=FPS, faststart=True) as writer,
    ):
        for number, (now, panels) in enumerate(zip(course, chain([first], frames), strict=True)):
            picture, x = background.copy(), GAP
            for panel in chain.from_iterable(panels.values()):
                picture[HEAD : HEAD + PANEL, x : x + panel.shape[1]] = panel
                x += panel.shape[1] + GAP
            cv2.line(picture, (now, HEAD + PANEL + CAPTION), (now, height - GAP), INK, 1)
            writer.add(number / FPS, picture)


def draw_background(explanation: Explanation, widths: dict[str, int]) -> tuple[np.ndarray, list[int]]:
    """Return the background of all frames of the video (title, captions and the plot over time), and x positions.

    ``widths``: of the panels of each stream. The second value is the horizontal position of each frame in the plot.
    """
    width = max(sum(2 * (panel + GAP) for panel in widths.values()) + GAP, 640)
    height = HEAD + PANEL + CAPTION + COURSE + GAP
    width, height = width + width % 2, height + height % 2
    image = Image.new("RGB", (width, height), BACK)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=15)
    for line, text in enumerate(explanation.title.split("\n")):
        pen.text((GAP, 6 + 22 * line), text, INK, font=fitting_font(font, text, width - 2 * GAP))
    x = GAP
    for stream, panel in widths.items():
        for text in (stream, explanation.stream_label(stream)):
            pen.text((x, HEAD + PANEL + 3), text, STREAM_COLOURS[stream], font=fitting_font(font, text, panel))
            x += panel + GAP
    frames = len(explanation.clip.frames)
    course = [GAP + round((width - 2 * GAP) * index / max(frames - 1, 1)) for index in range(frames)]
    y0, y1 = HEAD + PANEL + CAPTION + 4, height - GAP
    highest = max(float(values.max()) for values in explanation.courses.values()) or 1.0
    for stream, values in explanation.courses.items():
        ys = [y1 - (y1 - y0) * float(value) / highest for value in values]
        pen.line([(course[i], y) for i, y in zip(explanation.indexes, ys, strict=True)], STREAM_COLOURS[stream], 2)
    pen.line([(GAP, y1), (width - GAP, y1)], PALE, 1)
    return np.array(image), course


def fitting_font(font: ImageFont.FreeTypeFont, text: str, width: int) -> ImageFont.FreeTypeFont:
    """Return the font, smaller if the text would not fit."""
    length = font.getlength(text)
    return font if length <= width else font.font_variant(size=max(int(font.size * width / length), 8))
