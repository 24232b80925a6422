"""Measures what --cache-features costs in score: the same trainings with and without it, over seeds.

    python -m benchmarks.cached_scores               # 3 seeds, 4 epochs of 245 clips; about 20 minutes on two cores
    python -m benchmarks.cached_scores --seeds 0     # only the precision of features, logits and scores; three minutes

The trainings use simulated students. The last epoch is scored, so no epoch is selected. A cached run samples one of two
stored variants of a clip (plain or mirrored); the other runs sample any angle and flip, so their training data varies
more. The command also measures how much bf16 changes the features, logits and scores of the shipped weights on the test
list, in a cache and in an evaluation, and its time. It prints one line for each run and writes
benchmarks/results/cached_scores.json.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.metrics import score
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
CLIPS = 15  # in one pass of the encoder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="data/raer-sim", help="folder of the simulated set (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds; they start at 1; 0 trains nothing")
    parser.add_argument("--epochs", type=int, default=4, help="epochs, at least 2: the first is not timed (default: 4)")
    parser.add_argument("--every", type=int, default=2, help="train on every Nth clip of the train list (default: 2)")
    parser.add_argument(
        "--compared", type=int, default=210, help="test clips on which precisions are compared (default: 210)"
    )
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
    out = Path(options.out)
    results = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    if options.seeds:
        rows = {kind: summary(results) for kind, results in runs.items()}
        results |= {"machine": describe_machine(), "epochs": options.epochs, "train_clips": train_clips}
        results |= {"rows": rows, "runs": runs}
        print(json.dumps(rows, indent=1))
    results["precision"] = precision(options.root, options.compared) | {"machine": describe_machine()}
    out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results["precision"], indent=1))
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
def precision(root: str, compared: int) -> dict[str, Any]:
    """Return how bf16 changes features, logits and scores of the shipped weights on the test list, and its time.

    ``cache in bf16``: bf16 features, stored as float16, and the rest in float32. ``all in bf16``: an evaluation with
    ``--amp bf16``.
    """
    opened = open_checkpoint(Path("weights/demo_best.pt"), {})
    config = evaluation_config(opened.content, {"root_dir": root})
    model = rebuild(opened.content, config).eval()
    clips = read_annotation(config.data.test_annotation, root, load_classes("RAER"))
    clips = clips[:: max(len(clips) // compared, 1)]
    dataset = ClipDataset(clips, make_views(config, clips, QuietLog(Path("."))))
    texts = model.encode_texts(model.classifies_with_soft_texts)
    features: dict[str, list[Tensor]] = {"float32": [], "bf16": []}
    logits: dict[str, list[Tensor]] = {
        kind: [] for kind in ("float32", "cache in float32", "cache in bf16", "all in bf16")
    }
    seconds = {"float32": 0.0, "bf16": 0.0}
    for first in range(0, len(clips), CLIPS):
        batch = collate([dataset[0, 0, i] for i in range(first, min(first + CLIPS, len(clips)))])
        batch = to_device(batch, torch.device("cpu"), config.data.normalize)
        for name in seconds:
            started = time.process_time()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bf16"):
                streams = model.encode_frames(batch["face"], batch["context"])
                seconds[name] += time.process_time() - started
                logits["all in bf16" if name == "bf16" else name].append(model.head(*streams, texts).logits.float())
            cached = [stream.half().float() for stream in streams]
            logits[f"cache in {name}"].append(model.head(*cached, texts).logits)
            features[name].append(torch.cat(streams).float())
    labels, names = np.array([clip.label for clip in clips]), load_classes("RAER").names
    exact = torch.cat(logits["float32"])
    change = (torch.cat(features["bf16"]) - torch.cat(features["float32"])).norm(dim=-1)
    results: dict[str, Any] = {"clips": len(clips), "spread of logits": round(float(exact.std()), 3)}
    results["bf16: mean change of a feature, of its length"] = round(
        float((change / torch.cat(features["float32"]).norm(dim=-1)).mean()), 5
    )
    results["encoder, time of bf16 as a share of float32"] = round(seconds["bf16"] / seconds["float32"], 2)
    results["encoder, seconds in float32"] = round(seconds["float32"], 1)
    for kind, parts in logits.items():
        values = torch.cat(parts)
        results[kind] = {
            "uar": round(score(labels, values.argmax(dim=-1).numpy(), names)["uar"], 2),
            "other predictions": int((values.argmax(dim=-1) != exact.argmax(dim=-1)).sum()),
            "largest change of a logit": round(float((values - exact).abs().max()), 5),
        }
    return results


def summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean score and its standard deviation over seeds, and the mean seconds of an epoch."""
    scores = [run["uar"] for run in runs]
    spread = stdev(scores) if len(scores) > 1 else 0.0
    seconds = mean(run["epoch_seconds"] for run in runs)
    return {"uar": round(mean(scores), 1), "spread": round(spread, 1), "epoch_seconds": round(seconds, 2)}


if __name__ == "__main__":
    sys.exit(main())
