"""Untrained checkpoints of any family, and their ONNX files."""

from pathlib import Path
from typing import Any

from benchmarks.export import write_untrained
from dataloader.classes import load_classes
from main import main
from tests.support.tools import configure


def write_checkpoint(path: Path, options: dict[str, Any], **content: Any) -> Path:
    return write_untrained(path, configure(**options), load_classes("RAER"), **content)


def export_checkpoint(folder: Path, options: dict[str, Any], **content: Any) -> tuple[Path, Path]:
    """Return an untrained checkpoint and its ONNX file."""
    checkpoint = write_checkpoint(folder / "best.pt", options, **content)
    assert main(["--mode", "export", "--eval-checkpoint", str(checkpoint), "--output-dir", str(folder)]) == 0
    return checkpoint, folder / "best.onnx"
