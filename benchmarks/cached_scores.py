"""Measures what --cache-features costs in score: the same trainings with and without it, over seeds.

    python -m benchmarks.cached_scores               # 3 seeds, 4 epochs of 245 clips; about 20 minutes on two cores

The trainings use simulated students. The last epoch is scored, so no epoch is selected. A cached run samples one of two
stored variants of a clip (plain or mirrored); the other runs sample any angle and flip, so their training data varies
more. The command also measures how much a cache that is filled in bf16 changes features and logits. It prints one line
for each run and writes benchmarks/results/cached_scores.json.
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
from benchmarks.runs import scored_run, write_short_list
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
COMPARED_CLIPS = 12  # test clips whose features are compared


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data/raer-sim", help="folder of the simulated set (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds; they start at 1 (default: 3)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs, at least 2: the first is not timed (default: 4)")
    parser.add_argument("--every", type=int, default=2, help="train on every Nth clip of the train list (default: 2)")
    parser.add_argument(
        "--out", default="benchmarks/results/cached_scores.json", help="result file (default: %(default)s)"
    )
    options = parser.parse_args()
    runs: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as scratch:
        train_clips = write_short_list(options.root, options.every, Path(scratch, "train.txt"))
        for seed in range(1, options.seeds + 1):
            for kind, flag in KINDS.items():
                runs[kind].append(run(kind, flag, seed, options, Path(scratch)))
    rows = {kind: summary(results) for kind, results in runs.items()}
    results = {
        "machine": describe_machine(),
        "epochs": options.epochs,
        "train_clips": train_clips,
        "rows": rows,
        "precision": precision(options.root),
        "runs": runs,
    }
    Path(options.out).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({"rows": rows, "precision": results["precision"]}, indent=1))
    return 0


def run(kind: str, flag: str, seed: int, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Train in a separate process; return the test score and the mean seconds of an epoch after the first."""
    folder = scratch / f"{kind.replace(' ', '-')}-{seed}"
    milestone = str(max(options.epochs // 2, 1))
    words = [*RECIPE.split(), "--root-dir", options.root, "--seed", str(seed), "--epochs", str(options.epochs)]
    words += ["--milestones", milestone, "--workers", "1", "--select-on", "last", *flag.split()]
    words += ["--train-annotation", str(scratch / "train.txt"), "--cache-dir", str(scratch / "features")]
    scored = scored_run(words, folder, " ".join(words), os.cpu_count() or 1)
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines][1:]
    result = {"seed": seed, "uar": round(scored["uar"], 2), "epoch_seconds": round(mean(seconds), 2)}
    print(kind, result, flush=True)
    return result


@torch.inference_mode()
def precision(root: str) -> dict[str, float]:
    """Return how a cache filled in bf16 changes features and logits of the shipped weights on simulated test clips."""
    opened = open_checkpoint(Path("weights/demo_best.pt"), {})
    config = evaluation_config(opened.content, {"root_dir": root})
    model = rebuild(opened.content, config).eval()
    clips = read_annotation(config.data.test_annotation, root, load_classes("RAER"))
    selected = clips[:: len(clips) // COMPARED_CLIPS][:COMPARED_CLIPS]
    dataset = ClipDataset(selected, make_views(config, selected, QuietLog(Path("."))))
    batch = collate([dataset[0, 0, i] for i in range(COMPARED_CLIPS)])
    batch = to_device(batch, torch.device("cpu"), config.data.normalize)
    features, logits = {}, {}
    for name, amp in (("float32", None), ("float16 stored", None), ("bf16", torch.bfloat16)):
        with torch.autocast("cpu", dtype=amp, enabled=amp is not None):
            frames = model.encode_frames(batch["face"], batch["context"])
        cached = [stream.float() if name == "float32" else stream.half().float() for stream in frames]
        features[name], logits[name] = torch.cat(cached), model.head(*cached).logits
    length = features["float32"].norm(dim=-1)
    results = {"spread of logits": round(float(logits["float32"].std()), 3)}
    for name in ("float16 stored", "bf16"):
        change = (features[name] - features["float32"]).norm(dim=-1) / length
        results[f"{name}: mean change of a feature, of its length"] = round(float(change.mean()), 5)
        results[f"{name}: largest change of a logit"] = round(float((logits[name] - logits["float32"]).abs().max()), 5)
    return results


def summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean score and its standard deviation over seeds, and the mean seconds of an epoch."""
    scores = [run["uar"] for run in runs]
    spread = stdev(scores) if len(scores) > 1 else 0.0
    seconds = mean(run["epoch_seconds"] for run in runs)
    return {"uar": round(mean(scores), 1), "spread": round(spread, 1), "epoch_seconds": round(seconds, 2)}


if __name__ == "__main__":
    sys.exit(main())
