"""``--mode export``: a checkpoint as one ONNX file, which needs neither torch nor the checkpoint to be run.

Pixels go in as uint8, logits come out: normalisation is inside, texts are constants, and what must be known of the
model (classes, frames, temperature) stands in the file's metadata.
"""

import dataclasses
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from apps.export.onnx_runner import INSTALL, METADATA, import_runtime, open_session, written_about
from apps.predict.runner import About
from apps.predict.torch_runner import TorchRunner, open_runner
from engine.checkpoints import open_checkpoint
from engine.checks import idle_flags
from engine.device import to_pixels
from engine.options import Config
from models.clip_caer import Texts
from utils.checkpoint import write_whole
from utils.errors import UserError, about
from utils.runlog import require_new

OPSET = 17  # the first with layer normalisation as one operation; onnxruntime 1.13 and later
LARGEST = 2**31 - 1  # bytes of one file, by its format
TOLERANCE = 1e-4
CHECKED = (1, 3)  # clips in a batch; it was traced with two


class Exportable(nn.Module):
    """(B, T, 3, S, S) uint8 of each stream → logits (B, C)."""

    def __init__(self, model: nn.Module, texts: Texts | None, about: About) -> None:
        super().__init__()
        self.model, self.texts, self.about = model, texts, about

    def forward(self, *squares: Tensor) -> Tensor:
        views = zip(self.about.views, squares, strict=True)
        pixels = {view: to_pixels(one, self.about.normalize) for view, one in views}
        return self.model(pixels.get("face"), pixels.get("context"), self.texts).logits


def export(config: Config, given: dict[str, Any]) -> Path:
    """Write the file, after its answers were compared with the checkpoint's."""
    if config.run.eval_checkpoint is None:
        raise UserError("--mode export needs --eval-checkpoint FILE")
    onnx = import_onnx()
    import_runtime()
    source = Path(config.run.eval_checkpoint)
    target = choose_target(config, source)
    runner = open_on_processor(config, given, source)
    for doubt in filter(None, (idle_flags(config, given), *runner.doubts)):
        print(f"warning: {doubt}")
    with about(source):
        content = with_metadata(onnx, trace(runner), runner.about)
        difference = compare(runner, content)
    write_whole(target, lambda temporary: temporary.write_bytes(content))
    print(describe(target, runner.about, difference))
    return target


def import_onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise UserError(f"onnx is not installed, which --mode export writes with: {INSTALL}") from None
    return onnx


def choose_target(config: Config, source: Path) -> Path:
    """Below --output-dir; never a file that is there."""
    folder = Path(config.run.output_dir or "outputs/exported")
    target = folder / f"{source.stem}.{config.video.format}"
    require_new(folder, [target])
    return target


def open_on_processor(config: Config, given: dict[str, Any], source: Path) -> TorchRunner:
    """In float32, whatever it will run on later."""
    if open_checkpoint(source, given).method.reads_features:
        raise UserError(f"{source}: answers for every frame, behind a second model; --mode export writes one for clips")
    run = dataclasses.replace(config.run, device="cpu", gpu=None)
    optim = dataclasses.replace(config.optim, amp="off")
    runner = open_runner(dataclasses.replace(config, run=run, optim=optim), given)
    runner.model.requires_grad_(False)
    return runner


def trace(runner: TorchRunner) -> bytes:
    """The graph, for any number of clips.

    By the tracing exporter: it needs no further package and takes seconds, the other ten times as long for a file that
    is no faster. What a trace may miss, ``compare`` finds.
    """
    names, output, batch = list(runner.about.views), output_name(runner.about), {0: "batch"}
    file = io.BytesIO()
    model = Exportable(runner.model, runner.texts, runner.about).eval()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(map(torch.from_numpy, draw(runner.about, 2))),
            file,
            dynamo=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[output],
            dynamic_axes={name: batch for name in (*names, output)},
        )
    if file.tell() > LARGEST:
        raise UserError(f"{file.tell() / 1e9:.1f} GB as a graph; one ONNX file holds 2 GB")
    return file.getvalue()


def output_name(told: About) -> str:
    return "logits" if told.names else "numbers"


def draw(told: About, B: int) -> list[np.ndarray]:
    """Random pixels of every stream."""
    rng = np.random.default_rng(B)
    shape = (B, told.frames, 3, told.size, told.size)
    return [rng.integers(256, size=shape, dtype=np.uint8) for _ in told.views]


def with_metadata(onnx: Any, content: bytes, told: About) -> bytes:
    """The graph with what must be known of it."""
    model = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(model, {METADATA: written_about(told)})
    return model.SerializeToString()


def compare(runner: TorchRunner, content: bytes) -> float:
    """The largest difference of an answer from the checkpoint's; one above the tolerance ends the export."""
    session, largest = open_session(content), 0.0
    for B in CHECKED:
        squares = dict(zip(runner.about.views, draw(runner.about, B), strict=True))
        own = runner(squares.get("face"), squares.get("context"))
        largest = max(largest, float(np.abs(session.run(None, squares)[0] - own).max()))
    if not largest <= TOLERANCE:
        raise UserError(f"onnxruntime differs by {largest:.2g}, more than {TOLERANCE:.0e}; nothing is written")
    return largest


def describe(target: Path, told: About, difference: float) -> str:
    """What was written, and how it is used."""
    shape = f"(batch, {told.frames}, 3, {told.size}, {told.size}) uint8"
    return "\n".join(
        [
            f"written: {target} ({target.stat().st_size / 1e6:.1f} MB)",
            f"reads       {', '.join(told.views)}: {shape} each",
            f"answers     {output_name(told)} (batch, {len(told.columns)}) of {', '.join(told.names or told.numbers)}",
            f"checked     differs from the checkpoint by {difference:.1e} at most (onnxruntime, random pixels)",
            f"use it      python main.py --mode predict --onnx {target} --input VIDEO",
        ]
    )
