"""Make a Config from a command line or from stored options, print ``--help``, and warn about options."""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from engine.checks import check_command, check_config, check_needs, reads_videos
from engine.methods import method_named
from engine.options import FILES, GROUPS, MODES, TRAINING, Config
from engine.series import check_fold, fill_fold, stored_series
from utils.config import Parser, build_parser, expand_recipes, from_json, parse, resolve
from utils.errors import UserError
from utils.processes import default_workers

FINETUNE = 1e-3  # of --lr: the published rate of a tower that is fine-tuned
DESCRIPTION = "Emotion recognition from video with CLIP. @recipes/<name>.args stands for the flags in that file."
LATER_WINS = "Later flags win over earlier ones; --flag= with no value takes back what a recipe sets."
HELP = ("-h", "--help")


def read_command(arguments: Sequence[str]) -> tuple[dict[str, Any], Config]:
    """Return the options that the user passed, and the complete checked Config. ``--help`` prints and exits."""
    if any(word in HELP for word in arguments):
        print(help_text(arguments))
        raise SystemExit(0)
    flags = parse(GROUPS, arguments, DESCRIPTION, help_hint="--mode MODE --help")
    recipes = [Path(word).stem for word in arguments if word.startswith("@")]
    if recipes and flags.get("mode", "train") in (*TRAINING, "pretrain-clip") and flags.get("resume") in (None, "auto"):
        flags.setdefault("exper_name", "-".join(dict.fromkeys(recipes)))
    config = make_config(flags, stored_series(flags.get("resume")))
    check_command(config, flags)
    if config.run.mode in TRAINING and config.run.resume in (None, "auto"):  # else the run's own options count
        check_needs(config, parse(GROUPS, [word for word in arguments if not word.startswith("@")], DESCRIPTION))
    return flags, config


def help_text(arguments: Sequence[str]) -> str:
    """Return the help for the mode in ``arguments``; without one, the modes and the most common flags."""
    words = [word for word in expand_recipes(arguments) if word not in HELP]
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--mode", choices=tuple(MODES))
    mode = parser.parse_known_args(words)[0].mode
    if mode is None:
        modes = "\n".join(f"  {name:<15} {summary}" for name, summary in MODES.items())
        hint = "python main.py --mode MODE --help lists all flags of a mode, --dry-run the value of every option."
        text = f"{DESCRIPTION}\n{LATER_WINS}\n\nmodes:\n{modes}\n\nThe most common flags follow. {hint}"
        parser = build_parser(GROUPS, text, shows=lambda field: field.metadata["common"])
        parser.usage = "main.py --mode MODE [@recipes/NAME.args] [flags]"
        return parser.format_help()
    note = "Defaults are those of --model clip-caer; --model NAME --dry-run shows those of other methods."
    text = f"--mode {mode}: {MODES[mode]}.\n{note}\n{LATER_WINS}"
    parser = build_parser(GROUPS, text, shows=lambda field: mode in field.metadata["modes"])
    files = " FILE ..." if mode in FILES else ""
    parser.usage = f"main.py --mode {mode}{files} [@recipes/NAME.args] [flags]"
    return parser.format_help()


def make_config(
    flags: Mapping[str, Any],
    stored_options: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    for_videos: bool = False,
) -> Config:
    """Return a checked Config. Options in ``flags`` win over ``stored_options``, which win over defaults.

    ``for_videos``: a program will pass videos itself, so that no option has to name one.
    """
    layer = from_json(GROUPS, stored_options) if stored_options else {}
    name = flags.get("model", layer.get("model"))
    method_defaults = method_named(name).defaults if name else {}  # the default method has none of its own
    config = Config(**resolve(GROUPS, method_defaults, layer, flags))
    check_fold(config, flags, layer)
    config = fill_fold(_with_dependent_defaults(config, flags))
    check_config(config, flags, for_videos or reads_videos(config))
    return config


def note_on_dry_run(config: Config) -> str | None:
    """Return a sentence on stored options that the command reads, but ``--dry-run`` does not; None without any."""
    run = config.run
    is_single_run = run.resume not in (None, "auto") and stored_series(run.resume) is None
    source = run.resume if is_single_run else run.eval_checkpoint
    return None if source is None else f"Not read yet: the options stored in {source}, which replace these defaults."


def _with_dependent_defaults(config: Config, flags: Mapping[str, Any]) -> Config:
    """Fill in the defaults that depend on other options."""
    run, data, optim = config.run, config.data, config.optim
    if run.exper_name is None:
        run = dataclasses.replace(run, exper_name=config.model.model if run.mode in TRAINING else run.mode)
    if run.workers is None:
        run = dataclasses.replace(run, workers=default_workers())
    if data.pack == "none":
        data = dataclasses.replace(data, pack=None)
    if data.normalize is None:
        data = dataclasses.replace(data, normalize="clip" if run.mode in ("zero-shot", "cache") else "none")
    if data.crop_body is None:
        data = dataclasses.replace(data, crop_body=data.bounding_box_body is not None)
    if optim.use_amp:
        if flags.get("amp", "fp16") != "fp16":
            raise UserError(f"--use-amp means --amp fp16, but --amp {optim.amp} is passed too; keep one")
        optim = dataclasses.replace(optim, amp="fp16", use_amp=False)
    if optim.lr_fusion is None:
        optim = dataclasses.replace(optim, lr_fusion=optim.lr)
    if optim.finetune_visual and not optim.learns("image"):
        optim = dataclasses.replace(optim, lr_image_encoder=optim.lr * FINETUNE)
    if optim.finetune_text and not optim.learns("text"):
        optim = dataclasses.replace(optim, lr_text_encoder=optim.lr * FINETUNE)
    if optim.has_lora("image") and "lr_image_encoder" not in flags:  # LoRA learns in place of the tower's own weights
        optim = dataclasses.replace(optim, lr_image_encoder=0.0)
    return dataclasses.replace(config, run=run, data=data, optim=optim)


def warnings_of(config: Config) -> list[str]:
    """Return warnings about training options that are allowed but rarely intended."""
    loss, model = config.loss, config.model
    if config.run.mode != "train":
        return []
    corrections = {
        "--use-weighted-sampler": loss.use_weighted_sampler,
        "--logit-adj": loss.logit_adj,
        "--class-balanced-loss": loss.class_balanced_loss,
        f"--ldam {loss.ldam}": loss.ldam != "off",
    }
    warnings = [
        f"{first} and {second} both correct for class sizes: rare classes are favoured twice"
        for first, second in combinations([flag for flag, is_on in corrections.items() if is_on], 2)
        # LDAM was published with class weights that begin late, when its margins have shaped the features
        if not (first == "--class-balanced-loss" and loss.drw_epoch > 0)
    ]
    if loss.drw_epoch >= config.optim.epochs:
        warnings.append(
            f"--drw-epoch {loss.drw_epoch}: the weights of --class-balanced-loss never begin in {config.optim.epochs} "
            f"epochs"
        )
    optim = config.optim
    if optim.schedule == "cosine" and optim.warmup_epochs >= optim.epochs:
        warnings.append(
            f"--warmup-epochs {optim.warmup_epochs:g}: the rates still rise when the {optim.epochs} epochs end"
        )
    if loss.semantic_warmup >= config.optim.epochs:
        warnings.append(
            f"--semantic-warmup {loss.semantic_warmup}: --semantic-labels never begins in {config.optim.epochs} epochs"
        )
    if config.data.bounding_box_body is not None and model.streams == "face":
        warnings.append("--bounding-box-body is not read: this model has only a face stream")
    if config.optim.select_on == "test":
        warnings.append("the best epoch is selected on test: the scores are optimistic, and the results say so")
    return warnings + method_named(model.model).warnings(config)
