"""``--mode eval``: a checkpoint scored on a list, and what every scored list leaves behind."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from analysis.calibration import RAW, Calibration, chosen_calibration
from analysis.intervals import require_persons
from analysis.mistakes import write_mistakes
from analysis.results import write_results
from dataloader.annotation import Clip
from dataloader.classes import Classes, list_classes, translated, with_names
from dataloader.clips import Views
from engine.checkpoints import doubtful_flags, evaluation_config, open_checkpoint, rebuild
from engine.clip_predict import predict
from engine.data import evaluation_loader, make_views, warn_of_size
from engine.families import OF_SEQUENCES
from engine.inspect import describe_published
from engine.lists import read_splits, require_lists, run_classes
from engine.options import Config
from engine.regress import evaluate_regression
from engine.sequence.evaluate import evaluate_sequence
from engine.session import Session, open_session
from engine.tasks import TASKS, ClipTask
from utils.config import flag_of
from utils.errors import UserError, about


@dataclass(frozen=True)
class Asked:
    """A split that is scored."""

    clips: list[Clip]
    views: Views
    split: str
    selected_on: str
    calibrated: Calibration = RAW


def evaluate(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Score a checkpoint on ``--test-annotation``; its own options hold where the user gives none."""
    path = Path(config.run.eval_checkpoint)
    opened = open_checkpoint(path, given)
    content = opened.content
    if opened.unnamed:
        raise UserError(f"{path}: {opened.unnamed}")
    named = {"exper_name": f"{opened.config.run.exper_name}-eval"} | given
    with about(path):
        config = evaluation_config(content, named)
    if content["family"] == "sequence":
        return evaluate_sequence(opened, config, given)
    foreign = sorted(set(given) & set(OF_SEQUENCES))
    if foreign:
        raise UserError(f"{flag_of(foreign[0])} means nothing to {path}, a model of the family {content['family']}")
    if opened.config.model.task == "regression":
        if foreign := sorted(set(given) & {"calibrate", "abstain"}):
            raise UserError(f"{flag_of(foreign[0])} means nothing to {path}, which predicts numbers")
        return evaluate_regression(opened, config)
    if "targets" in given:
        raise UserError(f"--targets {given['targets']}: {path} predicts classes; name --test-annotation FILE")
    require_lists(config)
    calibrated = chosen_calibration(content, path, given)
    classes = stored_classes(content, config, given, path)
    with about(path):
        model = rebuild(content, config)
    with open_session(config) as session:
        task = TASKS[content["family"]](model.to(session.device), classes.names)
        if opened.report is not None:
            session.log.say(describe_published(opened, given))
        for warning in doubtful_flags(asdict(opened.config), given, config, "left_out" in content):
            session.log.warn(warning)
        seen = content["selected_on"], calibrated, content.get("face_width")
        return score_test_list(task, config, classes, session, *seen)


def stored_classes(content: dict[str, Any], config: Config, given: dict[str, Any], path: Path) -> Classes:
    """The classes that a checkpoint knows, read from lists as its own data set writes them, or as another one does."""
    names, base = tuple(content["classes"]), content["label_base"]
    if config.model.model == "frame-expr":
        return run_classes(config)
    lists = list_classes(config.data.dataset, config.data.class_texts)
    if lists is None:
        return Classes(names, base, {}, str(path))
    if given.get("dataset", content["config"]["data"]["dataset"]) != content["config"]["data"]["dataset"]:
        return translated(lists, names, str(path))
    return with_names(lists, names, base, str(path))


def score_test_list(
    task: ClipTask,
    config: Config,
    classes: Classes,
    session: Session,
    selected_on: str,
    calibrated: Calibration = RAW,
    face_width: float | None = None,
) -> dict[str, Any]:
    """Read the test list, score it, write the results. ``face_width``: pixels, of the faces that it was trained on."""
    clips = read_splits(config, classes, session.log).test
    require_persons([clip.person for clip in clips], config.results.ci)
    views = make_views(config, clips, session.log)
    warn_of_size(face_width, clips, views, session.log)
    loader = evaluation_loader(config, clips, views, session)
    return score_and_write(task, loader, Asked(clips, views, "test", selected_on, calibrated), config, session)


def score_and_write(
    task: ClipTask, loader: DataLoader, asked: Asked, config: Config, session: Session
) -> dict[str, Any]:
    """``loader`` gives this process its share of the clips that are asked about."""
    ids, label, logits, replaced = predict(task, loader, config, session, asked.split)
    if replaced:
        session.log.warn(f"{asked.split}: {replaced} unreadable frames were replaced by their clip's nearest frame")
    require_finite(ids, logits)
    metrics = task.score(logits, label)
    if not session.group.is_main:
        return metrics
    metrics = write_results(
        session.log,
        names=task.names,
        ids=ids,
        label=label,
        logits=logits,
        metrics=metrics,
        split=asked.split,
        selected_on=asked.selected_on,
        title=config.run.exper_name,
        persons=[clip.person for clip in asked.clips],
        ci=config.results.ci,
        abstain=config.results.abstain,
        calibrated=asked.calibrated,
    )
    with_frames = config.results.mistake_frames
    write_mistakes(asked.clips, asked.views, session.log, root=config.data.root_dir, with_frames=with_frames)
    return metrics


def require_finite(ids: list[str], logits: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(bad):
        raise UserError(f"{len(bad)} of {len(ids)} answers are not finite, that of {ids[bad[0]]} first; try --amp off")
