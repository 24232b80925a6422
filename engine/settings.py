"""From the command line to one checked Config: layers of options, defaults that depend on others, warnings."""

import dataclasses
from typing import Any

from engine.contradictions import check
from engine.families import family_defaults
from engine.options import GROUPS, Config
from engine.series import check_fold, fill_fold, stored_series
from utils.config import from_json, parse, resolve
from utils.errors import UserError
from utils.processes import default_workers

FINETUNE = 1e-3  # of --lr: the published rate of a tower that is fine-tuned
DESCRIPTION = (
    "Emotion recognition from video with CLIP. @recipes/<name>.args stands for the flags in that file. Defaults "
    "are those of --model clip-caer; other models have some of their own, which --model NAME --dry-run shows."
)


def read_command(arguments: list[str]) -> tuple[dict[str, Any], Config]:
    """What the user gave, and the whole checked Config."""
    given = parse(GROUPS, arguments, DESCRIPTION)
    return given, make_config(given, stored_series(given.get("resume")))


def resumed_series(config: Config, given: dict[str, Any]) -> Config:
    """The options of the series that ``--resume`` names, below what the user gave; else as it is."""
    stored = stored_series(config.run.resume)
    return config if stored is None else make_config(given, stored)


def make_config(given: dict[str, Any], stored: dict[str, dict[str, Any]] | None = None) -> Config:
    """Defaults, below a checkpoint's stored options, below what the user gave."""
    layer = from_json(GROUPS, stored) if stored else {}
    model = given.get("model", layer.get("model", "clip-caer"))
    config = Config(**resolve(GROUPS, family_defaults(model), layer, given))
    check_fold(config, given, layer)
    config = _settle(config, given)
    check(config, given)
    return config


def _settle(config: Config, given: dict[str, Any]) -> Config:
    """Fill in the defaults that depend on other options."""
    run, data, optim = config.run, config.data, config.optim
    if run.workers is None:
        run = dataclasses.replace(run, workers=default_workers())
    if data.pack == "none":
        data = dataclasses.replace(data, pack=None)
    if data.normalize is None:
        data = dataclasses.replace(data, normalize="clip" if config.run.mode in ("zero-shot", "cache") else "none")
    if data.crop_body is None:
        data = dataclasses.replace(data, crop_body=data.bounding_box_body is not None)
    if optim.use_amp:
        if given.get("amp", "fp16") != "fp16":
            raise UserError(f"--use-amp means --amp fp16, but --amp {optim.amp} is given as well; keep one")
        optim = dataclasses.replace(optim, amp="fp16", use_amp=False)
    if optim.lr_fusion is None:
        optim = dataclasses.replace(optim, lr_fusion=optim.lr)
    if optim.finetune_visual and optim.lr_image_encoder == 0:
        optim = dataclasses.replace(optim, lr_image_encoder=optim.lr * FINETUNE)
    if optim.finetune_text and optim.lr_text_encoder == 0:
        optim = dataclasses.replace(optim, lr_text_encoder=optim.lr * FINETUNE)
    return fill_fold(dataclasses.replace(config, run=run, data=data, optim=optim))


def warnings_of(config: Config) -> list[str]:
    """What is allowed but should not go unsaid."""
    loss, model, said = config.loss, config.model, []
    if config.run.mode != "train":
        return said
    if loss.use_weighted_sampler and loss.logit_adj:
        said.append(
            "--use-weighted-sampler and --logit-adj both correct for class sizes: rare classes are favoured twice"
        )
    if loss.use_weighted_sampler and loss.class_balanced_loss:
        said.append("--use-weighted-sampler and --class-balanced-loss both correct for class sizes: the same, twice")
    if loss.logit_adj and loss.class_balanced_loss:
        said.append("--logit-adj and --class-balanced-loss both correct for class sizes: the same, twice")
    if not model.tune_prompts and loss.mi_loss_weight + loss.dc_loss_weight > 0:
        said.append("--no-tune-prompts leaves MI and DC nothing to train: both are left out")
    if config.data.bounding_box_body is not None and model.streams == "face":
        said.append("--bounding-box-body is not read: this model sees faces alone")
    if config.optim.select_on == "test":
        said.append("the best epoch is selected on test: optimistic, and stored as such")
    if prompts_are_idle(config):
        said.append(
            "with --slerp-weight > 0 and descriptive texts the learnable prompts do not enter the classifier, and with "
            "MI and DC at 0 nothing trains them: they stay as they are (--iec-text soft or both uses them)"
        )
    return said


def prompts_are_idle(config: Config) -> bool:
    """True where no loss reaches the learnable prompts."""
    enter_classifier = config.model.slerp_weight == 0 or config.model.iec_text != "descriptive"
    loss, epochs = config.loss, config.optim.epochs
    mi_trains = loss.mi_loss_weight > 0 and loss.mi_warmup + (loss.mi_ramp > 0) < epochs
    reached_by_loss = mi_trains or (loss.dc_loss_weight > 0 and loss.dc_warmup + (loss.dc_ramp > 0) < epochs)
    return config.model.tune_prompts and not enter_classifier and not reached_by_loss
