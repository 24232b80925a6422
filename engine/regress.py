"""``--task regression``: an MLP reads numbers out of frozen video features, tested on subjects that it never saw.

The video model comes from ``--init-from``. Each fold of subjects is predicted by a readout trained on the others; the
readout that is kept is trained on all.
"""

import csv
import dataclasses
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.intervals import Groups, agreement_intervals, groups_of
from analysis.metrics import KINDS, agreements, brackets
from analysis.model_card import write_model_card
from dataloader.boxes import middle_width
from dataloader.clips import Views
from dataloader.targets import Targets, read_targets
from engine.checkpoints import Opened, model_config, open_checkpoint, rebuild
from engine.clip_predict import predict
from engine.data import evaluation_loader, make_views, warn_of_size
from engine.evaluate import require_read
from engine.keep import told_of_set
from engine.methods.base import ClipTask
from engine.options import Config
from engine.readout import Readout
from engine.registry import method_named
from engine.resume import Start
from engine.session import Session, open_session
from models.clip_caer import Output
from models.emoclip import EmoClip
from utils.checkpoint import FORMAT, halve_where_exact, save_checkpoint
from utils.config import flag_of
from utils.errors import UserError, about
from utils.words import plural

FEW_SUBJECTS = 20
SEEN = ("root_dir", "bounding_box_face", "device", "gpu", "workers", "dataset", "on_bad_frame", "eval_batch_size")


class FeatureTask(ClipTask):
    """Video features (B, D) where another task gives logits."""

    def forward(self, batch: dict[str, Any]) -> Output:
        frames, _ = self.model.encode_frames(batch["face"])
        feature = self.model.temporal(frames).float()
        return Output(feature, feature, None)

    def fix_texts(self) -> None:
        pass


def regress(start: Start, given: dict[str, Any]) -> dict[str, Any]:
    """Cross-validate over subjects, write the scores, keep a readout of all."""
    config = start.config
    if config.data.targets is None:
        raise UserError("--task regression needs --targets FILE.csv")
    if config.model.init_from is None:
        raise UserError("--task regression needs --init-from FILE, the caption model whose video features are read")
    targets = read_targets(config.data.targets, config.data.root_dir)
    path = Path(config.model.init_from)
    opened = open_checkpoint(path, given)
    if config.model.task not in opened.method.tasks:
        raise UserError(f"--init-from {path}: {opened.method.name}; video features are read from emoclip models")
    with about(path):
        seen = model_config(opened.content, {k: v for k, v in given.items() if k in SEEN} | {"pack": "none"})
        model = rebuild(opened.content, seen)
    with open_session(config) as session:
        folds = subject_folds(targets.subjects, config.data.subject_folds, config.run.seed)
        describe(targets, folds, session)
        views = views_of(targets, opened, seen, session)
        features = video_features(model, targets, views, seen, session)
        values = torch.from_numpy(targets.values).float().to(features.device)
        predicted = cross_validate(features, values, folds, config)
        metrics = write_regression(config, session, targets, predicted, folds, "each subject held out in turn")
        model.readout = Readout(features, values, config, "readout of all").layers
        if session.group.is_main:
            keep(model, targets.names, config, seen, session, middle_width(targets.clips, views.face_boxes))
            write_model_card(session.log, config.data.root_dir, method_named(config.model.model))
        session.log.say(f"run folder: {session.log.folder}")
        return metrics


def views_of(targets: Targets, opened: Opened, config: Config, session: Session) -> Views:
    views = make_views(config, targets.clips, session.log)
    warn_of_size(opened.content.get("face_width"), targets.clips, views, session.log)
    return views


def video_features(model: EmoClip, targets: Targets, views: Views, config: Config, session: Session) -> Tensor:
    """(N, D) of every clip, as in evaluation."""
    loader = evaluation_loader(config, targets.clips, views, session)
    task = FeatureTask(model.to(session.device).eval(), ())
    ids, _, features, replaced = predict(task, loader, config, session, "video features")
    if replaced:
        session.log.warn(f"{replaced} unreadable frames were replaced by their clip's nearest frame")
    return torch.from_numpy(features).to(session.device)


def subject_folds(subjects: list[str], count: int, seed: int) -> np.ndarray:
    """(N,) the fold in which each clip is predicted; a subject's clips share theirs, and folds are of like size."""
    names, sizes = np.unique(subjects, return_counts=True)
    if len(names) < 2:
        raise UserError(f"--targets: all clips are of the subject {names[0]}; at least two are needed")
    shuffled = np.random.default_rng([seed, 6]).permutation(len(names))
    filled, fold_of = np.zeros(min(count, len(names)), dtype=int), {}
    for index in sorted(shuffled, key=lambda i: -sizes[i]):
        fold_of[names[index]] = int(filled.argmin())
        filled[fold_of[names[index]]] += sizes[index]
    return np.array([fold_of[subject] for subject in subjects])


def describe(targets: Targets, folds: np.ndarray, session: Session) -> None:
    count = len(set(targets.subjects))
    held = f"{plural(len(targets.clips), 'clip')} of {plural(count, 'subject')} in {plural(folds.max() + 1, 'fold')}"
    session.log.say(f"{held}; {', '.join(targets.names)}")
    numbers = {"clips": len(targets.clips), "subjects": count, "folds": int(folds.max()) + 1}
    session.log.facts["data"]["all"] = numbers | {"targets": list(targets.names)}
    if count < FEW_SUBJECTS:
        text = f"{plural(count, 'subject')}: what is measured on so few says little about others"
        session.log.warn(text, "few_subjects")
    for name, column in zip(targets.names, targets.values.T, strict=True):
        known = column[~np.isnan(column)]
        if len(known) == 0 or known.min() == known.max():
            raise UserError(f"--targets: {name} is the same everywhere: there is nothing to learn")
        if len(set(folds[~np.isnan(column)])) == 1:
            raise UserError(f"--targets: {name} is known of too few subjects: all of them are tested together")


def cross_validate(features: Tensor, values: Tensor, folds: np.ndarray, config: Config) -> np.ndarray:
    """(N, K), each clip predicted by the readout that never saw its subject."""
    predicted = np.empty(values.shape)
    for fold in range(folds.max() + 1):
        held = torch.from_numpy(folds == fold)
        readout = Readout(features[~held], values[~held], config, f"readout {fold}")
        predicted[held] = readout(features[held])
    return predicted


def write_regression(
    config: Config,
    session: Session,
    targets: Targets,
    predicted: np.ndarray,
    folds: np.ndarray | None,
    tested_on: str,
) -> dict[str, Any]:
    """``predictions.csv``, ``metrics.json``, ``agreement.png`` and the table."""
    from analysis.plots import draw_agreement, save

    log = session.log
    metrics = agreements(targets.values, predicted, targets.names)
    groups = target_groups(targets, config.results.ci)
    if groups is not None:
        bounds = agreement_intervals(targets.values, predicted, targets.names, groups)
        metrics["intervals"] = groups.about() | bounds
    metrics |= {"subjects": len(set(targets.subjects)), "clips": len(targets.clips), "tested_on": tested_on}
    if not session.group.is_main:
        return metrics
    with open(log.folder / "predictions.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["clip", "subject", "fold", *(f"{k}_{n}" for n in targets.names for k in ("true", "predicted"))]
        )
        for row, clip in enumerate(targets.clips):
            pairs = zip(targets.values[row], predicted[row], strict=True)
            numbers = ["" if np.isnan(v) else f"{v:.9g}" for pair in pairs for v in pair]
            writer.writerow([clip.id, clip.person, "" if folds is None else int(folds[row]) + 1, *numbers])
    log.write_metrics(metrics)
    save(draw_agreement(targets.values, predicted, targets.names, metrics), log.folder / "agreement.png")
    log.say(f"\n{plural(metrics['clips'], 'clip')} of {plural(metrics['subjects'], 'subject')}, {tested_on}")
    log.say(table(metrics))
    for doubt in groups.doubts() if groups is not None else []:
        log.warn(doubt)
    return metrics


def target_groups(targets: Targets, ci: str) -> Groups | None:
    groups = groups_of([clip.id for clip in targets.clips], targets.subjects, ci)
    persons = groups is not None and groups.resampled == "persons"
    return dataclasses.replace(groups, resampled="subjects") if persons else groups


def table(metrics: dict[str, Any]) -> str:
    heads = ("MAE", "RMSE", "Pearson", "CCC")
    bounds = metrics.get("intervals")
    lines = [f"{'target':<20}" + "".join(f"{head:>10}" for head in heads)]
    for name, row in [*metrics["targets"].items(), ("mean", metrics["mean"])]:
        line = f"{name[:20]:<20}" + "".join(f"{row[kind]:>10.3f}" for kind in KINDS)
        found = {} if bounds is None else bounds["mean"] if row is metrics["mean"] else bounds["targets"][name]
        lines.append(f"{line}  {brackets(found.get('ccc'), 3)}".rstrip())
    if bounds is not None and bounds["groups"] > 1:
        lines.append(f"95 % interval of CCC in brackets: {bounds['groups']} {bounds['resampled']} drawn again")
    return "\n".join(lines)


def keep(
    model: EmoClip, names: tuple[str, ...], config: Config, seen: Config, session: Session, face_width: float | None
) -> None:
    """best.pt: the video model as it was, with the readout of all subjects."""
    told = told_of_set(config.data.root_dir, face_width)
    config = dataclasses.replace(seen, run=config.run, model=dataclasses.replace(seen.model, task="regression"))
    content = {
        "format": FORMAT,
        "family": config.model.model,
        "config": asdict(config),
        "classes": list(names),
        "label_base": 0,
        "model": halve_where_exact({name: value.cpu() for name, value in model.state_dict().items()}),
        "epoch": 0,
        "selected_on": "last",
    }
    save_checkpoint(content | told, session.log.folder / "best.pt")


def evaluate_regression(opened: Opened, config: Config, given: dict[str, Any]) -> dict[str, Any]:
    """Score the readout of a checkpoint on ``--targets`` (``--mode eval``)."""
    require_read(opened.method, given, opened.path)
    for name in ("abstain", "calibrate"):
        if name in given:
            raise UserError(f"{flag_of(name)} means nothing to {opened.path}, which predicts numbers")
    if config.data.targets is None:
        raise UserError(f"{opened.path}: predicts numbers; name --targets FILE.csv to score them")
    targets, names = read_targets(config.data.targets, config.data.root_dir), tuple(opened.content["classes"])
    if targets.names != names:
        raise UserError(f"--targets: names {', '.join(targets.names)}, but {opened.path} predicts {', '.join(names)}")
    for name, column in zip(names, targets.values.T, strict=True):
        if np.isnan(column).all():
            raise UserError(f"--targets: {name} is known of no clip: there is nothing to compare with")
    with about(opened.path):
        model = rebuild(opened.content, config)
    with open_session(config) as session:
        features = video_features(model, targets, views_of(targets, opened, config, session), config, session)
        with torch.inference_mode():
            predicted = model.readout(features).double().cpu().numpy()
        return write_regression(config, session, targets, predicted, None, "all of them given")
