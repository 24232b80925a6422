"""What --cache-features costs in score: the same runs with it and without, on simulated students, over seeds.

    python -m benchmarks.cached_scores               # 3 seeds, 4 epochs of 245 clips; about 20 minutes on two cores

The last epoch counts, so nothing is selected. The cached runs draw one of two stored variants (plain, mirrored), the
others any angle and flip: more chance to learn from. Also: what a cache that is filled in bf16 does to features and
logits. Prints a line a run; writes benchmarks/results/cached_scores.json.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from benchmarks.machine import describe_machine
from benchmarks.runs import scored_run
from dataloader.annotation import read_annotation
from dataloader.classes import load_classes
from dataloader.clips import ClipDataset
from dataloader.loader import collate
from engine.checkpoints import evaluation_config, open_checkpoint, rebuild
from engine.data import make_views
from engine.device import to_device
from utils.runlog import QuietLog

RECIPE = "@recipes/clip_caer.args @recipes/simulated.args --sampling whole --shared-augmentation --lr-fusion 1e-2"
KINDS = {
    "cached": "--cache-features",
    "cached and trained in bf16": "--cache-features --amp bf16",
    "from pixels": "--no-cache-features",
}
COMPARED = 12  # clips whose features are compared


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data/raer-sim", help="a set of simulate")
    parser.add_argument("--seeds", type=int, default=3, help="seeds 1 to N")
    parser.add_argument("--epochs", type=int, default=4, help="2 or more: the first one is not timed")
    parser.add_argument("--every", type=int, default=2, help="take every Nth clip of the train list")
    parser.add_argument("--out", default="benchmarks/results/cached_scores.json")
    options = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as scratch:
        lines = Path(options.root, "annotation/train.txt").read_text(encoding="utf-8").splitlines()
        Path(scratch, "train.txt").write_text("\n".join(lines[:: options.every]) + "\n", encoding="utf-8")
        for seed in range(1, options.seeds + 1):
            for kind, flag in KINDS.items():
                runs[kind].append(run(kind, flag, seed, options, Path(scratch)))
    rows = {kind: summary(results) for kind, results in runs.items()}
    results = {
        "machine": describe_machine(),
        "epochs": options.epochs,
        "train_clips": len(lines[:: options.every]),
        "rows": rows,
        "precision": precision(options.root),
        "runs": runs,
    }
    Path(options.out).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"rows": rows, "precision": results["precision"]}, indent=1))
    return 0


def run(kind: str, flag: str, seed: int, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """One training in a process of its own: its score on the test list, and its seconds an epoch after the first."""
    folder = scratch / f"{kind.replace(' ', '-')}-{seed}"
    half = str(max(options.epochs // 2, 1))
    words = [*RECIPE.split(), "--root-dir", options.root, "--seed", str(seed), "--epochs", str(options.epochs)]
    words += ["--milestones", half, "--workers", "1", "--select-on", "last", *flag.split()]
    words += ["--train-annotation", str(scratch / "train.txt"), "--cache-dir", str(scratch / "features")]
    scored = scored_run(words, folder, " ".join(words), os.cpu_count() or 1)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    later = [json.loads(line)["seconds"] for line in lines][1:]
    result = {"seed": seed, "uar": round(scored["uar"], 2), "epoch_seconds": round(mean(later), 2)}
    print(kind, result, flush=True)
    return result


@torch.inference_mode()
def precision(root: str) -> dict[str, float]:
    """What a cache filled in bf16 does to the features and the answers of the shipped weights on drawn test clips."""
    opened = open_checkpoint(Path("weights/demo_best.pt"), {})
    config = evaluation_config(opened.content, {"root_dir": root})
    model = rebuild(opened.content, config).eval()
    clips = read_annotation(config.data.test_annotation, root, load_classes("RAER"))
    selected = clips[:: len(clips) // COMPARED][:COMPARED]
    dataset = ClipDataset(selected, make_views(config, selected, QuietLog(Path("."))))
    batch = to_device(collate([dataset[0, 0, i] for i in range(COMPARED)]), torch.device("cpu"), config.data.normalize)
    features, logits = {}, {}
    for name, amp in (("float32", None), ("float16 stored", None), ("bf16", torch.bfloat16)):
        with torch.autocast("cpu", dtype=amp, enabled=amp is not None):
            frames = model.encode_frames(batch["face"], batch["context"])
        cached = [stream.float() if name == "float32" else stream.half().float() for stream in frames]
        features[name], logits[name] = torch.cat(cached), model.head(*cached).logits
    length = features["float32"].norm(dim=-1)
    results = {"spread of logits": round(float(logits["float32"].std()), 3)}
    for name in ("float16 stored", "bf16"):
        moved = (features[name] - features["float32"]).norm(dim=-1) / length
        results[f"{name}: mean change of a feature, of its length"] = round(float(moved.mean()), 5)
        results[f"{name}: largest change of a logit"] = round(float((logits[name] - logits["float32"]).abs().max()), 5)
    return results


def summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    scores = [run["uar"] for run in runs]
    spread = stdev(scores) if len(scores) > 1 else 0.0
    seconds = mean(run["epoch_seconds"] for run in runs)
    return {"uar": round(mean(scores), 1), "spread": round(spread, 1), "epoch_seconds": round(seconds, 2)}


if __name__ == "__main__":
    sys.exit(main())
