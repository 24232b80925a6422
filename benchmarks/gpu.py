"""Measures clips per second on a GPU: the training step and the published loop, with and without loading of frames.

    python -m benchmarks.gpu                     # about ten minutes on one GPU
    python -m benchmarks.gpu --dry               # runs every row on a CPU, with tiny models: under a minute

Compute rows: the batch is in memory. Models are ViT-B/32, B/16 and L/14 with random weights; the image encoder is fully
fine-tuned, corrected by LoRA, frozen, or replaced by cached features. The published loop runs in float32 and under
autocast; the training step of this project runs in float32, with --tf32, in bf16 and in fp16 with the gradient scaler,
which is the default recipe. The ceiling is a large matrix product of the same type in the same run; torch counts the
operations of a step.
End-to-end rows: 100 steps of the default recipe from simulated JPEGs of 1920x1080 and from packs of them, through the
training's loader, and the share of time spent waiting for frames.

The most important rows come first. When the time of --minutes is over, the remaining rows are reported as not measured.
The file is written after every row. Writes benchmarks/results/gpu.json and prints the table of docs/performance.md.
"""

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain
from benchmarks.machine import describe_machine
from benchmarks.plain_data import load_clip
from benchmarks.subject import FRAMES, SHAPES, Subject, labels, make_subject
from benchmarks.tables import gpu_table
from benchmarks.timing import time_of
from dataloader import pack
from dataloader.annotation import Clip, read_annotation
from dataloader.classes import load_classes
from dataloader.clips import Views, boxes_of, indexes_of
from dataloader.loader import Loader, build_loader
from dataloader.sampling import ClipOrder
from dataloader.transforms import sample_augmentation
from engine.clip_predict import passes
from engine.config import read_command
from engine.data import make_views, training_loader
from engine.device import seed_everything, use_device
from engine.options import Config
from engine.session import Session
from engine.waiting import TimedLoader
from simulate import Settings, write_set
from utils.runlog import QuietLog

Train = Callable[[dict[str, Any]], Any]
CLIPS = {"tiny": 2, "ViT-B/32": 32, "ViT-B/16": 16, "ViT-L/14": 8}  # clips per step in the compute rows
LARGE = {"cuda": 8192, "cpu": 512}  # rows and columns of the ceiling's matrices
FROZEN = ["--lr-image-encoder", "0"]
KINDS = {"full": [], "LoRA": [*FROZEN, "--lora-rank", "8"], "frozen": FROZEN, "cached": FROZEN}
TYPES = {"float32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
LOOP_TYPES = {"published": ("float32", "fp16"), "ours": tuple(TYPES)}
RECIPE = ["--adapter", "published"]  # added to recipes/advanced.args, as in the published loop
SWITCHES = {"--grad-checkpointing": {"grad_checkpointing": True}, "--compile": {"compile": True}}
EVALUATION_CLIPS = (8, 64, 256)  # clips in one pass


@dataclass(frozen=True)
class Row:
    """One measurement. ``of`` is ``compute``, ``evaluation``, ``JPEG`` or ``pack``; ``more`` holds additional flags.

    The fields are the keys of the result file.
    """

    of: str
    shape: str
    kind: str
    loop: str
    type: str
    more: str = ""


def main() -> int:
    options = parse()
    if options.dry:
        options.device, options.shapes, options.steps, options.loaded_steps = "cpu", ["tiny"], 1, 2
    elif not torch.cuda.is_available():
        print("error: no CUDA GPU here; --dry shows that all of it runs", file=sys.stderr)
        return 2
    device = torch.device(options.device)
    use_device(device)
    seed_everything(0, deterministic=False)
    started, out, rows = time.time(), Path(options.out), []
    ceilings = {name: ceiling(name, device) for name in TYPES}
    result = {
        "machine": describe_machine(options.device),
        "dry": options.dry,
        "teraflops_of_matrix_product": {name: round(value / 1e12, 2) for name, value in ceilings.items()},
        "rows": rows,
    }
    with tempfile.TemporaryDirectory() as folder:
        data_set = SimulatedSet(Path(folder), options)
        for row in planned_rows(options):
            is_late = time.time() - started > 60 * options.minutes
            figures = {"failed": "not measured: no time left"} if is_late else measure(row, data_set, options)
            rows.append(vars(row) | figures)
            if "teraflops" in rows[-1]:
                share = rows[-1].pop("teraflops") * 1e12 / ceilings[row.type]
                rows[-1]["share_of_ceiling"] = round(share, 3)
            print(json.dumps(rows[-1]), flush=True)
            content = result | {"seconds": round(time.time() - started)}
            out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(gpu_table(result))
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0", help="torch device (default: %(default)s)")
    vits = ["ViT-B/32", "ViT-B/16", "ViT-L/14"]
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=vits, help="model sizes (default: three ViTs)")
    parser.add_argument("--steps", type=int, default=10, help="steps per timing in a compute row (default: 10)")
    parser.add_argument("--loaded-steps", type=int, default=100, help="timed steps of an end-to-end row (default: 100)")
    parser.add_argument("--workers", default="auto", help="loader processes, as for main.py (default: auto)")
    parser.add_argument("--minutes", type=float, default=10.0, help="time after which no row starts (default: 10)")
    parser.add_argument("--dry", action="store_true", help="run every row on the CPU with tiny models")
    parser.add_argument("--out", default="benchmarks/results/gpu.json", help="result file (default: %(default)s)")
    return parser.parse_args()


def planned_rows(options: argparse.Namespace) -> Iterator[Row]:
    """Yield the default recipe from data to update, then the rows that explain its speed, then larger models."""
    first, *larger = options.shapes
    yield Row("compute", first, "full", "ours", "fp16")
    for source in ("JPEG", "pack"):
        yield Row(source, first, "full", "ours", "fp16")
    yield Row("JPEG", first, "full", "published", "fp16")
    yield Row("pack", first, "full", "ours", "fp16", "--augment device")
    for kind in KINDS:
        yield from compute_rows(first, kind, skip=("ours", "fp16") if kind == "full" else None)
    for switch in SWITCHES:
        yield Row("compute", first, "full", "ours", "fp16", switch)
    for clips in EVALUATION_CLIPS:
        yield Row("evaluation", first, "full", "ours", "fp16", f"--eval-batch-size {clips}")
    for shape in larger:
        for kind in KINDS:
            yield from compute_rows(shape, kind)


def compute_rows(shape: str, kind: str, skip: tuple[str, str] | None = None) -> Iterator[Row]:
    """Yield the compute rows of both loops in every type, without the row ``skip`` (loop, type)."""
    for loop, types in LOOP_TYPES.items():
        if kind == "LoRA" and loop == "published":  # which has none
            continue
        yield from (Row("compute", shape, kind, loop, name) for name in types if (loop, name) != skip)


def ceiling(type_name: str, device: torch.device) -> float:
    """Return the operations per second of one large matrix product."""
    use_device(device, tf32=type_name == "tf32")
    size, dtype = LARGE[device.type], TYPES[type_name] or torch.float32
    first, second = torch.randn(2, size, size, device=device).to(dtype)
    times = [time_of(partial(torch.matmul, first, second), str(device)).wall for _ in range(6)]
    use_device(device)
    return 2 * size**3 / median(times[2:])


def measure(row: Row, data_set: "SimulatedSet", options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of one row, or the reason of a failure: out of memory, or not compiled."""
    device = torch.device(options.device)
    use_device(device, tf32=row.type == "tf32")
    measures = {"compute": compute, "evaluation": evaluation, "JPEG": end_to_end, "pack": end_to_end}
    try:
        subject = make_subject(SHAPES[row.shape], "advanced", [*RECIPE, *KINDS[row.kind]], options.device)
        return measures[row.of](row, subject, data_set, options)
    except torch.OutOfMemoryError:
        return {"failed": "out of memory"}
    except RuntimeError as error:
        if row.more != "--compile":
            raise
        return {"failed": f"not compiled ({str(error).splitlines()[0][:80]})"}
    finally:
        use_device(device)
        if device.type == "cuda":
            torch.cuda.empty_cache()


def compute(row: Row, subject: Subject, data_set: "SimulatedSet", options: argparse.Namespace) -> dict[str, Any]:
    """Measure steps on a batch in memory. No step waits for the GPU unless its own code does."""
    device, clips = options.device, CLIPS[row.shape]
    # A dry run does not compile, which takes minutes.
    switches = SWITCHES.get(row.more, {}) if not options.dry or row.more != "--compile" else {}
    batch = batch_in_memory(row, subject, clips, device)
    # Operations are counted without switches: what checkpointing computes twice is no useful work.
    with FlopCounterMode(display=False) as counter:
        trainer(row, subject, {})(batch)
    train_on = trainer(row, subject, switches)
    repeat(train_on, batch, 3)
    if switches.get("compile") and not counters["stats"]["unique_graphs"]:
        return {"failed": "torch compiled nothing"}
    steps = partial(repeat, train_on, batch, options.steps)
    seconds = median(time_of(steps, device).wall for _ in range(3)) / options.steps
    return {
        "clips": clips,
        "clips_per_second": round(clips / seconds, 1),
        "teraflops": counter.get_total_flops() / seconds / 1e12,
    }


def repeat(train_on: Train, batch: dict[str, Any], count: int) -> None:
    for _ in range(count):
        train_on(batch)


def trainer(row: Row, subject: Subject, switches: dict[str, Any]) -> Train:
    """Return the function that trains on one batch, of this project or of the published loop."""
    return subject.training(TYPES[row.type], **switches) if row.loop == "ours" else published(row, subject)


def published(row: Row, subject: Subject) -> Train:
    """Return the published step. It reads the accuracy from the GPU after each batch."""
    model, amp, loss = subject.plain(), TYPES[row.type], subject.config.loss
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9, weight_decay=1e-4)
    scaler = None if amp is None else torch.amp.GradScaler(subject.device.type)
    weights = {"mi": loss.mi_loss_weight, "dc": loss.dc_loss_weight}

    def train_on(batch: dict[str, Any]) -> None:
        face, context, label = (batch[name].to(subject.device) for name in ("face", "context", "label"))
        logits = plain.step(model, optimizer, face, context, label, amp=amp, scaler=scaler, **weights)
        (logits.argmax(dim=1) == label).sum().item()

    return train_on


def batch_in_memory(row: Row, subject: Subject, clips: int, device: str) -> dict[str, Any]:
    """Return bytes for this project and floats for the published loop, which has no cache of features."""
    if row.kind == "cached" and row.loop == "ours":
        face, context = torch.randn(2, clips, FRAMES, subject.shape.embed_dim, device=device)
        return {"face_features": face, "context_features": context, **labels(clips)}
    batch = subject.pixels(clips, device)
    if row.loop == "published":
        batch |= {view: batch[view].float() / 255 for view in ("face", "context")}
    return batch


def evaluation(row: Row, subject: Subject, data_set: "SimulatedSet", options: argparse.Namespace) -> dict[str, Any]:
    """Measure an evaluation pass from bytes in host memory to logits, with batches of 8 clips as from the loader."""
    clips, task = int(row.more.split()[-1]) if not options.dry else 3, subject.task
    batches = [subject.pixels(min(8, clips)) for _ in range(-(-clips // 8))]
    if subject.device.type == "cuda":
        batches = [{k: v.pin_memory() if isinstance(v, Tensor) else v for k, v in batch.items()} for batch in batches]
    session = Session(subject.device, TYPES[row.type], QuietLog(Path(".")))
    task.model.eval()

    @torch.inference_mode()
    def predict() -> None:
        torch.cat(passes(task, batches, subject.config, session)).cpu()

    with torch.inference_mode():
        task.fix_texts()
    seconds = median(time_of(predict, options.device).wall for _ in range(5))
    return {"clips": task.clips_that_fit or clips, "clips_per_second": round(clips / seconds, 1)}


def end_to_end(row: Row, subject: Subject, data_set: "SimulatedSet", options: argparse.Namespace) -> dict[str, Any]:
    """Measure steps of the recipe's batch size with batches from the loader.

    The first steps are slow, and meanwhile the workers fill their queues. As many batches as fit there are not timed.
    """
    config = data_set.config(row, subject)
    clips, batch_size = data_set.clips(config), config.optim.batch_size
    ahead = 2 + 2 * config.run.workers
    count = batch_size * (options.loaded_steps + ahead)
    repeated_clips = (clips * (1 + count // len(clips)))[:count]
    session = Session(subject.device, TYPES[row.type], QuietLog(Path(".")))
    views = data_set.views(config, clips)
    if row.loop == "ours":
        loader, _ = training_loader(config, repeated_clips, views, 5, session)
    else:
        loader = plain_loader(repeated_clips, views, batch_size, config.run.workers, session.pin_memory)
    timed, train_on = TimedLoader(loader), trainer(row, subject, {})
    batches = iter(timed)
    for _ in range(ahead):
        train_on(next(batches))
    timed.seconds_waiting = 0.0
    seconds = time_of(lambda: [train_on(batch) for batch in batches], options.device).wall
    return {
        "clips": batch_size,
        "clips_per_second": round(batch_size * options.loaded_steps / seconds, 1),
        "share_waiting_for_frames": round(timed.seconds_waiting / seconds, 3),
        "workers": config.run.workers,
    }


class SimulatedSet:
    """Simulated students at 1920x1080 on disk, and packs of them, written at their first use."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.size = (1920, 1080, 48) if not options.dry else (160, 120, 12)  # width, height, clips

    def flags(self) -> list[str]:
        """Return the flags that name the set, which is written if it is missing."""
        root = self.folder / "set"
        if not root.exists():
            width, height, clips = self.size
            settings = Settings(clips=clips, persons=6, frames=FRAMES, width=width, height=height)
            write_set(root, settings)
        boxes = ["--bounding-box-face", "annotation/face.json", "--bounding-box-body", "annotation/body.json"]
        return ["--root-dir", str(root), "--train-annotation", "annotation/train.txt", *boxes]

    def config(self, row: Row, subject: Subject) -> Config:
        """Return the configuration of an end-to-end row."""
        size = ["--image-size", str(subject.shape.image_size)]
        words = ["@recipes/advanced.args", *RECIPE, *size, "--select-on", "last", "--workers", self.options.workers]
        if row.of == "pack":
            words += ["--pack", self.pack(size), *row.more.split()]
        return read_command([*words, *self.flags()])[1]

    def pack(self, size: list[str]) -> str:
        """Return the folder of the pack, which is written if it is missing."""
        out = self.folder / "pack"
        if not out.exists():
            with contextlib.redirect_stdout(io.StringIO()):
                if pack.main(["--out", str(out), *size, *self.flags()]):
                    raise RuntimeError("the pack was not written")
        return str(out)

    def clips(self, config: Config) -> list[Clip]:
        return read_annotation(config.data.train_annotation, config.data.root_dir, load_classes("RAER"))

    def views(self, config: Config, clips: list[Clip]) -> Views:
        return make_views(config, clips, QuietLog(Path(".")))


class PlainClips(Dataset):
    """Clips as the published loader reads them: PIL opens every frame for each stream, and items are floats."""

    def __init__(self, clips: list[Clip], views: Views) -> None:
        self.clips, self.views = clips, views

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, Any]:
        clip, rng = self.clips[key[2]], np.random.default_rng(key)
        indexes = indexes_of(clip, replace(self.views, sampling="published"), rng, training=True)
        faces, body = boxes_of(clip, self.views)
        augmentations = [sample_augmentation(rng) for _ in range(2)]
        pixels = load_clip(
            [clip.frame_path(i) for i in indexes],
            [faces[i] for i in indexes],
            body,
            self.views.size,
            tuple(augmentation.angle for augmentation in augmentations),
            tuple(augmentation.flip for augmentation in augmentations),
        )
        face, context = (torch.from_numpy(view).float() / 255 for view in pixels)
        return {"face": face, "context": context, "label": clip.label, "id": clip.id, "replaced_frames": 0}


def plain_loader(clips: list[Clip], views: Views, batch_size: int, workers: int, pin: bool) -> Loader:
    order = ClipOrder(len(clips), 0)
    return build_loader(PlainClips(clips, views), order, batch_size=batch_size, workers=workers, pin_memory=pin)


if __name__ == "__main__":
    sys.exit(main())
