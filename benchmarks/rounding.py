"""What float32 loses of an image encoder that learns at 1e-6, and whether the scores of simulated students notice.

    python -m benchmarks.rounding                     # 3 seeds, 12 epochs; about 25 minutes on two cores
    python -m benchmarks.rounding --seeds 1 --epochs 1 --every 40 --out FILE      # a quick look that everything runs

The same training twice with each seed: with the optimiser of the recipe, and with one that keeps weights and momentum
in float64 and rounds only the copy that the model computes with, so that no update is lost. Compensated (Kahan) updates
could not do better than that. The last epoch counts, so nothing is selected. Writes benchmarks/results/rounding.json.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe_machine
from benchmarks.runs import spread
from engine import step as training
from main import main as run_command

RECIPE = "@recipes/advanced.args @recipes/simulated.args --no-cache-features --amp off --select-on last"


class ExactSGD(torch.optim.Optimizer):
    """SGD with momentum whose weights, momentum and updates are float64; the model gets them rounded to float32."""

    def __init__(self, groups: list[dict[str, Any]], optim: Any) -> None:
        super().__init__(groups, {"momentum": optim.momentum, "weight_decay": optim.weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["weight"], state["momentum"] = p.double(), torch.zeros_like(p, dtype=torch.float64)
                state["momentum"].mul_(group["momentum"]).add_(
                    p.grad.double() + group["weight_decay"] * state["weight"]
                )
                state["weight"].sub_(group["lr"] * state["momentum"])
                p.copy_(state["weight"])


class Watch:
    """The image encoder of one training: before it, after its first step, and at its end."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        groups = [group for group in optimizer.param_groups if group["name"] == "image encoder"]
        self.weights: list[Tensor] = [p for group in groups for p in group["params"]]
        self.start = [p.detach().clone() for p in self.weights]
        self.unchanged: float | None = None
        optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, *_: Any) -> None:
        if self.unchanged is None:
            same = sum((now == before).sum().item() for now, before in self._pairs())
            self.unchanged = same / sum(p.numel() for p in self.weights)

    def moved(self) -> float:
        """The length of the way from the first weights to the last."""
        return sum((now.double() - before.double()).square().sum().item() for now, before in self._pairs()) ** 0.5

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        return [(now.detach(), before) for now, before in zip(self.weights, self.start, strict=True)]


def main() -> int:
    options = parse()
    runs: dict[str, list[dict[str, float]]] = {"float32": [], "exact": []}
    with tempfile.TemporaryDirectory() as scratch:
        lines = Path(options.root, "annotation/train.txt").read_text(encoding="utf-8").splitlines()[:: options.every]
        Path(scratch, "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        for seed in range(1, options.seeds + 1):
            for kind, rows in runs.items():
                rows.append(run(kind, seed, options, Path(scratch)))
                print(f"seed {seed}, {kind}: {rows[-1]}", flush=True)
    differences = [b["uar"] - a["uar"] for a, b in zip(runs["float32"], runs["exact"], strict=True)]
    result = {
        "machine": describe_machine(),
        "simulated": True,
        "epochs": options.epochs,
        "train_clips": len(lines),
        "uar": {kind: spread([row["uar"] for row in rows]) for kind, rows in runs.items()},
        "uar_exact_minus_float32": [round(value, 2) for value in differences],
        "share_unchanged_by_the_first_step": round(mean(row["unchanged"] for row in runs["float32"]), 4),
        "way_of_float32_to_way_of_exact": round(
            mean(a["moved"] / b["moved"] for a, b in zip(runs["float32"], runs["exact"], strict=True)), 4
        ),
        "runs": runs,
    }
    Path(options.out).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "runs"}, indent=1))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data/raer-sim", help="a set of simulate")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to N")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rate", default="1e-6", help="of the image encoder")
    parser.add_argument("--every", type=int, default=2, help="take every Nth clip of the train list")
    parser.add_argument("--out", default="benchmarks/results/rounding.json")
    return parser.parse_args()


def run(kind: str, seed: int, options: argparse.Namespace, scratch: Path) -> dict[str, float]:
    """One training in this process, through the command line."""
    folder, watches, build = scratch / f"{kind}-{seed}", [], training.build_optimizer

    def build_watched(groups: list[dict[str, Any]], optim: Any) -> torch.optim.Optimizer:
        optimizer = ExactSGD(groups, optim) if kind == "exact" else build(groups, optim)
        watches.append(Watch(optimizer))
        return optimizer

    words = [*RECIPE.split(), "--root-dir", options.root, "--train-annotation", str(scratch / "train.txt")]
    words += ["--seed", str(seed), "--epochs", str(options.epochs), "--lr-image-encoder", options.rate]
    words += ["--milestones", str(max(options.epochs * 2 // 3, 1)), "--output-dir", str(folder)]
    training.build_optimizer = build_watched
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if run_command(words) != 0:
                raise SystemExit(f"{' '.join(words)}: failed")
    finally:
        training.build_optimizer = build
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {"uar": metrics["uar"], "unchanged": round(watches[0].unchanged, 4), "moved": watches[0].moved()}


if __name__ == "__main__":
    sys.exit(main())
