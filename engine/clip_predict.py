"""One pass over clips without gradients: texts encoded once, every process its own clips, the answers together."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from engine.device import to_device
from engine.options import Config
from engine.session import Session
from engine.tasks import ClipTask
from utils.runlog import progress_bar


@torch.inference_mode()
def predict(
    task: ClipTask, loader: DataLoader, config: Config, session: Session, name: str
) -> tuple[list[str], np.ndarray, np.ndarray, int]:
    """``(ids, labels, logits, replaced frames)`` of every clip, in list order."""
    task.model.eval()
    task.fix_texts()
    rows, replaced = [], 0
    try:
        for batch in progress_bar(loader, len(loader), name):
            moved = to_device(batch, session.device, config.data.normalize)
            with torch.autocast(session.device.type, dtype=session.amp, enabled=session.amp is not None):
                logits = forward_in_parts(task, moved)
            rows += zip(batch["id"], batch["label"].tolist(), logits.cpu().numpy(), strict=True)
            replaced += batch["replaced_frames"]
    finally:
        task.release_texts()
    group = session.group
    ids, labels, logits = zip(*group.together_list(rows, int(group.total(len(rows)))), strict=True)
    return list(ids), np.array(labels), np.stack(logits), int(group.total(replaced))


def forward_in_parts(task: ClipTask, batch: dict[str, Any]) -> Tensor:
    """Logits (B, C); a batch that does not fit into the GPU's memory passes in halves, and so on."""
    try:
        return task.predictions(task.forward(batch))
    except torch.OutOfMemoryError:
        B = len(batch["label"])
        if B == 1:
            raise
    tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
    halves = ({name: value[part] for name, value in tensors.items()} for part in (slice(B // 2), slice(B // 2, B)))
    return torch.cat([forward_in_parts(task, half) for half in halves])
