"""Compares training with the published loop: cached epochs, the full step, its parts, evaluation and start-up.

    python -m benchmarks.train                       # ViT-B/32 shapes, random weights; about 8 minutes on two cores
    python -m benchmarks.train --shapes tiny --rounds 1 --out FILE     # a quick test that everything runs

Every figure is a ratio to benchmarks/plain.py, or to the step without the part, with the same weights and clips in the
same run. Variants take turns, and the median of the rounds is reported. Writes benchmarks/results/train.json, from
which the table in docs/performance.md is made.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks import parts, plain, start
from benchmarks.machine import describe_machine
from benchmarks.subject import SHAPES, Subject, cached_loader, labels, make_subject
from benchmarks.tables import training_table
from benchmarks.timing import ratio_of, take_turns
from engine.checkpoints import model_config, open_checkpoint, rebuild
from engine.device import to_device

TRAINING_CLIPS = 2241  # in RAER
CLIPS = 8  # clips on which the published image tower is timed; its time per batch is in proportion


def main() -> int:
    options, started = parse(), time.time()
    shape = SHAPES[options.shapes]
    out = Path(options.out)
    results: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if options.only and out.exists() else {}
    results |= {"machine": describe_machine(), "shapes": options.shapes, "rounds": options.rounds}
    rounds, frozen = options.rounds, ["--lr-image-encoder", "0"]
    measures = {
        "frozen": lambda: frozen_epochs(make_subject(shape, "clip_caer", frozen), rounds),
        "parts": lambda: parts.measure(shape, rounds, options.compile),
        "texts": lambda: parts.packed_texts(shape, rounds),
        "full": lambda: full_step(make_subject(shape, "clip_caer", []), rounds),
        "evaluation": lambda: evaluation(make_subject(shape, "advanced", ["--adapter", "published"]), rounds),
        "start": lambda: start.measure(shape),
    }
    for name in options.only or measures:
        results[name] = measures[name]()
        results[f"seconds of {name}"] = round(time.time() - started)
        # The file is written after each part, so that an interrupted run keeps its results.
        out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(training_table(results))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["frozen", "parts", "texts", "full", "evaluation", "start"]
    parser.add_argument("--shapes", choices=SHAPES, default="ViT-B/32", help="model size (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (default: 3)")
    parser.add_argument("--only", nargs="+", choices=names, help="measurements to repeat (default: all)")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="also measure --compile")
    parser.add_argument("--out", default="benchmarks/results/train.json", help="result file (default: %(default)s)")
    return parser.parse_args()


def frozen_epochs(subject: Subject, rounds: int) -> dict[str, Any]:
    """Measure the training part of an epoch after the first. Features are cached, but not in the published loop."""
    return {f"batch {B}": frozen_epoch(subject, B, rounds) for B in (8, 64)}


def frozen_epoch(subject: Subject, B: int, rounds: int) -> dict[str, Any]:
    """Measure an epoch with batches of ``B`` clips in float32 and in bf16."""
    model = subject.plain()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-4)
    trainings = {"float32": subject.training(), "bf16": subject.training(torch.bfloat16)}
    floats = {name: view.float() / 255 for name, view in subject.pixels(CLIPS).items() if name in ("face", "context")}
    features = torch.randn(2, B, 16, subject.shape.embed_dim)
    loader = cached_loader(subject.shape, 3 * B, B)  # an epoch of three steps

    def epoch(train_on: Any) -> None:
        for batch in loader:
            train_on(batch)

    work = {
        "images": lambda: (model.frames(floats["face"]), model.frames(floats["context"])),
        "rest": lambda: plain.step(model, optimizer, *features, labels(B)["label"]),
        "float32": lambda: epoch(trainings["float32"]),
        "bf16": lambda: epoch(trainings["bf16"]),
        "text pass": lambda: text_pass(subject),
    }
    # A warm-up would take minutes. The median ignores a slow first round.
    seconds = take_turns(work, rounds, warm=False)
    published = [i.scaled(B / CLIPS).plus(r) for i, r in zip(seconds["images"], seconds["rest"], strict=True)]
    steps = TRAINING_CLIPS / B
    results: dict[str, Any] = {}
    for name in ("float32", "bf16"):
        per_step = [s.scaled(1 / len(loader)) for s in seconds[name]]
        results[name] = ratio_of(published, per_step) | {"epoch_seconds": round(median(per_step).computed * steps, 1)}
    results["published_epoch_seconds"] = round(median(published).computed * steps)
    results["share_of_text_pass"] = round(median(seconds["text pass"]).computed / results["float32"]["fast_seconds"], 2)
    return results


def text_pass(subject: Subject) -> None:
    """Pass the learnable prompts through the text tower, forward and backward."""
    subject.task.model.encode_texts().soft.sum().backward()
    subject.task.model.zero_grad(set_to_none=True)


def full_step(subject: Subject, rounds: int) -> dict[str, Any]:
    """Measure a step of one clip in which every tensor of the image tower is trained."""
    batch, task, model = subject.pixels(1), subject.task, subject.plain()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9, weight_decay=1e-4)
    in_float32, in_bf16 = subject.training(), subject.training(torch.bfloat16)
    pixels = batch["face"].float() / 255, batch["context"].float() / 255

    def checkpointed() -> None:
        task.model.image_encoder.transformer.checkpointing = True
        in_float32(batch)
        task.model.image_encoder.transformer.checkpointing = False

    def published(forwards: int) -> None:
        for _ in range(forwards - 1):
            model.forward(*pixels)
        plain.step(model, optimizer, *pixels, batch["label"])

    work = {
        "published": lambda: published(1),
        "published, second forward pass": lambda: published(2),
        "float32": lambda: in_float32(batch),
        "bf16": lambda: in_bf16(batch),
        "grad-checkpointing": checkpointed,
    }
    # A warm-up would take minutes. The median ignores a slow first round.
    seconds = take_turns(work, rounds, warm=False)
    names = [name for name in work if name != "published"]
    return {name: ratio_of(seconds["published"], seconds[name]) for name in names} | {
        "kept for the gradient, MB": parts.activation_memory(task.model.image_encoder, subject.shape)
    }


def evaluation(subject: Subject, rounds: int) -> dict[str, Any]:
    """Measure a pass of two clips. The published pass encodes all texts each time, ours once for all batches."""
    task, model = subject.task, subject.plain(dropout=0.0)
    batch = subject.pixels(2)
    pixels = batch["face"].float() / 255, batch["context"].float() / 255
    task.model.eval()

    @torch.no_grad()
    def published_logits() -> Tensor:
        return model.forward(*pixels)[0]

    @torch.inference_mode()
    def our_logits() -> Tensor:
        return task.predictions(task.forward(to_device(batch, torch.device("cpu"), "none")))

    with torch.inference_mode():
        task.fix_texts()
    seconds = take_turns({"published": published_logits, "ours": our_logits}, rounds)
    logits = our_logits()
    return {
        "float32": ratio_of(seconds["published"], seconds["ours"]),
        "largest difference of logits": float((published_logits() - logits).abs().max()),
        **float16_difference(),
    }


@torch.inference_mode()
def float16_difference() -> dict[str, float]:
    """Return how the float16 rounding of a cache changes the logits of the shipped weights on random pixels."""
    opened = open_checkpoint(Path("weights/demo_best.pt"), {})
    model = rebuild(opened.content, model_config(opened.content, {})).eval()
    features = model.encode_frames(*torch.rand(2, 4, 16, 3, 112, 112))
    exact, rounded = (model.head(*(f.to(kind).float() for f in features)).logits for kind in (torch.float, torch.half))
    return {
        "demo weights, largest difference of logits from float16 features": float((rounded - exact).abs().max()),
        "demo weights, spread of logits": float(exact.std()),
    }


if __name__ == "__main__":
    sys.exit(main())
