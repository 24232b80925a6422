"""Run folders written by hand with known numbers, so that the content of a report is known."""

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from engine.config import make_config

NAMES = ("Neutrality", "Enjoyment", "Confusion")
CONFUSION = [[30, 10, 0], [5, 45, 0], [1, 2, 4]]  # recalls 75, 90 and 57.14 %; 97 clips; UAR 74.05
INTERVALS = {"level": 95.0, "resampled": "persons", "groups": 12, "replicates": 2000, "uar": [61.5, 83.25]}
INTERVALS |= {"war": [70.0, 88.0], "macro_f1": [60.0, 80.0]}
BINS = [
    {"low": 0.0, "high": 0.5, "count": 7, "confidence": 0.41, "accuracy": 0.4286},
    {"low": 0.5, "high": 1.0, "count": 90, "confidence": 0.93, "accuracy": 0.8},
]
CALIBRATION = {"ece": 11.5, "bins": BINS, "nll": 0.61, "brier": 0.31, "temperature": 1.75, "fitted_on": "val"}
RISK = {"coverage": [0.01, 0.5, 1.0], "risk": [0.0, 0.1, 0.186], "aurc": 0.08}
PERSONS = {"kind": "test person_shared", "text": "12 of 12 test persons are in train: the score is not on new persons"}
TWICE = "--use-weighted-sampler and --logit-adj both correct for class sizes: rare classes are favoured twice"
FEW = "test: few clips in some classes (Confusion 7), so one clip changes UAR by 4.76 points"
FACTS = {
    "warnings": [{"kind": "setting", "text": TWICE}, PERSONS, {"kind": "test few_clips", "text": FEW}],
    "data": {
        "train": {"clips": 383, "persons": 22, "classes": {"Neutrality": 150, "Enjoyment": 150, "Confusion": 83}},
        "test": {"clips": 97, "persons": 12, "classes": {"Neutrality": 40, "Enjoyment": 50, "Confusion": 7}},
    },
    "best": {"epoch": 2, "epochs": 3},
}


def class_metrics(names=NAMES, confusion=CONFUSION, *, is_new: bool = True, **more: Any) -> dict[str, Any]:
    """Metrics of a classifier; ``is_new``: with intervals and calibration, which older runs lack."""
    supports = [sum(row) for row in confusion]
    recalls = [100 * row[i] / n if (n := supports[i]) else None for i, row in enumerate(confusion)]
    known = [recall for recall in recalls if recall is not None]
    metrics: dict[str, Any] = {
        "uar": sum(known) / len(known),
        "war": 100 * sum(row[i] for i, row in enumerate(confusion)) / sum(supports),
        "macro_f1": 71.0,
        "per_class": {n: {"recall": r, "support": s} for n, r, s in zip(names, recalls, supports, strict=True)},
        "confusion": confusion,
        "classes": list(names),
        "absent_classes": [n for n, s in zip(names, supports, strict=True) if not s],
        "num_clips": sum(supports),
        "split": "test",
        "selected_on": "val",
    }
    if is_new:
        metrics |= {"intervals": INTERVALS, "calibration": CALIBRATION, "risk_coverage": RISK}
        for row in metrics["per_class"].values():
            row |= {"interval": [40.0, 100.0], "f1": 66.6, "f1_interval": None}
    return metrics | more


def write_run(
    folder: Path, metrics: dict[str, Any] | None = None, facts: dict[str, Any] | None = FACTS, **given: Any
) -> Path:
    """A run of three epochs; ``facts`` None: a run of an older version."""
    folder.mkdir(parents=True)
    config = asdict(make_config({"exper_name": "by hand", "epochs": 3, "train_annotation": "a/train.txt"} | given))
    put(folder / "config.json", config)
    metrics = class_metrics() if metrics is None else metrics
    put(folder / "metrics.json", metrics if facts is None else metrics | {"facts": facts})
    rows = [
        {"epoch": n, "train/loss": 3.0 / n, "val/loss": 6.0 / n, "train/uar": 20.0 * n, "val/uar": 10.0 * n}
        for n in (1, 2, 3)
    ]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    Image.new("RGB", (60, 40), "white").save(folder / "curves.png")
    write_predictions(folder / "predictions.csv")
    return folder


def write_predictions(path: Path, clips: int = 4) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["clip", "label"], *([f"clip {n}", NAMES[n % 3]] for n in range(clips))])


def write_mistakes(folder: Path) -> Path:
    """Write the mistakes of a run; the second one has no picture."""
    (folder / "mistakes").mkdir()
    Image.new("RGB", (454, 226), (200, 120, 40)).save(folder / "mistakes/mistake-01.jpg")
    first = {
        "clip": "Set/P1/7",
        "person": "Set/P1",
        "label": "Confusion",
        "predicted": "Enjoyment",
        "confidence": 0.934,
    }
    first |= {"p_true": 0.02, "file": "mistake-01.jpg", "why": ["surest", "class"]}
    second = first | {"clip": "Set/P2/9", "person": None, "confidence": 0.5, "file": None, "why": ["worst"]}
    put(folder / "mistakes/mistakes.json", {"note": "Drawn students.", "mistakes": [first, second]})
    return folder


def video_metrics() -> dict[str, Any]:
    expression = {"f1": 0.5, "per_class": {"Neutral": {"f1": 0.4, "support": 6}, "Anger": {"f1": None, "support": 0}}}
    expression |= {"confusion": [[3, 3], [0, 0]], "classes": ["Neutral", "Anger"], "num_frames": 6}
    bounds = {"resampled": "videos", "groups": 2, "expr_f1": [0.1, 0.9], "va_ccc_valence": [-0.4, -0.2]}
    va = {"ccc": -0.1, "ccc_valence": -0.3, "ccc_arousal": 0.1, "num_frames": 9}
    return {"va": va, "expr": expression, "score": 0.2, "fold": 0, "videos": 2, "frames": 11, "intervals": bounds}


def number_metrics() -> dict[str, Any]:
    bounds = {"resampled": "subjects", "groups": 6, "targets": {"withdrawal": {"ccc": [0.4, 0.8]}}}
    row = {"mae": 0.9, "rmse": 1.1, "pearson": 0.67, "ccc": 0.66}
    return {
        "targets": {"withdrawal": row | {"clips": 30}},
        "mean": row,
        "subjects": 6,
        "clips": 30,
        "intervals": bounds,
    }


def put(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def write_ablation(folder: Path, variant: str = "without MI") -> Path:
    """An ablation of two variants with two seeds; the second one has lost its last run."""
    score = {"war": 70.0, "war_sd": 1.0, "macro_f1": 69.0, "macro_f1_sd": 1.0}
    rows = []
    for name, changed, uars in (("base", "", (74.0, 76.0)), (variant, "--mi-loss-weight 0", (71.0, 70.0))):
        runs = [folder / name.replace(" ", "-") / f"seed-{seed}" for seed in (1, 2)]
        for run, uar in zip(runs, uars, strict=True):
            write_run(run, class_metrics(uar=uar))
        row = {"variant": name, "changed": changed, "seeds": [1, 2], "uar": sum(uars) / 2, "uar_sd": 1.414} | score
        row |= {"intervals": {"uar": [60.0, 85.0], "war": None, "macro_f1": None}, "runs": list(map(str, runs))}
        rows.append(row)
    difference = {"value": -4.5, "interval": [-8.0, -1.0], "p": 0.012, "p_holm": 0.024, "identical": False}
    rows[1] |= {"difference": {"uar": difference}, "verdict": "yes"}
    (Path(rows[1]["runs"][1]) / "metrics.json").unlink()
    notes = ["Scores on 97 clips in percent.", "warning: 2 persons are few"]
    ablation = {"rows": rows, "notes": notes, "left_out": ["left out, without IEC: no texts"]}
    put(folder / "config.json", {"run": {"exper_name": "parts", "mode": "ablate"}})
    put(folder / "ablation.json", ablation | {"split": "test", "selected_on": "val", "clips": 97, "runs": {}})
    return folder
