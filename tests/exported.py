"""Checkpoints that nothing has trained, of any family, and the ONNX files of them."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from dataloader.classes import load_classes
from engine.setup import build_model
from main import main
from tests.tools import configure


def write_checkpoint(path: Path, given: dict[str, Any], **more: Any) -> Path:
    """What a training leaves behind, with weights that nothing has trained."""
    config = configure(**given)
    classes = load_classes("RAER")
    model, shape = build_model(config, classes)
    stream = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if not parameter.any():  # a layer that begins at zero answers nothing
            torch.nn.init.normal_(parameter, std=0.1, generator=stream)
    content = {"format": 1, "family": config.model.model, "config": asdict(config), "classes": list(classes.names)}
    content |= {"label_base": 1, "clip_shape": shape, "model": model.state_dict(), "epoch": 1, "selected_on": "val"}
    torch.save(content | more, path)
    return path


def export_checkpoint(folder: Path, given: dict[str, Any], **more: Any) -> tuple[Path, Path]:
    """A checkpoint, and what --mode export makes of it."""
    checkpoint = write_checkpoint(folder / "best.pt", given, **more)
    assert main(["--mode", "export", "--eval-checkpoint", str(checkpoint), "--output-dir", str(folder)]) == 0
    return checkpoint, folder / "best.onnx"
