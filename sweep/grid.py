"""``--grid``, ``--drop-one``: which variants an ablation is of, each the options in which it differs from the base."""

import dataclasses
import hashlib
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_origin

from engine.options import GROUPS, Config
from utils.config import flag_of, parse, written
from utils.errors import UserError, closest

LONGEST = 100  # letters of a folder
METHODS = ("clip-caer", "dfer-clip", "emoclip")  # that answer with one class a clip
VARIED = ("data", "model", "optim", "loss")  # groups that a grid may name options of
OF_THE_TEST = (  # other clips or classes, or another measure: no ablation
    "dataset", "root_dir", "test_annotation", "fold", "leave_out", "label_type", "class_texts", "targets",
    "subject_folds", "task", "eval_batch_size", "cache_dir",
)  # fmt: skip
Changes = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Variant:
    """``changes``: what is given besides the base's own options."""

    name: str
    changes: Changes

    @property
    def folder(self) -> str:
        plain = re.sub(r"[^A-Za-z0-9.=_-]+", "-", self.name).strip("-.")
        if len(plain) <= LONGEST:
            return plain
        return f"{plain[: LONGEST - 9]}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"  # others begin like it

    @property
    def changed(self) -> str:
        """As it would be typed."""
        return " ".join(f"{flag_of(name)} {written(value)}" for name, value in self.changes.items())


BASE = Variant("base", {})


class Part(NamedTuple):
    """A part of the method: when it is on, and what leaves it out."""

    name: str
    without: Changes
    is_on: Callable[[Config], bool]


PARTS = (
    Part("adapter (EAA)", {"adapter": "none"}, lambda c: c.model.adapter != "none" and c.model.streams != "context"),
    Part("IEC", {"slerp_weight": 0.0}, lambda c: c.model.slerp_weight > 0),
    Part("MI", {"mi_loss_weight": 0.0}, lambda c: c.loss.mi_loss_weight > 0 and c.model.tune_prompts),
    Part("DC", {"dc_loss_weight": 0.0}, lambda c: c.loss.dc_loss_weight > 0 and c.model.tune_prompts),
    Part(
        "learnable prompts",
        {"tune_prompts": False, "mi_loss_weight": 0.0, "dc_loss_weight": 0.0},
        lambda c: c.model.tune_prompts and c.model.model != "emoclip",
    ),
    Part("logit adjustment", {"logit_adj": False}, lambda c: c.loss.logit_adj),
    Part("class-balanced loss", {"class_balanced_loss": False}, lambda c: c.loss.class_balanced_loss),
    Part("weighted sampler", {"use_weighted_sampler": False}, lambda c: c.loss.use_weighted_sampler),
    Part("label smoothing", {"label_smoothing": 0.0}, lambda c: c.loss.label_smoothing > 0),
    Part("focal loss", {"focal_gamma": 0.0}, lambda c: c.loss.focal_gamma > 0),
    Part("context stream", {"streams": "face"}, lambda c: c.model.streams == "both"),
    Part("face stream", {"streams": "context", "adapter": "none"}, lambda c: c.model.streams == "both"),
    Part(
        "merged captions",
        {"merge_positives": False},
        lambda c: c.model.model == "emoclip" and c.loss.merge_positives and c.loss.caption_source == "clip",
    ),
)


def check_ablation(config: Config) -> None:
    """Refuse what cannot be an ablation, and a grid that cannot be read."""
    results, mode, model = config.results, config.run.mode, config.model
    if mode != "ablate":
        named = "--grid" if results.grid else "--drop-one" if results.drop_one else None
        if named:
            raise UserError(f"{named} belongs to --mode ablate, not to --mode {mode}")
        return
    if not results.grid and not results.drop_one and config.run.resume is None:
        raise UserError('--mode ablate needs --grid "NAME=A,B ..." or --drop-one')
    if model.model not in METHODS or model.task != "classification":
        raise UserError(
            f"--mode ablate compares answers clip by clip: --model {', '.join(METHODS)} with classes, not "
            f"{model.model} with --task {model.task}"
        )
    for flag, value in (("--fold", config.data.fold), ("--leave-out", config.data.leave_out)):
        if value == "all":
            raise UserError(f"{flag} all: an ablation is of one split; name one")
    read_grid(results.grid)


def read_grid(words: Sequence[str]) -> dict[str, list[Any]]:
    """``slerp_weight=0,0.5``: option → its values, by the option's own type and range."""
    found: dict[str, list[Any]] = {}
    for word in " ".join(words).split():
        typed, equals, values = word.partition("=")
        if not equals or not typed or "" in values.split(","):
            raise UserError(f"--grid {word}: expected NAME=VALUE,VALUE such as slerp_weight=0,0.5")
        field = option_named(typed, word)
        if field.name in found:
            raise UserError(f"--grid {word}: {field.name} is named twice; write all its values behind one NAME=")
        found[field.name] = [read_value(field, value) for value in values.split(",")]
    return found


def option_named(typed: str, word: str) -> dataclasses.Field:
    """The option that a word means, as a name or as the flag."""
    plain = typed.lstrip("-").replace("-", "_")
    fields = {field.name: field for group in VARIED for field in dataclasses.fields(GROUPS[group])}
    aliases = {a.lstrip("-").replace("-", "_"): name for name, f in fields.items() for a in f.metadata["aliases"]}
    name = aliases.get(plain, plain)
    if name == "seed":
        raise UserError(f"--grid {word}: name seeds with --seeds; each variant is run with all of them")
    if name in OF_THE_TEST:
        raise UserError(
            f"--grid {word}: {name} changes what is tested, or nothing; variants are scored on the same clips"
        )
    if name not in fields:
        raise UserError(
            f"--grid {word}: no option of data, model, optim or loss is called {typed}{closest(name, [*fields])}"
        )
    return fields[name]


def read_value(field: dataclasses.Field, text: str) -> Any:
    """Several numbers of one option are joined: milestones=10+15."""
    flag = flag_of(field.name)
    several = get_origin(field.type) is tuple
    arguments = [flag, *text.split("+")] if several else [f"{flag}={text}"]
    try:
        return parse(GROUPS, arguments, "")[field.name]
    except UserError as error:
        raise UserError(f"--grid {field.name}={text}: {str(error).rpartition(f'{flag}: ')[2]}") from None


def variants_of(config: Config) -> list[Variant]:
    """The base first; a combination that is the base, or that came before, is not repeated."""
    options = {name: value for group in vars(config).values() for name, value in vars(group).items()}
    found = [*dropped(config)] if config.results.drop_one else []
    grid = read_grid(config.results.grid)
    for values in itertools.product(*grid.values()) if grid else []:
        differing = {k: v for k, v in zip(grid, values, strict=True) if v != options[k]}
        found.append(Variant(" ".join(f"{k}={written(v)}" for k, v in differing.items()), differing))
    different = {}
    for variant in found:
        if variant.changes:
            different.setdefault(tuple(sorted(variant.changes.items())), variant)
    return [BASE, *different.values()]


def dropped(config: Config) -> list[Variant]:
    """A variant for each part that is on."""
    options = {name: value for group in vars(config).values() for name, value in vars(group).items()}
    found = []
    for part in PARTS:
        if part.is_on(config):
            differing = {name: value for name, value in part.without.items() if options[name] != value}
            found.append(Variant(f"without {part.name}", differing))
    return found
