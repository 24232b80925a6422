"""The pointing game on simulated students: does the relevance of Distraction lie on the phone that decides it?

    python -m benchmarks.pointing                       # draws the set where it is missing; then a minute on one core
    python -m benchmarks.pointing --clips 5

Counted are the context frames of Distraction test clips that are predicted right and show a held phone. A frame is a
hit where the highest point of its map, enlarged to pixels and without the padding, lies in the phone's box or at most
half a patch beside it. Chance is the share of the picture that this covers. Then the six patches that are highest in
each map are erased from every context frame: how far does the logit fall? Writes benchmarks/results/pointing.json.
"""

import argparse
import copy
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from apps.attention.pictures import SquareSource, spread, square_sources
from apps.attention.run import open_explained
from benchmarks.machine import describe_machine
from dataloader.annotation import Clip, read_annotation
from dataloader.clips import ClipDataset, Views, indexes_of
from dataloader.loader import collate
from engine.config import read_command
from engine.data import make_views
from engine.device import to_device
from models.clip_caer import ClipCaer
from models.clip_towers import ImageTower
from models.relevance import encode_openly, explain_class
from simulate import Settings, write_set

CLASS, THING = "Distraction", "held phone"
RANDOM_SEEDS = (1, 2, 3)
ERASED = 6  # patches of a frame, of 49
LISTS = "--test-annotation annotation/test.txt --bounding-box-face annotation/face.json --bounding-box-body"
LISTS += " annotation/body.json --device cpu --workers 0"


@dataclass(frozen=True)
class Game:
    """What one frame asks: the picture's place in the square, and the box that a hit lies in."""

    place: SquareSource
    target: tuple[float, float, float, float]  # in pixels of the square, tolerance included

    def is_hit(self, x: float, y: float) -> bool:
        left, top, right, bottom = self.target
        return left <= x <= right and top <= y <= bottom

    def chance(self) -> float:
        """Of a point anywhere in the picture."""
        left, top, right, bottom = self.place.inside
        wide = min(self.target[2], right) - max(self.target[0], left)
        high = min(self.target[3], bottom) - max(self.target[1], top)
        return max(wide, 0) * max(high, 0) / ((right - left) * (bottom - top))

    def middle(self) -> tuple[float, float]:
        left, top, right, bottom = self.place.inside
        return (left + right) / 2, (top + bottom) / 2


def main() -> int:
    options, started = parse(), time.time()
    write_set(options.root, Settings())
    boxes = read_objects(Path(options.root))
    words = f"--mode attention --eval-checkpoint {options.checkpoint} --root-dir {options.root} {LISTS}".split()
    given, config = read_command(words)
    _, config, classes, model = open_explained(config, given)
    log = SimpleNamespace(say=print, warn=print)
    label = classes.names.index(CLASS)
    clips = [c for c in read_annotation("annotation/test.txt", options.root, classes) if c.label == label]
    views = make_views(config, clips, log)
    player, rows = Player(model), []
    for clip in clips:
        if len(rows) < options.clips:
            rows += play(player, clip, views, config.data.normalize, boxes[clip.id])
    result = summary(rows) | {"class": CLASS, "thing": THING, "simulated": True, "checkpoint": options.checkpoint}
    result |= {"seconds": round(time.time() - started), "machine": describe_machine(), "by clip": rows}
    print(table(result))
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if result["hits"]["relevance"] >= 2 * result["hits"]["chance"] else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data/raer-sim", help="the simulated set; drawn where it is missing")
    parser.add_argument("--checkpoint", default="weights/demo_best.pt", help="a two-stream model of that set")
    parser.add_argument("--clips", type=int, default=10**6, help="stop after so many clips (default: all)")
    parser.add_argument("--out", default="benchmarks/results/pointing.json", help="where the numbers go")
    return parser.parse_args()


def read_objects(root: Path) -> dict[str, dict[str, dict[str, list[float]]]]:
    file = root / "annotation" / "objects.json"
    if not file.exists():
        raise SystemExit(f"{file} is not there: the set was drawn by an earlier version; draw it anew, or name --root")
    return json.loads(file.read_text(encoding="utf-8"))


class Player:
    """A model, and the same with other image towers, each asked for its maps of a clip's context."""

    def __init__(self, model: ClipCaer) -> None:
        self.model, self.patch = model, model.image_encoder.conv1.kernel_size[0]
        self.random = {f"random weights, seed {seed}": with_random_tower(model, seed) for seed in RANDOM_SEEDS}
        with torch.no_grad():
            self.texts = model.encode_texts(model.classifies_with_soft_texts)

    def maps_of(self, face: Tensor, context: Tensor, label: int) -> dict[str, Tensor] | None:
        """By name, (T, rows, columns) each; None where the clip is predicted wrong."""
        found = explain_class(self.model, face, context, None, self.texts)
        if found.label != label:
            return None
        second = int(found.logits.argsort()[-2])
        asked = {"relevance of the second class": (self.model, second)}
        asked |= {name: (model, label) for name, model in self.random.items()}
        maps = {"relevance": found.maps["context"]}
        maps["attention without gradients"] = plain_attention(self.model.image_encoder, context[0])
        for name, (model, wanted) in asked.items():
            maps[name] = explain_class(model, face, context, wanted, self.texts).maps["context"]
        return maps

    @torch.no_grad()
    def fall(self, face: Tensor, context: Tensor, values: Tensor, label: int) -> tuple[float, bool]:
        """Of the class's logit where each frame's highest patches become CLIP's mean colour; whether another wins."""
        shown = torch.ones_like(values.flatten(1)).scatter(1, values.flatten(1).topk(ERASED).indices, 0)
        mask = F.interpolate(shown.view_as(values)[:, None], scale_factor=self.patch)
        before, after = (self.model(face, seen, self.texts).logits[0] for seen in (context, context * mask))
        return float(before[label] - after[label]), int(after.argmax()) != label


def play(player: Player, clip: Clip, views: Views, normalize: str, boxes: dict[str, Any]) -> list[dict[str, Any]]:
    """One row with the hits of this clip; none where it is predicted wrong or no frame shows the thing."""
    indexes = indexes_of(clip, views, np.random.default_rng(0), training=False).tolist()
    seen = [n for n, index in enumerate(indexes) if THING in boxes[clip.frames[index]]]
    batch = to_device(collate([ClipDataset([clip], views)[0, 0, 0]]), torch.device("cpu"), normalize)
    maps = player.maps_of(batch["face"], batch["context"], clip.label) if seen else None
    if maps is None:
        return []
    places = square_sources(clip, views, indexes)["context"]
    games = {n: game_of(places[n], boxes[clip.frames[indexes[n]]][THING], player.patch) for n in seen}
    hits = {name: mean(hit(values[n], game, views) for n, game in games.items()) for name, values in maps.items()}
    hits["middle of the picture"] = mean(game.is_hit(*game.middle()) for game in games.values())
    hits["chance"] = mean(game.chance() for game in games.values())
    maps["chance"] = torch.rand(maps["relevance"].shape, generator=torch.Generator().manual_seed(clip.label))
    falls = {name: player.fall(batch["face"], batch["context"], values, clip.label) for name, values in maps.items()}
    erased = {name: value for name, (value, _) in falls.items()}
    lost = {name: float(is_lost) for name, (_, is_lost) in falls.items()}
    return [{"clip": clip.id, "frames": len(seen), "hits": joined(hits), "fall": joined(erased), "lost": joined(lost)}]


def joined(values: dict[str, float]) -> dict[str, float]:
    """The mean over random towers in place of each."""
    kept = {name: value for name, value in values.items() if not name.startswith("random weights")}
    return kept | {"random weights": mean(value for name, value in values.items() if name not in kept)}


def game_of(place: SquareSource, box: list[float], patch: int) -> Game:
    """A box in pixels of the frame → in pixels of the square, half a patch wider on each side."""
    left, top, right, bottom = place.area
    x, y, to_x, to_y = place.inside
    wide, high = (to_x - x) / (right - left), (to_y - y) / (bottom - top)
    edges = (
        x + (box[0] - left) * wide,
        y + (box[1] - top) * high,
        x + (box[2] - left) * wide,
        y + (box[3] - top) * high,
    )
    return Game(place, (edges[0] - patch / 2, edges[1] - patch / 2, edges[2] + patch / 2, edges[3] + patch / 2))


def hit(values: Tensor, game: Game, views: Views) -> bool:
    """Whether the highest point of a map (rows, columns) is where it should be."""
    left, top, right, bottom = game.place.inside
    enlarged = spread(values.numpy(), game.place, views.size, (bottom - top, right - left))
    y, x = np.unravel_index(int(enlarged.argmax()), enlarged.shape)
    return game.is_hit(left + x + 0.5, top + y + 0.5)


@torch.no_grad()
def plain_attention(tower: ImageTower, frames: Tensor) -> Tensor:
    """What the class token attends to, the mean over heads and blocks: the same whatever class is asked for."""
    rows = torch.stack([attention[:, :, 0, 1:].mean(dim=1) for attention in encode_openly(tower, frames)[1]])
    return rows.mean(dim=0).unflatten(1, (frames.shape[-2] // tower.conv1.kernel_size[0], -1))


def with_random_tower(model: ClipCaer, seed: int) -> nn.Module:
    """The same model, every weight of its image tower drawn anew with the spread that the trained one has."""
    drawn = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for weight in drawn.image_encoder.parameters():
        spread_of = weight.std() if weight.numel() > 1 else torch.tensor(1.0)
        weight.data = weight.mean() + spread_of * torch.randn(weight.shape, generator=generator)
    return drawn


def mean(values: Any) -> float:
    return float(np.mean(list(values)))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Every frame counts alike in the game, every clip in what is erased."""
    if not rows:
        raise SystemExit(f"no {CLASS} clip that is predicted right shows a {THING}")
    frames = [row["frames"] for row in rows]
    hits = {name: float(np.average([row["hits"][name] for row in rows], weights=frames)) for name in rows[0]["hits"]}
    erased = {key: {name: mean(row[key][name] for row in rows) for name in rows[0][key]} for key in ("fall", "lost")}
    return {"clips": len(rows), "frames": sum(frames), "hits": hits} | erased


def table(result: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        f"{result['frames']} context frames of {result['clips']} clips; erased: {ERASED} patches of each",
        f"| map | highest point on the {THING} | erased: the logit falls by | {CLASS} is lost |\n|---|---|---|---|",
    ]
    for name, share in sorted(result["hits"].items(), key=lambda pair: -pair[1]):
        fall, lost = result["fall"].get(name), result["lost"].get(name)
        cells = ("–", "–") if fall is None else (f"{fall:.2f}", f"{100 * lost:.0f} %")
        lines.append(f"| {name} | {100 * share:.1f} % | {cells[0]} | {cells[1]} |")
    times = result["hits"]["relevance"] / result["hits"]["chance"]
    return "\n".join([*lines, f"relevance: {times:.1f} times chance"])


if __name__ == "__main__":
    sys.exit(main())
