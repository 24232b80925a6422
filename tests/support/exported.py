"""Checkpoints that nothing has trained, of any family, and the ONNX files of them."""

from pathlib import Path
from typing import Any

from benchmarks.export import write_untrained
from dataloader.classes import load_classes
from main import main
from tests.support.tools import configure


def write_checkpoint(path: Path, given: dict[str, Any], **more: Any) -> Path:
    return write_untrained(path, configure(**given), load_classes("RAER"), **more)


def export_checkpoint(folder: Path, given: dict[str, Any], **more: Any) -> tuple[Path, Path]:
    """A checkpoint, and what --mode export makes of it."""
    checkpoint = write_checkpoint(folder / "best.pt", given, **more)
    assert main(["--mode", "export", "--eval-checkpoint", str(checkpoint), "--output-dir", str(folder)]) == 0
    return checkpoint, folder / "best.onnx"
