"""Measures exports: their size, the largest difference to the checkpoint's logits, and the seconds per clip of both.

    python -m benchmarks.export     # the demo weights, and ViT-B/32 with random weights

Sizes and times do not depend on the values of the weights. Needs the packages of requirements-export.txt. Writes
benchmarks/results/export.json.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch

from apps.export import compare, open_on_cpu, random_clips, trace
from apps.predict.runners import OnnxRunner, run_clips
from benchmarks.machine import describe_machine
from benchmarks.timing import take_turns
from dataloader.classes import Classes, load_classes
from engine.config import read_command
from engine.model import build_model
from engine.options import Config
from models.clip_backbone import save_clip
from models.clip_towers import Clip, ClipShape

DEMO = Path("weights/demo_best.pt")
UNTRAINED = {  # table row → flags of a model with random weights
    "two streams of 16 x 224 x 224, ViT-B/32": ("--model", "clip-caer"),
    "one stream of 16 x 224 x 224, ViT-B/32 (dfer-clip)": ("--model", "dfer-clip"),
    "one stream of 32 x 224 x 224, ViT-B/32 (emoclip)": ("--model", "emoclip"),
}
RESULTS = Path("benchmarks/results/export.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="number of timed passes of each model (default: 5)")
    rounds, rows = parser.parse_args().rounds, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows[DEMO.name] = measure(DEMO, folder, rounds)
        torch.manual_seed(0)
        save_clip(Clip(ClipShape()), folder / "clip.safetensors")
        for row, flags in UNTRAINED.items():
            _, config = read_command([*flags, "--clip-path", str(folder / "clip.safetensors")])
            write_untrained(folder / "checkpoint.pt", config, load_classes("RAER"))
            rows[row] = measure(folder / "checkpoint.pt", folder, rounds)
    for row, values in rows.items():
        print(f"| {row} | {' | '.join(str(value) for value in values.values())} |")
    RESULTS.write_text(json.dumps({"rows": rows, "machine": describe_machine()}, indent=1) + "\n", encoding="utf-8")
    return 0


def write_untrained(path: Path, config: Config, classes: Classes, **extra: Any) -> Path:
    """Write a checkpoint as a training does, but with random weights; ``extra`` replaces parts of its content."""
    model, shape = build_model(config, classes)
    stream = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if not parameter.any():  # a layer of zeros would hide differences
            torch.nn.init.normal_(parameter, std=0.1, generator=stream)
    content = {"format": 1, "family": config.model.model, "config": asdict(config), "classes": list(classes.names)}
    content |= {"label_base": 1, "clip_shape": shape, "model": model.state_dict(), "epoch": 1, "selected_on": "val"}
    torch.save(content | extra, path)
    return path


def measure(checkpoint: Path, folder: Path, rounds: int) -> dict[str, float]:
    """Export the checkpoint; return the size of the model, the largest difference and the seconds per clip."""
    command, config = read_command(["--mode", "export", "--eval-checkpoint", str(checkpoint)])
    runner = open_on_cpu(config, command, checkpoint)
    content = trace(runner)
    file = folder / "model.onnx"
    file.write_bytes(content)
    views = random_clips(runner.info, 1)
    clip, exported = (views.get("face"), views.get("context")), OnnxRunner(file, "cpu")
    seconds = take_turns(
        {"torch": lambda: run_clips(runner, *clip), "onnxruntime": lambda: exported.head(*clip)}, rounds
    )
    return {
        "megabytes": round(len(content) / 1e6, 1),
        "largest_difference": float(f"{compare(runner, content):.1e}"),
        **{f"{name}_seconds": round(median(s.computed for s in times), 3) for name, times in seconds.items()},
    }


if __name__ == "__main__":
    raise SystemExit(main())
