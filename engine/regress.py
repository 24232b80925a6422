"""``--task regression``: an MLP that predicts numbers from the frozen video features of a caption model.

The video model comes from ``--init-from``; the MLP is its readout. Subjects are divided into folds, and each fold is
predicted by a readout that was trained on all other subjects. The checkpoint holds a readout trained on all subjects.
"""

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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
from engine.methods import method_named
from engine.methods.base import ClipTask
from engine.optim import build_optimizer, build_schedule, follows_epochs
from engine.options import Config
from engine.resume import read_flags, write_flags
from engine.run_checkpoints import Start, checkpoint_facts, dataset_facts
from engine.session import Session, open_session
from models.build import build_readout, seeded
from models.clip_caer import Output
from models.emoclip import EmoClip
from models.losses import concordance, weighted_mean
from utils.checkpoint import halve_where_exact, save_checkpoint
from utils.config import flag_of
from utils.errors import UserError, about
from utils.files import atomic_write
from utils.runlog import FLAGS_FILE
from utils.text import plural

FEW_SUBJECTS = 20
HIDDEN = 256  # width of the readout's hidden layer
CONSTANT = 1e-6  # of a column's largest value: a smaller deviation is rounding in float32
# Options of the video model that the user may set: where and how its frames are read. All other options belong to the
# readout, and the video model keeps those of its training.
FRAME_OPTIONS = (
    "root_dir", "bounding_box_face", "device", "gpu", "workers", "dataset", "on_bad_frame", "eval_batch_size",
)  # fmt: skip


def regress(start: Start, flags: dict[str, Any]) -> dict[str, Any]:
    """Cross-validate over subjects, write the scores, and save the video model with a readout of all subjects."""
    config, is_resumed_by_name = start.config, start.folder is not None and start.config.run.resume != "auto"
    if start.folder is not None and (start.folder / "metrics.json").exists():
        print(f"{start.folder} is complete")
        return {}
    if is_resumed_by_name:  # the video model takes its options from the flags of the first command
        if not (start.folder / FLAGS_FILE).exists():
            raise UserError(f"--resume {start.folder}: ended before it began; give the whole command again")
        flags = read_flags(start.folder) | flags
    if config.data.targets is None:
        raise UserError("--task regression needs --targets FILE.csv")
    if config.model.init_from is None:
        raise UserError("--task regression needs --init-from FILE, the caption model whose video features are read")
    targets = read_targets(config.data.targets, config.data.root_dir)
    path = Path(config.model.init_from)
    opened = open_checkpoint(path, flags)
    if config.model.task not in opened.method.tasks:
        raise UserError(f"--init-from {path}: {opened.method.name}; video features are read from emoclip models")
    with about(path):
        frame_options = {name: flags[name] for name in FRAME_OPTIONS if name in flags}
        video_config = model_config(opened.content, frame_options | {"pack": "none"})
        model = rebuild(opened.content, video_config)
    with open_session(config, start) as session:
        write_flags(session.log, flags)  # an interrupted run starts again from its beginning
        folds = subject_folds(targets.subjects, config.data.subject_folds, config.run.seed)
        describe_targets(targets, folds, session)
        views = open_views(targets, opened, video_config, session)
        features = video_features(model, targets, views, video_config, session)
        values = torch.from_numpy(targets.values).float().to(features.device)
        predicted = cross_validate(features, values, folds, config)
        metrics = write_regression(config, session, targets, predicted, "each subject held out in turn", folds)
        model.readout = fit_readout(features, values, config, "readout of all")
        if session.group.is_main:
            face_width = middle_width(targets.clips, views.face_boxes)
            shape = opened.shape.as_dict()
            save_regression(model, targets.names, config, video_config, shape, session, face_width)
            write_model_card(session.log, config.data.root_dir, method_named(config.model.model))
        session.log.say(f"run folder: {session.log.folder}")
        return metrics


def evaluate_regression(opened: Opened, config: Config, flags: dict[str, Any]) -> dict[str, Any]:
    """Score the readout of a checkpoint on ``--targets`` (``--mode eval``)."""
    require_read(opened.method, flags, opened.path)
    for name in ("abstain", "calibrate", "corrupt", "test_views"):
        if name in flags:
            raise UserError(f"{flag_of(name)} is not used by {opened.path}, which predicts numbers; leave it out")
    if config.data.targets is None:
        raise UserError(f"{opened.path}: predicts numbers; name --targets FILE.csv to score them")
    targets, names = read_targets(config.data.targets, config.data.root_dir), tuple(opened.content["classes"])
    if targets.names != names:
        raise UserError(f"--targets: names {', '.join(targets.names)}, but {opened.path} predicts {', '.join(names)}")
    for name, column in zip(names, targets.values.T, strict=True):
        if np.isnan(column).all():
            raise UserError(f"--targets: {name} has no value for any clip, so there is nothing to compare with")
    with about(opened.path):
        model = rebuild(opened.content, config)
    with open_session(config) as session:
        features = video_features(model, targets, open_views(targets, opened, config, session), config, session)
        return write_regression(config, session, targets, predict_numbers(model.readout, features), "all of them given")


# -- features of videos ---------------------------------------------------------------------------------------------


class FeatureTask(ClipTask):
    """Predicts video features (B, D) in place of logits."""

    has_texts = False

    def forward(self, batch: dict[str, Any]) -> Output:
        frames, _ = self.model.encode_frames(batch["face"])
        feature = self.model.temporal(frames).float()
        return Output(feature, feature, None)


def open_views(targets: Targets, opened: Opened, config: Config, session: Session) -> Views:
    views = make_views(config, targets.clips, session.log)
    warn_of_size(opened.content.get("face_width"), targets.clips, views, session.log)
    return views


def video_features(model: EmoClip, targets: Targets, views: Views, config: Config, session: Session) -> Tensor:
    """Return the features (N, D) of every clip, computed as in evaluation."""
    loader = evaluation_loader(config, targets.clips, views, session)
    task = FeatureTask(model.to(session.device).eval(), ())
    _, _, features, replaced = predict(task, loader, config, session, "video features")
    if replaced:
        session.log.warn(f"{replaced} unreadable frames were replaced by their clip's nearest frame")
    return torch.from_numpy(features).to(session.device)


# -- folds of subjects ----------------------------------------------------------------------------------------------


def subject_folds(subjects: list[str], count: int, seed: int) -> np.ndarray:
    """Return the fold (N,) of each clip. All clips of a subject are in one fold; folds have similar sizes."""
    names, sizes = np.unique(subjects, return_counts=True)
    if len(names) < 2:
        raise UserError(f"--targets: all clips are of the subject {names[0]}; at least two are needed")
    shuffled = np.random.default_rng([seed, 6]).permutation(len(names))
    totals, fold_of = np.zeros(min(count, len(names)), dtype=int), {}
    for index in sorted(shuffled, key=lambda i: -sizes[i]):  # largest subjects first, each to the smallest fold
        fold_of[names[index]] = int(totals.argmin())
        totals[fold_of[names[index]]] += sizes[index]
    return np.array([fold_of[subject] for subject in subjects])


def describe_targets(targets: Targets, folds: np.ndarray, session: Session) -> None:
    """Print counts of clips, subjects and folds; raise a UserError for a number that cannot be learned or tested."""
    subjects = plural(len(set(targets.subjects)), "subject")
    division = f"{plural(len(targets.clips), 'clip')} of {subjects} in {plural(folds.max() + 1, 'fold')}"
    session.log.say(f"{division}; {', '.join(targets.names)}")
    counts = {"clips": len(targets.clips), "subjects": len(set(targets.subjects)), "folds": int(folds.max()) + 1}
    session.log.facts["data"]["all"] = counts | {"targets": list(targets.names)}
    if len(set(targets.subjects)) < FEW_SUBJECTS:
        session.log.warn(f"only {subjects}: the scores say little about other subjects", "few_subjects")
    for name, column in zip(targets.names, targets.values.T, strict=True):
        numbers = column[~np.isnan(column)]
        if len(numbers) == 0 or numbers.min() == numbers.max():
            raise UserError(f"--targets: {name} has the same value for all clips, so there is nothing to learn")
        if len(set(folds[~np.isnan(column)])) == 1:
            raise UserError(f"--targets: {name} has values for too few subjects: all of them are in the same fold")


def cross_validate(features: Tensor, values: Tensor, folds: np.ndarray, config: Config) -> np.ndarray:
    """Return predictions (N, K), each by a readout trained without the clip's subject."""
    predicted = np.empty(values.shape)
    for fold in range(folds.max() + 1):
        held_out = torch.from_numpy(folds == fold)
        readout = fit_readout(features[~held_out], values[~held_out], config, f"readout {fold}")
        predicted[held_out] = predict_numbers(readout, features[held_out])
    return predicted


# -- readout --------------------------------------------------------------------------------------------------------


def fit_readout(features: Tensor, values: Tensor, config: Config, name: str) -> nn.Sequential:
    """Return an MLP from features (N, D) to ``values`` (N, K), NaN where unknown; ``name`` selects its random stream.

    It is trained on standardised features and targets. The standardisation is then merged into its two layers, so that
    it maps raw features to numbers in their original units.
    """
    (shift, scale), (mean, deviation) = column_moments(features), column_moments(values)
    scale = scale.masked_fill(scale == 0, torch.inf)  # a feature that is constant in training is ignored
    with seeded(config.run.seed, name):
        readout = build_readout(features.shape[1], HIDDEN, values.shape[1]).to(features.device)
        standardised = (values - mean) / deviation.masked_fill(deviation == 0, 1.0)
        train_readout(readout, (features - shift) / scale, standardised, config)
    # W ((x - shift) / scale) + b = (W / scale) x + (b - W (shift / scale)); the bias needs W before it is divided.
    first, last = readout[0], readout[2]
    with torch.no_grad():
        first.bias -= first.weight @ (shift / scale)
        first.weight /= scale
        last.weight *= deviation[:, None]
        last.bias.mul_(deviation).add_(mean)
    return readout


def train_readout(readout: nn.Sequential, features: Tensor, values: Tensor, config: Config) -> None:
    optimizer = build_optimizer([{"params": list(readout.parameters()), "lr": config.optim.lr}], config.optim)
    batches = -(-len(features) // config.optim.batch_size)
    schedule = build_schedule(optimizer, config.optim, batches)
    for _ in range(config.optim.epochs):
        for rows in torch.randperm(len(features)).split(config.optim.batch_size):
            loss = regression_loss(readout(features[rows]), values[rows], config.loss.regression_loss)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if not follows_epochs(schedule):
                schedule.step()
        if follows_epochs(schedule):
            schedule.step()


def column_moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each column without NaNs; the deviation of a constant column is 0."""
    mean = rows.nanmean(0)
    deviation = (rows - mean).square().nanmean(0).sqrt()
    return mean, deviation.where(deviation > CONSTANT * rows.nan_to_num().abs().amax(0), 0.0)


def regression_loss(predicted: Tensor, target: Tensor, kind: str) -> Tensor:
    """Return the mean squared error of (B, K) where targets are known, or the mean of 1 - CCC over the columns."""
    is_known, target = ~target.isnan(), target.nan_to_num()
    if kind == "mse":
        return weighted_mean((predicted - target).square(), is_known.float())
    return weighted_mean(1 - concordance(predicted, target, is_known), (is_known.sum(dim=0) >= 2).float())


@torch.inference_mode()
def predict_numbers(readout: nn.Sequential, features: Tensor) -> np.ndarray:
    return readout(features).double().cpu().numpy()


# -- results --------------------------------------------------------------------------------------------------------


def write_regression(
    config: Config,
    session: Session,
    targets: Targets,
    predicted: np.ndarray,
    tested_on: str,
    folds: np.ndarray | None = None,
) -> dict[str, Any]:
    """Write ``predictions.csv`` and ``agreement.png``, keep the metrics, print their table and return them."""
    from analysis.plots import draw_agreement, save

    log = session.log
    metrics = agreements(targets.values, predicted, targets.names)
    groups = subject_groups(targets, config.results.ci)
    if groups is not None:
        intervals = agreement_intervals(targets.values, predicted, targets.names, groups)
        metrics["intervals"] = groups.about() | intervals
    metrics |= {"subjects": len(set(targets.subjects)), "clips": len(targets.clips), "tested_on": tested_on}
    if not session.group.is_main:
        return metrics
    columns = [f"{kind}_{name}" for name in targets.names for kind in ("true", "predicted")]
    path = log.folder / "predictions.csv"
    with (
        atomic_write(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["clip", "subject", "fold", *columns])
        for row, clip in enumerate(targets.clips):
            pairs = zip(targets.values[row], predicted[row], strict=True)
            numbers = ["" if np.isnan(v) else f"{v:.9g}" for pair in pairs for v in pair]
            writer.writerow([clip.id, clip.person, "" if folds is None else int(folds[row]) + 1, *numbers])
    log.keep_metrics(metrics)
    save(draw_agreement(targets.values, predicted, targets.names, metrics), log.folder / "agreement.png")
    log.say(f"\n{plural(metrics['clips'], 'clip')} of {plural(metrics['subjects'], 'subject')}, {tested_on}")
    log.say(score_lines(metrics))
    for warning in groups.doubts() if groups is not None else []:
        log.warn(warning)
    return metrics


def subject_groups(targets: Targets, ci: str) -> Groups | None:
    """Return the groups that are resampled for intervals; persons are called subjects here."""
    groups = groups_of([clip.id for clip in targets.clips], targets.subjects, ci)
    is_persons = groups is not None and groups.resampled == "persons"
    return dataclasses.replace(groups, resampled="subjects") if is_persons else groups


def score_lines(metrics: dict[str, Any]) -> str:
    intervals = metrics.get("intervals")
    lines = [f"{'target':<20}" + "".join(f"{head:>10}" for head in ("MAE", "RMSE", "Pearson", "CCC"))]
    for name, row in [*metrics["targets"].items(), ("mean", metrics["mean"])]:
        interval = None
        if intervals is not None:
            interval = (intervals["mean"] if row is metrics["mean"] else intervals["targets"][name])["ccc"]
        line = f"{name[:20]:<20}" + "".join(f"{row[kind]:>10.3f}" for kind in KINDS)
        lines.append(f"{line}  {brackets(interval, 3)}".rstrip())
    if intervals is not None and intervals["groups"] > 1:
        lines.append(
            f"95 % interval of CCC in brackets: bootstrap over the {intervals['groups']} {intervals['resampled']}"
        )
    return "\n".join(lines)


def save_regression(
    model: EmoClip,
    names: tuple[str, ...],
    config: Config,
    video_config: Config,
    shape: dict[str, Any],
    session: Session,
    face_width: float | None,
) -> None:
    """Write best.pt: the unchanged video model, whose CLIP has this ``shape``, with the readout of all subjects."""
    regression = dataclasses.replace(video_config.model, task="regression")
    options = dataclasses.replace(video_config, run=config.run, model=regression)
    facts = checkpoint_facts(options, names, 0, "last", shape) | dataset_facts(config.data.root_dir, face_width)
    state = halve_where_exact({name: value.cpu() for name, value in model.state_dict().items()})
    save_checkpoint(facts | {"model": state, "epoch": 0}, session.log.folder / "best.pt")
