"""``--mode predict``: a sequence model on every frame of videos without labels, for the challenge's submission."""

from pathlib import Path
from typing import Any

from dataloader.sequences import FeatureSource
from dataloader.unlabelled import read_feature_videos
from engine.checkpoints import evaluation_config, open_checkpoint, rebuild
from engine.checks import check_method
from engine.long_videos.data import require_width
from engine.long_videos.results import stored_thresholds, thresholds_of, write_predictions
from engine.methods.sequence import SequenceTask
from engine.options import Config
from engine.session import open_session
from utils.errors import UserError, about
from utils.words import plural


def predict(config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Every ``<video>.npy`` of the first ``--features`` folder."""
    path = Path(config.run.eval_checkpoint)
    opened = open_checkpoint(path, given)
    name = opened.method.name
    if not opened.method.reads_features:
        raise UserError(f"{path}: a {name} model; without --input VIDEO --mode predict takes sequence models")
    check_method(name, given, f"--model {name}")
    if "features" not in given:
        raise UserError("--mode predict needs --features DIR, a folder with <video>.npy for every video")
    with about(path):
        config = evaluation_config(opened.content, {"exper_name": "predict"} | given, mode="predict")
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
