"""Measures the updates that float32 loses in an image encoder with a learning rate of 1e-6, and their effect on scores.

    python -m benchmarks.rounding                     # 3 seeds, 12 epochs; about 25 minutes on two cores
    python -m benchmarks.rounding --seeds 1 --epochs 1 --every 40 --out FILE      # a quick test that everything runs

Each seed trains twice on simulated students: with the optimiser of the recipe, and with one that keeps weights and
momentum in float64 and rounds only the copy that the model uses, so that no update is lost. Compensated (Kahan) updates
cannot be more exact than that. The last epoch is scored, so no epoch is selected. Writes
benchmarks/results/rounding.json.
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
from benchmarks.runs import spread, write_short_list
from engine import step as training
from main import main as run_command

RECIPE = "@recipes/advanced.args @recipes/simulated.args --no-cache-features --amp off --select-on last"


class ExactSGD(torch.optim.Optimizer):
    """SGD with momentum in float64. The model gets its weights rounded to float32."""

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


class UpdateRecorder:
    """Compares the image encoder of one training before it, after its first step and at its end."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        groups = [group for group in optimizer.param_groups if group["name"] == "image encoder"]
        self.weights: list[Tensor] = [p for group in groups for p in group["params"]]
        self.start = [p.detach().clone() for p in self.weights]
        self.unchanged_share: float | None = None  # share of weights that the first step does not change
        optimizer.register_step_post_hook(self._after_step)

    def _after_step(self, *_: Any) -> None:
        if self.unchanged_share is None:
            unchanged = sum((weight == start).sum().item() for weight, start in self._pairs())
            self.unchanged_share = unchanged / sum(p.numel() for p in self.weights)

    def distance(self) -> float:
        """Return the Euclidean distance between the weights and their values before the training."""
        return sum((weight.double() - start.double()).square().sum().item() for weight, start in self._pairs()) ** 0.5

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        return [(weight.detach(), start) for weight, start in zip(self.weights, self.start, strict=True)]


def main() -> int:
    options = parse()
    runs: dict[str, list[dict[str, float]]] = {"float32": [], "exact": []}
    with tempfile.TemporaryDirectory() as scratch:
        train_clips = write_short_list(options.root, options.every, Path(scratch, "train.txt"))
        for seed in range(1, options.seeds + 1):
            for kind, rows in runs.items():
                rows.append(run(kind, seed, options, Path(scratch)))
                print(f"seed {seed}, {kind}: {rows[-1]}", flush=True)
    differences = [exact["uar"] - rounded["uar"] for rounded, exact in zip(runs["float32"], runs["exact"], strict=True)]
    result = {
        "machine": describe_machine(),
        "simulated": True,
        "epochs": options.epochs,
        "train_clips": train_clips,
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
    parser.add_argument("--root", default="data/raer-sim", help="folder of the simulated set (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds; they start at 1 (default: 3)")
    parser.add_argument("--epochs", type=int, default=12, help="epochs of each training (default: 12)")
    parser.add_argument("--rate", default="1e-6", help="learning rate of the image encoder (default: 1e-6)")
    parser.add_argument("--every", type=int, default=2, help="train on every Nth clip of the train list (default: 2)")
    parser.add_argument("--out", default="benchmarks/results/rounding.json", help="result file (default: %(default)s)")
    return parser.parse_args()


def run(kind: str, seed: int, options: argparse.Namespace, scratch: Path) -> dict[str, float]:
    """Train in this process through the command line; return the score and the recorded updates."""
    folder, recorders, build = scratch / f"{kind}-{seed}", [], training.build_optimizer

    def build_recorded(groups: list[dict[str, Any]], optim: Any) -> torch.optim.Optimizer:
        optimizer = ExactSGD(groups, optim) if kind == "exact" else build(groups, optim)
        recorders.append(UpdateRecorder(optimizer))
        return optimizer

    words = [*RECIPE.split(), "--root-dir", options.root, "--train-annotation", str(scratch / "train.txt")]
    words += ["--seed", str(seed), "--epochs", str(options.epochs), "--lr-image-encoder", options.rate]
    words += ["--milestones", str(max(options.epochs * 2 // 3, 1)), "--output-dir", str(folder)]
    training.build_optimizer = build_recorded
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            if run_command(words) != 0:
                raise SystemExit(f"{' '.join(words)}: failed")
    finally:
        training.build_optimizer = build
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    unchanged, distance = round(recorders[0].unchanged_share, 4), recorders[0].distance()
    return {"uar": metrics["uar"], "unchanged": unchanged, "moved": distance}


if __name__ == "__main__":
    sys.exit(main())
