"""``--mode export``: write a checkpoint as one ONNX file, which runs without torch and without the checkpoint.

The graph maps uint8 pixels to logits: it includes normalisation, and texts are constants. The facts about the model
(classes, frames, temperature) are in the metadata of the file.
"""

import dataclasses
import io
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from apps.predict.runners import INSTALL, ModelInfo, import_runtime, open_session, run_clips, write_metadata
from apps.predict.torch_runner import TorchRunner, open_runner
from engine.checkpoints import open_checkpoint
from engine.checks import idle_flags
from engine.device import statistics_of, to_pixels
from engine.options import Config
from models.clip_caer import Texts
from utils.checkpoint import write_whole
from utils.checksum import seal
from utils.command import python_name
from utils.errors import UserError, about
from utils.runlog import require_new

OPSET = 17  # the first with layer normalisation as one operation; onnxruntime 1.13 and later
LARGEST = 2**31 - 1  # bytes; limit of the format for one file
TOLERANCE = 1e-4
TRACED_BATCH, CHECKED_BATCHES = 2, (1, 3)


class Exportable(nn.Module):
    """Returns logits (B, C) of uint8 pixels (B, T, 3, S, S) of each stream."""

    def __init__(self, model: nn.Module, texts: Texts | None, info: ModelInfo) -> None:
        super().__init__()
        self.model, self.texts, self.info = model, texts, info

    def forward(self, *streams: Tensor) -> Tensor:
        pixels = {
            view: to_pixels(squares, self.info.normalize, statistics_of(self.model))
            for view, squares in zip(self.info.views, streams, strict=True)
        }
        return self.model(pixels.get("face"), pixels.get("context"), self.texts).logits


def export(config: Config, flags: dict[str, Any]) -> Path:
    """Write the file if its outputs equal those of the checkpoint; return its path."""
    import_onnx()
    import_runtime()
    source = Path(config.run.eval_checkpoint)
    folder = Path(config.run.output_dir or "outputs/exported")
    target = folder / f"{source.stem}.{config.video.format or 'onnx'}"
    require_new(folder, [target])
    runner = open_on_cpu(config, flags, source)
    for warning in filter(None, (idle_flags(config, flags), *runner.warnings)):
        print(f"warning: {warning}")
    with about(source):
        print("step 1 of 2  building the graph; minutes for a large model", flush=True)
        content = trace(runner)
        print(f"step 2 of 2  comparing {len(content) / 1e6:.1f} MB with the checkpoint", flush=True)
        difference = compare(runner, content)
    write_whole(target, lambda temporary: write_sealed(content, temporary))
    info, shape = runner.info, f"(batch, {runner.info.frames}, 3, {runner.info.size}, {runner.info.size}) uint8"
    print(f"written: {target} ({target.stat().st_size / 1e6:.1f} MB)")
    print(f"reads       {', '.join(info.views)}: {shape} each")
    print(f"answers     {info.output} (batch, {len(info.columns)}) of {', '.join(info.names or info.numbers)}")
    print(f"checked     differs from the checkpoint by {difference:.1e} at most (onnxruntime, random pixels)")
    print(f"use it      {python_name()} main.py --mode predict --onnx {shlex.quote(str(target))} --input VIDEO")
    return target


def write_sealed(content: bytes, path: Path) -> None:
    """Write a graph and fill in the checksum in its metadata."""
    path.write_bytes(content)
    seal(path)


def import_onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise UserError(f"onnx is not installed, but --mode export needs it: {INSTALL}") from None
    return onnx


def open_on_cpu(config: Config, flags: dict[str, Any], source: Path) -> TorchRunner:
    """Return the checkpoint's runner in float32 on the CPU; the exported file can run elsewhere."""
    if open_checkpoint(source, flags).method.reads_features:
        raise UserError(f"{source}: needs the features of another model; --mode export writes models of clips")
    run = dataclasses.replace(config.run, device="cpu", gpu=None)
    optim = dataclasses.replace(config.optim, amp="off")
    runner = open_runner(dataclasses.replace(config, run=run, optim=optim), flags)
    runner.model.requires_grad_(False)
    return runner


def trace(runner: TorchRunner) -> bytes:
    """Return the graph, for any number of clips, with the facts about the model.

    The tracing exporter needs no other package and takes seconds; the newer one takes ten times as long, and its files
    are not faster. ``compare`` detects what a trace may have missed.
    """
    names, output, batch = list(runner.info.views), runner.info.output, {0: "batch"}
    file, examples = io.BytesIO(), random_clips(runner.info, TRACED_BATCH)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Exportable(runner.model, runner.texts, runner.info).eval(),
            tuple(map(torch.from_numpy, examples.values())),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[output],
            dynamic_axes={name: batch for name in (*names, output)},
        )
    if file.tell() > LARGEST:
        raise UserError(f"the graph has {file.tell() / 1e9:.1f} GB; one ONNX file can hold 2 GB")
    onnx = import_onnx()
    graph = onnx.load_model_from_string(file.getvalue())
    onnx.helper.set_model_props(graph, write_metadata(runner.info))
    return graph.SerializeToString()


def random_clips(info: ModelInfo, B: int) -> dict[str, np.ndarray]:
    """Return random pixels (B, T, 3, S, S) uint8 for every stream."""
    rng = np.random.default_rng(B)
    shape = (B, info.frames, 3, info.size, info.size)
    return {view: rng.integers(256, size=shape, dtype=np.uint8) for view in info.views}


def compare(runner: TorchRunner, content: bytes) -> float:
    """Return the largest difference of outputs from the checkpoint; raise a UserError above the tolerance."""
    session, largest = open_session(content), 0.0
    for B in CHECKED_BATCHES:
        clips = random_clips(runner.info, B)
        expected = run_clips(runner, clips.get("face"), clips.get("context"))
        largest = max(largest, float(np.abs(session.run(None, clips)[0] - expected).max()))
    if not largest <= TOLERANCE:
        raise UserError(f"onnxruntime differs by {largest:.2g}, more than {TOLERANCE:.0e}; nothing is written")
    return largest
