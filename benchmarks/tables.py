"""Prints the Markdown tables of docs/performance.md and docs/backbones.md from measured results. Tests compare them.

python -m benchmarks.tables                # reads data.json, train.json and lora.json of benchmarks/results/
"""

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results")


def data_table(results: dict[str, Any]) -> str:
    """Return the table of benchmarks/results/data.json, without the plain loader's own rows."""
    lines = ["| variant | clips per second | speed-up | lowest to highest | mean pixel difference (of 255) |"]
    lines.append("|---|---|---|---|---|")
    for name, values in results["ways"].items():
        if not name.startswith("plain"):
            low, high = values["spread"]
            cells = [
                values["clips per second"],
                values["ratio"],
                f"{low} to {high}",
                results["differences"].get(name, ""),
            ]
            lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def training_table(results: dict[str, Any]) -> str:
    """Return the table of benchmarks/results/train.json."""
    lines = ["| what | speed-up | lowest to highest | in wall-clock time | seconds without | seconds with |"]
    lines.append("|---|---|---|---|---|---|")
    for batch, epochs in results.get("frozen", {}).items():
        for kind in ("float32", "bf16"):
            lines.append(row(f"frozen encoder, cached epoch, {batch}, {kind}", epochs[kind]))
    for name, values in results.get("full", {}).items():
        if "ratio" in values:
            lines.append(row(f"full fine-tuning step, {name}", values))
    for name, values in (results.get("parts", {}) | results.get("texts", {})).items():
        lines.append(row(name, values))
    if "evaluation" in results:
        lines.append(row("evaluation, 2 clips a pass", results["evaluation"]["float32"]))
    return "\n".join(lines)


def lora_table(results: dict[str, Any]) -> str:
    """Return the table of benchmarks/results/lora.json."""
    lines = [
        "| image tower | UAR | learning | of them in the tower | kept for the gradient | gradients and momentum | "
        "time of a step |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in results["costs"]["rows"].items():
        cells = [
            name,
            results["uar"][name],
            f"{row['learning']:,}",
            f"{row['learning in the image tower']:,}",
            f"{row['MB for the gradient']} MB",
            f"{row['MB of gradients and momentum']} MB",
            f"{row['of the step of all weights']:g}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def gpu_table(results: dict[str, Any]) -> str:
    """Return the table of benchmarks/results/gpu.json."""
    lines = [
        "| what | model | encoder | loop | type | clips per step | clips per second | of ceiling | waiting |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for values in results["rows"]:
        name = f"{values['of']}, {values['more']}" if values["more"] else values["of"]
        head = f"| {name} | {values['shape']} | {values['kind']} | {values['loop']} | {values['type']} |"
        if "failed" in values:
            lines.append(f"{head} | {values['failed']} | | |")
            continue
        shares = [values.get(key) for key in ("share_of_ceiling", "share_waiting_for_frames")]
        parts = ["" if share is None else f"{100 * share:.1f} %" for share in shares]
        lines.append(f"{head} {values['clips']} | {values['clips_per_second']} | {' | '.join(parts)} |")
    return "\n".join(lines)


def row(name: str, values: dict[str, float]) -> str:
    """Return one row of the training table."""
    spread = f"{values['lowest']:g} to {values['highest']:g}"
    times = f"{values['slow_seconds']:g} | {values['fast_seconds']:g}"
    return f"| {name} | {values['ratio']:g}x | {spread} | {values.get('by_the_clock', values['ratio']):g}x | {times} |"


def main() -> int:
    print(data_table(json.loads((RESULTS / "data.json").read_text(encoding="utf-8"))), end="\n\n")
    print(training_table(json.loads((RESULTS / "train.json").read_text(encoding="utf-8"))), end="\n\n")
    print(lora_table(json.loads((RESULTS / "lora.json").read_text(encoding="utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
