"""A trained sequence model on long videos: scored on a labelled set, or its predictions for videos without labels."""

from pathlib import Path
from typing import Any

from dataloader.sequences import FeatureSource, read_feature_videos
from engine.checkpoints import Opened, evaluation_config, open_checkpoint, rebuild
from engine.checks import check_method
from engine.long_videos.data import describe_video_sets, read_video_sets, require_width, video_set_facts
from engine.long_videos.results import score_and_write, stored_thresholds, thresholds_of, write_predictions
from engine.methods.sequence import SequenceTask
from engine.options import Config
from engine.session import open_session
from utils.errors import UserError, about
from utils.text import plural


def evaluate_sequence(opened: Opened, config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Score a checkpoint on the set, fold and features of its training, or on those that the user names."""
    check_method(config.model.model, flags)
    with about(opened.path):
        model = rebuild(opened.content, config)
    thresholds = stored_thresholds(opened)
    sets = read_video_sets(config)
    require_width(sets.features, model, opened.path, config)
    with open_session(config) as session:
        session.log.say(describe_video_sets(sets))
        session.log.facts["data"] = video_set_facts(sets)
        trained_on = opened.config.data.fold
        if config.data.fold != trained_on:
            session.log.warn(f"--fold {config.data.fold}: trained on fold {trained_on}, which may hold these videos")
        task = SequenceTask(model.to(session.device), config)
        return score_and_write(task, sets.validation, sets.features, config, session, thresholds)


def predict_unlabelled(config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Predict every ``<video>.npy`` of the first ``--features`` folder (``--mode predict``), for a challenge."""
    path = Path(config.run.eval_checkpoint)
    opened = open_checkpoint(path, flags)
    name = opened.method.name
    if not opened.method.reads_features:
        raise UserError(f"{path}: a {name} model; without --input VIDEO --mode predict takes sequence models")
    check_method(name, flags)
    if "features" not in flags:
        raise UserError("--mode predict needs --features DIR, a folder with <video>.npy for every video")
    with about(path):
        config = evaluation_config(opened.content, {"exper_name": "predict"} | flags, mode="predict")
        model = rebuild(opened.content, config)
    folders = [Path(folder) for folder in config.sequence.features]
    videos = read_feature_videos(folders[0])
    source = FeatureSource(videos, folders)
    require_width(source, model, opened.path, config)
    with open_session(config) as session:
        task, log = SequenceTask(model.to(session.device), config), session.log
        log.say(
            f"{plural(len(videos), 'video')}, {plural(sum(map(len, videos)), 'frame')}, {source.width} features a frame"
        )
        thresholds = thresholds_of(task, config, stored_thresholds(opened))
        write_predictions(task, videos, source, config, session, "predict", thresholds)
        log.say(f"run folder: {log.folder}")
    return {"videos": len(videos)}
