"""``--mode eval`` of a sequence model: every frame of every validation video of a fold."""

from pathlib import Path
from typing import Any

from torch import nn

from dataloader.sequences import FeatureSource
from engine.checkpoints import Opened, rebuild
from engine.checks import check_method
from engine.methods.sequence import SequenceTask
from engine.options import Config
from engine.sequence.data import describe_sequences, read_sequences, sequence_facts
from engine.sequence.results import score_and_write
from engine.session import open_session
from models.sequence import SIZES
from utils.errors import UserError, about


def evaluate_sequence(opened: Opened, config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """On the set, the fold and the features that it was trained with, where the user names no others."""
    check_method(config.model.model, given, f"--model {config.model.model}")
    with about(opened.path):
        model = rebuild(opened.content, config)
    thresholds = stored_thresholds(opened)
    sequences = read_sequences(config)
    require_width(sequences.source, model, opened.path, config)
    with open_session(config) as session:
        session.log.say(describe_sequences(sequences))
        session.log.facts["data"] = sequence_facts(sequences)
        if config.data.fold != opened.config.data.fold:
            session.log.warn(
                f"--fold {config.data.fold}: trained on fold {opened.config.data.fold}, which may hold these videos"
            )
        task = SequenceTask(model.to(session.device), config)
        return score_and_write(task, sequences.validation, sequences.source, config, session, thresholds)


def require_width(source: FeatureSource, model: nn.Module, path: Path, config: Config) -> None:
    if source.width != model.features:
        folders = " ".join(config.sequence.features)
        raise UserError(f"--features {folders}: {source.width} numbers a frame, but {path} reads {model.features}")


def stored_thresholds(opened: Opened) -> list[float] | None:
    """Of a checkpoint whose training ended; else None."""
    found = opened.content.get("thresholds")
    if found is None:
        return None
    if not isinstance(found, list) or len(found) != SIZES["au"] or not all(isinstance(value, float) for value in found):
        raise UserError(f"{opened.path}: damaged: its thresholds are not {SIZES['au']} numbers")
    return found
