"""A clip and the relevance of its parts as pictures: a sheet of frames with their maps, and a video of all frames."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from apps.attention.explained import Explained
from apps.attention.overlay import paint, places_of, spread
from dataloader.clips import Views
from dataloader.crops import Area, cut
from dataloader.frames import BadFrame, decode_frame

COLUMNS = 8  # frames on a sheet
HIGHEST = 0.995  # of the pixels of a stream: the end of the colour scale
FRAMES_PER_SECOND = 12
CELL_INCHES, STILL_INCHES, DPI = 1.5, 2.8, 150
PANEL, GAP, HEAD, CAPTION, COURSE = 288, 8, 56, 24, 72  # of the video, in pixels
BACK, INK, PALE = (255, 255, 255), (30, 30, 30), (150, 150, 150)
COLOURS = {"face": (31, 119, 180), "context": (214, 96, 20)}


def pictures_of(found: Explained, views: Views, indexes: list[int]) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Of each stream, every wanted frame's crop (H, W, 3) and its map (H, W), all of one size.

    1 is what only 0.5 % of that stream's pixels exceed in the whole clip, so that one frame does not hide the others;
    frames that the model did not see get what lies between their neighbours'.
    """
    places = places_of(found.clip, views, indexes)
    frames = [read_frame(found, index) for index in indexes]
    made = {}
    for stream, maps in found.maps.items():
        area = places[stream][len(indexes) // 2].area
        shape = shape_of(area)
        spreads = [spread(values, places[stream][0], views.size, shape) for values in maps]
        highest = float(np.quantile(np.stack(spreads), HIGHEST)) or 1.0
        between = interpolate(np.clip(np.stack(spreads) / highest, 0, 1), found.indexes, indexes)
        crops = [fit(frame, place.area, shape) for frame, place in zip(frames, places[stream], strict=True)]
        made[stream] = list(zip(crops, between, strict=True))
    return made


def shape_of(area: Area) -> tuple[int, int]:
    """The height of a panel, and the width that keeps the area's shape."""
    wide, high = area[2] - area[0], area[3] - area[1]
    return PANEL, 2 * round(PANEL * min(max(wide / high, 0.4), 2.5) / 2)


def read_frame(found: Explained, index: int) -> np.ndarray | None:
    """None where it cannot be read, which the model's own reading has settled before."""
    try:
        return decode_frame(found.clip.frame_path(index))[0].copy()
    except BadFrame:
        return None


def fit(frame: np.ndarray | None, area: Area, shape: tuple[int, int]) -> np.ndarray:
    if frame is None:
        return np.full((*shape, 3), 128, np.uint8)
    return cv2.resize(np.ascontiguousarray(cut(frame, area)), shape[::-1], interpolation=cv2.INTER_CUBIC)


def interpolate(maps: np.ndarray, seen: list[int], wanted: list[int]) -> np.ndarray:
    """Maps of the frames ``seen`` → of those ``wanted``, linearly in time; before the first and after the last as they
    are."""
    after = np.clip(np.searchsorted(seen, wanted), 0, len(seen) - 1)
    before = np.clip(np.searchsorted(seen, wanted, side="right") - 1, 0, len(seen) - 1)
    first, last, at = np.array(seen)[before], np.array(seen)[after], np.array(wanted)
    share = np.where(last > first, (at - first) / np.maximum(last - first, 1), 0.0)[:, None, None]
    return (1 - share) * maps[before] + share * maps[after]


def draw_clip(found: Explained, views: Views) -> Any:
    """The sheet: frames as columns; of each stream the picture above its map; below, the course in time."""
    from analysis.plots import plt

    indexes = shown_frames(found)
    pictures = pictures_of(found, views, indexes)
    if len(indexes) == 1:
        return draw_still(found, pictures)
    heights = [height for row in pictures.values() for height in 2 * [CELL_INCHES / aspect_of(row)]]
    width = max(CELL_INCHES * len(indexes) + 1.3, 7.0)
    figure = plt.figure(figsize=(width, sum(heights) + 2.6), dpi=DPI, layout="constrained")
    write_title(figure, found)
    upper, lower = figure.subfigures(2, 1, height_ratios=[sum(heights) + 0.5, 1.6])
    grid = upper.subplots(len(heights), len(indexes), squeeze=False, gridspec_kw={"height_ratios": heights})
    for pair, (stream, row) in enumerate(pictures.items()):
        for column, (picture, values) in enumerate(row):
            show(grid[2 * pair, column], picture)
            show(grid[2 * pair + 1, column], paint(picture, values))
        grid[2 * pair, 0].set_ylabel(stream, fontsize=9)
        grid[2 * pair + 1, 0].set_ylabel(share_of(found, stream), fontsize=9)
    for place, index in zip(grid[0], indexes, strict=True):
        place.set_title(f"frame {index + 1}", fontsize=8)
    upper.colorbar(colour_scale(), ax=grid, label="relevance within the stream", fraction=0.02, pad=0.01)
    draw_course(lower.subplots(), found, indexes)
    return figure


def draw_still(found: Explained, pictures: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> Any:
    """A clip of one frame: of each stream the picture beside its map."""
    from analysis.plots import plt

    heights = [STILL_INCHES / aspect_of(row) for row in pictures.values()]
    size = (2 * STILL_INCHES + 1.2, sum(heights) + 0.6)
    figure, grid = plt.subplots(
        len(heights), 2, figsize=size, dpi=DPI, layout="constrained", squeeze=False, height_ratios=heights
    )
    write_title(figure, found)
    for places, (stream, row) in zip(grid, pictures.items(), strict=True):
        picture, values = row[0]
        show(places[0], picture)
        show(places[1], paint(picture, values))
        if len(pictures) > 1:
            places[0].set_ylabel(share_of(found, stream), fontsize=9)
    figure.colorbar(colour_scale(), ax=grid, label="relevance", fraction=0.04, pad=0.02)
    return figure


def write_title(figure: Any, found: Explained) -> None:
    """Smaller where a line would not fit: a letter is about half as wide as high."""
    longest = max(len(line) for line in found.title().split("\n"))
    figure.suptitle(found.title(), fontsize=min(10, 72 * figure.get_figwidth() / (0.56 * longest)))


def show(place: Any, picture: np.ndarray) -> None:
    place.imshow(picture)
    place.set(xticks=[], yticks=[])
    place.spines[:].set_visible(False)


def share_of(found: Explained, stream: str) -> str:
    """How much of all relevance is in a stream, where there is another."""
    return f"{stream}: {100 * found.shares[stream]:.0f} %" if len(found.maps) > 1 else "relevance"


def shown_frames(found: Explained) -> list[int]:
    """In each of a few equal parts of the clip, the frame that the most relevance lies in."""
    together = np.sum(list(found.courses.values()), axis=0)
    parts = np.array_split(np.arange(len(together)), min(COLUMNS, len(together)))
    return [found.indexes[part[int(together[part].argmax())]] for part in parts]


def colour_scale() -> Any:
    """The colours as they look over a grey of medium brightness."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap

    over_grey = paint(np.full((1, 256, 3), 128, np.uint8), np.linspace(0, 1, 256)[None])
    return ScalarMappable(cmap=ListedColormap(over_grey[0] / 255))


def aspect_of(row: list[tuple[np.ndarray, np.ndarray]]) -> float:
    height, width = row[0][0].shape[:2]
    return width / height


def draw_course(axes: Any, found: Explained, marked: list[int]) -> None:
    """How much of all relevance lies in each frame, and which frames are drawn above."""
    for stream, shares in found.courses.items():
        colour = tuple(part / 255 for part in COLOURS[stream])
        axes.plot([i + 1 for i in found.indexes], 100 * shares, "o-", ms=3, lw=1.2, color=colour, label=stream)
    for index in marked:
        axes.axvline(index + 1, color="0.88", lw=0.8, zorder=0)
    axes.set(xlabel="frame", ylabel="% of all", ylim=(0, None), xlim=(0.5, len(found.clip.frames) + 0.5))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))


def write_clip_video(found: Explained, views: Views, path: Path) -> None:
    """All frames of the clip, their maps beside them: H.264."""
    import av

    pictures = pictures_of(found, views, list(range(len(found.clip.frames))))
    unfinished = path.with_suffix(".part")
    try:
        with av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as file:
            stream = file.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "20", "preset": "fast"})
            for number, picture in enumerate(draw_frames(found, pictures)):
                if number == 0:
                    stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
                file.mux(stream.encode(frame))
            file.mux(stream.encode())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def draw_frames(found: Explained, pictures: dict[str, list[tuple[np.ndarray, np.ndarray]]]) -> Any:
    """One picture a frame: title, panels, and the course in time with a line that moves."""
    panels = [row[0][0].shape[1] for row in pictures.values() for _ in range(2)]
    width = max(sum(panels) + GAP * (len(panels) + 1), 640)
    height = HEAD + PANEL + CAPTION + COURSE + GAP
    blank = draw_blank(found, pictures, width + width % 2, height + height % 2)
    for number in range(len(found.clip.frames)):
        picture, left = blank.copy(), GAP
        for row in pictures.values():
            crop, values = row[number]
            for panel in (crop, paint(crop, values)):
                picture[HEAD : HEAD + PANEL, left : left + panel.shape[1]] = panel
                left += panel.shape[1] + GAP
        x = course_x(number, len(found.clip.frames), picture.shape[1])
        cv2.line(picture, (x, HEAD + PANEL + CAPTION), (x, picture.shape[0] - GAP), INK, 1)
        yield picture


def draw_blank(found: Explained, pictures: dict[str, Any], width: int, height: int) -> np.ndarray:
    """What is the same in every frame of the video."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (width, height), BACK)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=15)
    for line, text in enumerate(found.title().split("\n")):
        pen.text((GAP, 6 + 22 * line), text, INK, font=fitting(font, text, width - 2 * GAP))
    left = GAP
    for stream, row in pictures.items():
        own = row[0][0].shape[1]
        for text in (stream, share_of(found, stream)):
            pen.text((left, HEAD + PANEL + 3), text, COLOURS[stream], font=fitting(font, text, own))
            left += own + GAP
    top, bottom = HEAD + PANEL + CAPTION + 4, height - GAP
    highest = max(float(values.max()) for values in found.courses.values()) or 1.0
    for stream, values in found.courses.items():
        xs = [course_x(index, len(found.clip.frames), width) for index in found.indexes]
        points = [(x, bottom - (bottom - top) * float(v) / highest) for x, v in zip(xs, values, strict=True)]
        pen.line(points, COLOURS[stream], 2)
    pen.line([(GAP, bottom), (width - GAP, bottom)], PALE, 1)
    return np.array(image)


def fitting(font: Any, text: str, width: int) -> Any:
    """The font, smaller where the text would not fit."""
    length = font.getlength(text)
    return font if length <= width else font.font_variant(size=max(int(font.size * width / length), 8))


def course_x(index: int, frames: int, width: int) -> int:
    return GAP + round((width - 2 * GAP) * index / max(frames - 1, 1))
