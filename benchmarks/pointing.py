"""Plays the pointing game on simulated students: is the relevance of Distraction highest on the held phone?

    python -m benchmarks.pointing                       # writes the set if it is missing; then a minute on one core
    python -m benchmarks.pointing --clips 5

The game uses the context frames that show a held phone, of Distraction test clips that are classified correctly. A
frame is a hit if the highest point of its map, enlarged to pixels and without the padding, is in the phone's box or at
most half a patch outside. Chance is the share of the picture inside these limits. Then the six highest patches
of each map are erased from every context frame, and the fall of the logit is measured. Writes
benchmarks/results/pointing.json.
"""

import argparse
import copy
import json
import sys
import time
from collections import defaultdict
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

CLASS, OBJECT = "Distraction", "held phone"
RANDOM_SEEDS = (1, 2, 3)
ERASED = 6  # patches of a frame, of 49
LISTS = "--test-annotation annotation/test.txt --bounding-box-face annotation/face.json --bounding-box-body"
LISTS += " annotation/body.json --device cpu --workers 0"


@dataclass(frozen=True)
class Game:
    """The game on one frame: the position of the picture in the model's square input, and the box of a hit."""

    source: SquareSource
    target: tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels of the square, with the tolerance

    def is_hit(self, x: float, y: float) -> bool:
        x1, y1, x2, y2 = self.target
        return x1 <= x <= x2 and y1 <= y <= y2

    def chance(self) -> float:
        """Return the probability that a random point of the picture is a hit."""
        x1, y1, x2, y2 = self.source.inside
        width = min(self.target[2], x2) - max(self.target[0], x1)
        height = min(self.target[3], y2) - max(self.target[1], y1)
        return max(width, 0) * max(height, 0) / ((x2 - x1) * (y2 - y1))

    def middle(self) -> tuple[float, float]:
        x1, y1, x2, y2 = self.source.inside
        return (x1 + x2) / 2, (y1 + y2) / 2


def main() -> int:
    options, started = parse(), time.time()
    write_set(options.root, Settings())
    boxes = read_objects(Path(options.root))
    words = f"--mode attention --eval-checkpoint {options.checkpoint} --root-dir {options.root} {LISTS}".split()
    command, config = read_command(words)
    _, config, classes, model = open_explained(config, command)
    log = SimpleNamespace(say=print, warn=print, facts=defaultdict(dict))
    label = classes.names.index(CLASS)
    clips = [c for c in read_annotation("annotation/test.txt", options.root, classes) if c.label == label]
    views = make_views(config, clips, log)
    player, rows = Player(model), []
    for clip in clips:
        if len(rows) < options.clips:
            rows += play(player, clip, views, config.data.normalize, boxes[clip.id])
    result = summary(rows) | {"class": CLASS, "thing": OBJECT, "simulated": True, "checkpoint": options.checkpoint}
    result |= {"seconds": round(time.time() - started), "machine": describe_machine(), "by clip": rows}
    print(table(result))
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    Path(options.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if result["hits"]["relevance"] >= 2 * result["hits"]["chance"] else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data/raer-sim", help="folder of the simulated set, written if missing")
    parser.add_argument("--checkpoint", default="weights/demo_best.pt", help="checkpoint of a two-stream model")
    parser.add_argument("--clips", type=int, default=10**6, help="largest number of clips (default: all)")
    parser.add_argument("--out", default="benchmarks/results/pointing.json", help="result file")
    return parser.parse_args()


def read_objects(root: Path) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Return the boxes of objects by clip, frame and name of the object."""
    file = root / "annotation" / "objects.json"
    if not file.exists():
        raise SystemExit(f"{file} is missing: an earlier version wrote the set; write it again, or give another --root")
    return json.loads(file.read_text(encoding="utf-8"))


class Player:
    """Computes the maps of a clip's context with a model, and with copies of it that have random image towers."""

    def __init__(self, model: ClipCaer) -> None:
        self.model, self.patch = model, model.image_encoder.conv1.kernel_size[0]
        self.random = {f"random weights, seed {seed}": with_random_tower(model, seed) for seed in RANDOM_SEEDS}
        with torch.no_grad():
            self.texts = model.encode_texts(model.classifies_with_soft_texts)

    def maps_of(self, face: Tensor, context: Tensor, label: int) -> dict[str, Tensor] | None:
        """Return maps (T, rows, columns) by name, or None where the clip is misclassified."""
        explanation = explain_class(self.model, face, context, None, self.texts)
        if explanation.label != label:
            return None
        second = int(explanation.logits.argsort()[-2])
        rivals = {"relevance of the second class": (self.model, second)}
        rivals |= {name: (model, label) for name, model in self.random.items()}
        maps = {"relevance": explanation.maps["context"]}
        maps["attention without gradients"] = plain_attention(self.model.image_encoder, context[0])
        for name, (model, target) in rivals.items():
            maps[name] = explain_class(model, face, context, target, self.texts).maps["context"]
        return maps

    @torch.no_grad()
    def fall(self, face: Tensor, context: Tensor, values: Tensor, label: int) -> tuple[float, bool]:
        """Erase the highest patches of each frame: they become CLIP's mean colour, which is 0 after normalisation.

        Return by how much the logit of the class falls, and whether another class is predicted then.
        """
        visible = torch.ones_like(values.flatten(1)).scatter(1, values.flatten(1).topk(ERASED).indices, 0)
        mask = F.interpolate(visible.view_as(values)[:, None], scale_factor=self.patch)
        before, after = (self.model(face, frames, self.texts).logits[0] for frames in (context, context * mask))
        return float(before[label] - after[label]), int(after.argmax()) != label


def play(player: Player, clip: Clip, views: Views, normalize: str, boxes: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one row with the hits of this clip, or no row if it is misclassified or no frame shows the object."""
    indexes = indexes_of(clip, views, np.random.default_rng(0), training=False).tolist()
    steps = [t for t, index in enumerate(indexes) if OBJECT in boxes[clip.frames[index]]]
    batch = to_device(collate([ClipDataset([clip], views)[0, 0, 0]]), torch.device("cpu"), normalize)
    maps = player.maps_of(batch["face"], batch["context"], clip.label) if steps else None
    if maps is None:
        return []
    sources = square_sources(clip, views, indexes)["context"]
    games = {t: game_of(sources[t], boxes[clip.frames[indexes[t]]][OBJECT], player.patch) for t in steps}
    hits = {name: mean(is_hit(values[t], game, views) for t, game in games.items()) for name, values in maps.items()}
    hits["middle of the picture"] = mean(game.is_hit(*game.middle()) for game in games.values())
    hits["chance"] = mean(game.chance() for game in games.values())
    maps["chance"] = torch.rand(maps["relevance"].shape, generator=torch.Generator().manual_seed(clip.label))
    falls = {name: player.fall(batch["face"], batch["context"], values, clip.label) for name, values in maps.items()}
    logit_falls = {name: value for name, (value, _) in falls.items()}
    losses = {name: float(is_lost) for name, (_, is_lost) in falls.items()}
    figures = {"hits": hits, "fall": logit_falls, "lost": losses}
    averages = {key: average_random_towers(values) for key, values in figures.items()}
    return [{"clip": clip.id, "frames": len(steps)} | averages]


def average_random_towers(values: dict[str, float]) -> dict[str, float]:
    """Return the values with the mean over all random towers in place of the value of each tower."""
    averages = {name: value for name, value in values.items() if not name.startswith("random weights")}
    return averages | {"random weights": mean(value for name, value in values.items() if name not in averages)}


def game_of(source: SquareSource, box: list[float], patch: int) -> Game:
    """Return the game for a box in pixels of the frame. Its target is half a patch wider on each side."""
    area_x, area_y, area_x2, area_y2 = source.area
    x1, y1, x2, y2 = source.inside
    scale_x, scale_y = (x2 - x1) / (area_x2 - area_x), (y2 - y1) / (area_y2 - area_y)
    edges = (
        x1 + (box[0] - area_x) * scale_x,
        y1 + (box[1] - area_y) * scale_y,
        x1 + (box[2] - area_x) * scale_x,
        y1 + (box[3] - area_y) * scale_y,
    )
    return Game(source, (edges[0] - patch / 2, edges[1] - patch / 2, edges[2] + patch / 2, edges[3] + patch / 2))


def is_hit(values: Tensor, game: Game, views: Views) -> bool:
    """Return whether the highest point of a map (rows, columns) is in the target of the game."""
    x1, y1, x2, y2 = game.source.inside
    enlarged = spread(values.numpy(), game.source, views.size, (y2 - y1, x2 - x1))
    y, x = np.unravel_index(int(enlarged.argmax()), enlarged.shape)
    return game.is_hit(x1 + x + 0.5, y1 + y + 0.5)


@torch.no_grad()
def plain_attention(tower: ImageTower, frames: Tensor) -> Tensor:
    """Return the attention of the class token, averaged over heads and blocks. It is the same for every class."""
    rows = torch.stack([attention[:, :, 0, 1:].mean(dim=1) for attention in encode_openly(tower, frames)[1]])
    return rows.mean(dim=0).unflatten(1, (frames.shape[-2] // tower.conv1.kernel_size[0], -1))


def with_random_tower(model: ClipCaer, seed: int) -> nn.Module:
    """Return a copy of the model with random image tower weights, of the mean and deviation of the trained ones."""
    random_model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    for weight in random_model.image_encoder.parameters():
        deviation = weight.std() if weight.numel() > 1 else torch.tensor(1.0)
        weight.data = weight.mean() + deviation * torch.randn(weight.shape, generator=generator)
    return random_model


def mean(values: Any) -> float:
    return float(np.mean(list(values)))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean over frames of the hits, and the mean over clips of the results of erasing."""
    if not rows:
        raise SystemExit(f"no {CLASS} clip that is classified correctly shows a {OBJECT}")
    frames = [row["frames"] for row in rows]
    hits = {name: float(np.average([row["hits"][name] for row in rows], weights=frames)) for name in rows[0]["hits"]}
    erasing = {key: {name: mean(row[key][name] for row in rows) for name in rows[0][key]} for key in ("fall", "lost")}
    return {"clips": len(rows), "frames": sum(frames), "hits": hits} | erasing


def table(result: dict[str, Any]) -> str:
    """Return the result as a Markdown table."""
    lines = [
        f"{result['frames']} context frames of {result['clips']} clips; erased: {ERASED} patches of each",
        f"| map | highest point on the {OBJECT} | erased: the logit falls by | {CLASS} is lost |\n|---|---|---|---|",
    ]
    for name, share in sorted(result["hits"].items(), key=lambda pair: -pair[1]):
        fall, loss = result["fall"].get(name), result["lost"].get(name)
        cells = ("–", "–") if fall is None else (f"{fall:.2f}", f"{100 * loss:.0f} %")
        lines.append(f"| {name} | {100 * share:.1f} % | {cells[0]} | {cells[1]} |")
    times = result["hits"]["relevance"] / result["hits"]["chance"]
    return "\n".join([*lines, f"relevance: {times:.1f} times chance"])


if __name__ == "__main__":
    sys.exit(main())
