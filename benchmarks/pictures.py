"""Makes the picture of the README: one row of simulated students per class, with the face crop in each frame's corner.

python -m benchmarks.pictures --root data/raer-sim --out docs/students.jpg
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dataloader.annotation import Clip, read_annotation
from dataloader.boxes import read_body_boxes, read_face_boxes
from dataloader.classes import load_classes
from dataloader.clips import Views, read_crops
from dataloader.frames import read_frame

COLUMNS, WIDTH, HEIGHT, FACE, GAP, LABEL = 5, 240, 180, 72, 6, 132


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data/raer-sim", help="folder of the simulated set (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/students.jpg"), help="picture to write (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=3, help="random seed for the choice of test clips (default: 3)")
    options = parser.parse_args()
    classes = load_classes("RAER")
    clips = read_annotation("annotation/test.txt", options.root, classes)
    views = Views(
        size=FACE,
        root=options.root,
        face_boxes=read_face_boxes("annotation/face.json", options.root),
        body_boxes=read_body_boxes("annotation/body.json", options.root),
    )
    rng = np.random.default_rng(options.seed)
    sheet = Image.new("RGB", (LABEL + COLUMNS * (WIDTH + GAP), len(classes) * (HEIGHT + GAP) - GAP), "white")
    for row, name in enumerate(classes.names):
        top = row * (HEIGHT + GAP)
        write_name(sheet, name, top)
        candidates = [c for c in clips if c.label == row and c.key in views.face_boxes]
        for column, index in enumerate(rng.choice(len(candidates), COLUMNS, replace=False)):
            sheet.paste(make_cell(candidates[index], views), (LABEL + column * (WIDTH + GAP), top))
    sheet.save(options.out, quality=88)
    print(f"{options.out}: {sheet.width} x {sheet.height}")
    return 0


def write_name(sheet: Image.Image, name: str, top: int) -> None:
    font = ImageFont.load_default(size=19)
    ImageDraw.Draw(sheet).text((8, top + HEIGHT // 2), name, fill=(40, 40, 40), font=font, anchor="lm")


def make_cell(clip: Clip, views: Views) -> Image.Image:
    """Return the middle frame of a clip, with its face crop in the lower right corner."""
    middle = len(clip.frames) // 2
    crops, _ = read_crops(clip, np.array([middle]), views)
    face = Image.fromarray(crops[middle]["face"].pixels).resize((FACE, FACE), Image.Resampling.BILINEAR)
    cell = read_frame(clip.frame_path(middle)).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    framed = Image.new("RGB", (FACE + 4, FACE + 4), "white")
    framed.paste(face, (2, 2))
    cell.paste(framed, (WIDTH - FACE - 4, HEIGHT - FACE - 4))
    return cell


if __name__ == "__main__":
    sys.exit(main())
