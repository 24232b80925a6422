"""Clips a second on a GPU, and the share of what its matrix units can do: ours beside the published loop.

    python -m benchmarks.gpu                                   # ViT-B/32, B/16, L/14 with random weights
    python -m benchmarks.gpu --device cpu --shapes tiny --steps 2 --out FILE    # only that it runs

For each CLIP: a frozen encoder, cached features, and full fine-tuning; with the batch already on the device (compute)
and through the loader from uint8 in memory, as packed clips come (end to end; the published loop's loader hands over
floats). The ceiling is a large matrix product of the same type, timed in the same run; a step's operations are counted
by torch over its matrix products and attention. Prints a table; writes benchmarks/results/gpu.json.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain
from benchmarks.machine import describe_machine
from benchmarks.subject import FRAMES, SHAPES, Subject, labels, make_subject
from benchmarks.timing import time_of
from benchmarks.train import our_step
from dataloader.build import Loader, build_loader
from dataloader.sampling import ClipOrder
from engine.running import RunningScore

CLIPS = {"tiny": 2, "ViT-B/32": 32, "ViT-B/16": 16, "ViT-L/14": 8}  # a step
LARGE = {"cuda": 8192, "cpu": 512}  # side of the ceiling's matrices
KINDS = {"frozen": ["--lr-image-encoder", "0"], "cached": ["--lr-image-encoder", "0"], "full": []}
TYPES = {"float32": None, "bf16": torch.bfloat16}


def main() -> int:
    options = parse()
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        print("error: no CUDA GPU here; --device cpu --shapes tiny --steps 2 shows that it runs", file=sys.stderr)
        return 2
    ceilings = {name: ceiling(dtype or torch.float32, options.device) for name, dtype in TYPES.items()}
    rows = []
    for shape, kind in itertools.product(options.shapes, KINDS):
        rows += measure(shape, kind, ceilings, options)
        for row in rows[-len(TYPES) - 1 :]:
            print(described(row), flush=True)
    found = {
        "machine": describe_machine(options.device),
        "teraflops_of_matrix_product": {name: round(value / 1e12, 2) for name, value in ceilings.items()},
        "rows": rows,
        "from packs": "not measured",
    }
    Path(options.out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["ViT-B/32", "ViT-B/16", "ViT-L/14"])
    parser.add_argument("--steps", type=int, default=20, help="timed steps; the median counts")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--out", default="benchmarks/results/gpu.json")
    return parser.parse_args()


def ceiling(dtype: torch.dtype, device: str) -> float:
    """Operations a second of one large matrix product."""
    side = LARGE[torch.device(device).type]
    one, other = torch.randn(2, side, side, device=device).to(dtype)
    times = [time_of(partial(torch.matmul, one, other), device).wall for _ in range(12)]
    return 2 * side**3 / median(times[2:])


def measure(shape: str, kind: str, ceilings: dict[str, float], options: argparse.Namespace) -> list[dict[str, Any]]:
    """The published loop, then ours in each type, on the same weights and clips."""
    subject = make_subject(SHAPES[shape], "clip_caer", KINDS[kind], options.device)
    rows = [run(published(subject, options.device), "published", "float32", kind, shape, subject, ceilings, options)]
    for name, dtype in TYPES.items():
        rows.append(run(ours(subject, dtype), "ours", name, kind, shape, subject, ceilings, options))
    return rows


def published(subject: Subject, device: str) -> Any:
    model = subject.plain()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9, weight_decay=1e-4)

    def step(batch: dict[str, Any]) -> None:
        face, context = (batch[view].to(device).float() for view in ("face", "context"))
        plain.step(model, optimizer, face, context, batch["label"].to(device)).argmax().item()

    return step


def ours(subject: Subject, amp: torch.dtype | None) -> Any:
    task, optimizer = subject.task, subject.optimizer()
    task.model.train()
    seen = RunningScore(task.names)
    if amp is not None:
        task.model.lay_out_texts(amp)
    return lambda batch: our_step(subject, optimizer, batch, amp, seen)


def run(
    step: Any, whose: str, dtype: str, kind: str, shape: str, subject: Subject, ceilings: dict[str, float], options: Any
) -> dict[str, Any]:
    """One row; what does not fit into memory is said."""
    found = {"shape": shape, "kind": kind, "loop": whose, "type": dtype, "clips": CLIPS[shape]}
    with_features = kind == "cached" and whose == "ours"  # the published loop has no cache: its epochs are all alike
    try:
        batch = device_batch(subject, CLIPS[shape], with_features, whose, options.device)
        with FlopCounterMode(display=False) as counter:
            step(batch)
        compute = median([time_of(partial(step, batch), options.device).wall for _ in range(options.steps + 2)][2:])
        loader = host_loader(subject, CLIPS[shape], options, with_features, floats=whose == "published")
        whole = end_to_end(step, loader, options)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return found | {"failed": "out of memory"}
    achieved = counter.get_total_flops() / compute
    return found | {
        "compute_clips_per_second": round(CLIPS[shape] / compute, 1),
        "end_to_end_clips_per_second": round(CLIPS[shape] / whole, 1),
        "share_of_ceiling": round(achieved / ceilings[dtype], 3),
    }


def device_batch(subject: Subject, clips: int, with_features: bool, whose: str, device: str) -> dict[str, Any]:
    if with_features:
        drawn = torch.randn(2, clips, FRAMES, subject.shape.embed_dim, device=device)
        return {"face_features": drawn[0], "context_features": drawn[1], **labels(clips, device)}
    batch = subject.pixels(clips, device)
    if whose == "published":
        batch |= {view: batch[view].float() / 255 for view in ("face", "context")}
    return batch


class MemoryClips(Dataset):
    """Clips as they come out of a pack: views over bytes that are in memory."""

    def __init__(self, source: dict[str, Tensor], length: int, floats: bool) -> None:
        self.source, self.length, self.floats = source, length, floats

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        item: dict[str, Any] = {"label": key[2] % 5, "id": str(key[2]), "replaced_frames": 0}
        for name, stored in self.source.items():
            clip = stored[key[2] % len(stored)]
            item[name] = clip.float() / 255 if self.floats else clip.clone()
        return item


def host_loader(subject: Subject, clips: int, options: Any, with_features: bool, floats: bool) -> Loader:
    batch = device_batch(subject, 8, with_features, "ours", "cpu")
    source = {name: value for name, value in batch.items() if isinstance(value, Tensor) and name != "label"}
    length = clips * (options.steps + 2)
    dataset = MemoryClips(source, length, floats)
    workers = 0 if with_features or options.device == "cpu" else options.workers
    pinned = torch.device(options.device).type == "cuda"
    return build_loader(dataset, ClipOrder(length, 0), batch_size=clips, workers=workers, pin_memory=pinned)


def end_to_end(step: Any, loader: Loader, options: Any) -> float:
    """Seconds a step, the first two left out."""
    batches: Iterator[dict[str, Any]] = iter(loader)
    for _ in range(2):
        step(next(batches))
    return time_of(lambda: [step(batch) for batch in batches], options.device).wall / options.steps


def described(row: dict[str, Any]) -> str:
    head = f"{row['shape']}, {row['kind']}, {row['loop']}, {row['type']}, {row['clips']} clips a step"
    if "failed" in row:
        return f"{head}: {row['failed']}"
    return (
        f"{head}: {row['compute_clips_per_second']} clips/s, {row['end_to_end_clips_per_second']} end to end, "
        f"{100 * row['share_of_ceiling']:.1f} % of the ceiling"
    )


if __name__ == "__main__":
    sys.exit(main())
