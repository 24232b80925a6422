"""``--mode eval``: score a checkpoint on a test list."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from analysis.calibration import RAW, Calibration, select_calibration
from analysis.intervals import require_persons
from dataloader.classes import Classes, list_classes, translated, with_names
from engine.checkpoints import (
    doubtful_flags,
    evaluation_config,
    naming_stored_files,
    open_checkpoint,
    rebuild,
    stored_config,
)
from engine.clip_predict import score_and_write, score_views
from engine.data import evaluation_loader, make_views, warn_of_size
from engine.lists import read_splits, require_lists, run_classes
from engine.methods import method_named
from engine.methods.base import ClipTask, Method
from engine.options import Config, group_of, options_by_name
from engine.session import Session, open_session
from utils.config import flag_of
from utils.errors import UserError, about


def evaluate(config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Score a checkpoint on ``--test-annotation``, with its stored options unless the user passes others."""
    path = Path(config.run.eval_checkpoint)
    opened = open_checkpoint(path, flags)
    content = opened.content
    if opened.unnamed:
        raise UserError(f"{path}: {opened.unnamed}")
    options = {"exper_name": f"{opened.config.run.exper_name}-eval"} | flags
    with about(path):
        config = evaluation_config(content, options)
    method = opened.method
    if (evaluate_otherwise := method.function("eval", opened.config.model.task)) is not None:
        return evaluate_otherwise(opened, config, flags)
    require_read(method, flags, path)
    if "targets" in flags:
        raise UserError(f"--targets {flags['targets']}: {path} predicts classes; name --test-annotation FILE")
    require_lists(config)
    calibrated = select_calibration(content, path, flags)
    classes = stored_classes(content, config, flags, path)
    with about(path):
        model = rebuild(content, config)
    with open_session(config) as session:
        task = method.task(model.to(session.device), classes.names)
        if opened.report is not None:
            from engine.inspect import describe_published  # imported here, since training does not need it

            session.log.say(describe_published(opened, flags))
        for warning in doubtful_flags(opened, flags, config):
            session.log.warn(warning)
        reading, width = naming_stored_files(path, config, flags), content.get("face_width")
        return score_test_list(task, config, classes, session, content["selected_on"], calibrated, width, reading)


def require_read(method: Method, flags: dict[str, Any], path: Path) -> None:
    """Raise a UserError for an option of long videos that the model of a checkpoint does not use."""
    fields = options_by_name()
    for name in sorted(flags):
        if group_of(name) == "sequence" and fields[name].metadata["part"] not in method.reads:
            raise UserError(f"{flag_of(name)} is not used by {path}, a model of the family {method.name}; leave it out")


def stored_classes(content: dict[str, Any], config: Config, flags: dict[str, Any], path: Path) -> Classes:
    """Return the classes of a checkpoint, with their names and numbers in the lists of the data set."""
    names, base = tuple(content["classes"]), content["label_base"]
    if method_named(config.model.model).fixed_classes(config) is not None:
        return run_classes(config)
    data = config.data
    lists = list_classes(data.dataset, data.class_texts, data.clip_column, data.label_column)
    if lists is None:
        return Classes(names, base, {}, str(path))
    trained_on = stored_config(content).data.dataset
    if flags.get("dataset", trained_on) != trained_on:
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
    reading: AbstractContextManager[None] | None = None,
) -> dict[str, Any]:
    """Read the test list, score it and write the results.

    ``face_width``: width in pixels of the faces that the model was trained on. ``reading``: entered while lists and
    boxes are read.
    """
    with reading or nullcontext():
        clips = read_splits(config, classes, session.log).test
        require_persons([clip.person for clip in clips], config.results.ci)
        views = make_views(config, clips, session.log)
    warn_of_size(face_width, clips, views, session.log)
    loader = evaluation_loader(config, clips, views, session)
    metrics = score_and_write(task, loader, clips, views, config, session, "test", selected_on, calibrated)
    if config.results.test_views:
        metrics |= score_views(task, clips, views, metrics, config, session, calibrated)
    if config.results.corrupt:
        from engine import robustness  # imported here, since training does not need it

        metrics |= robustness.write(task, loader, clips, metrics, config, session)
    return metrics
