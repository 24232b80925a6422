"""``--seeds``: which seeds are meant, and what they cannot be combined with."""

import re
from typing import Any

from engine.options import Config
from utils.errors import UserError

MOST, HIGHEST = 1000, 2**32 - 1


def seeds_of(words: str, first: int) -> list[int]:
    """``5``: five of them, from ``--seed`` on; ``1,2,3``: those."""
    if not re.fullmatch(r"[0-9]+(,[0-9]+)*", words):
        raise UserError(f"--seeds {words}: expected how many, such as 5, or which, such as 1,2,3")
    numbers = [int(word) for word in words.split(",")]
    if len(numbers) == 1 and not 1 <= numbers[0] <= MOST:
        raise UserError(f"--seeds {words}: how many seeds, 1 to {MOST}; a single one by its name is --seed {words}")
    seeds = list(range(first, first + numbers[0])) if len(numbers) == 1 else numbers
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds {words}: the same seed twice is the same run twice")
    if max(seeds) > HIGHEST:
        raise UserError(f"--seeds {words}: {max(seeds)} is above {HIGHEST}, the highest seed")
    return seeds


def check_seeds(config: Config) -> None:
    """Refuse what seeds cannot be combined with."""
    words, mode, data = config.results.seeds, config.run.mode, config.data
    if words is None:
        return
    if mode not in ("train", "ablate"):
        raise UserError(f"--seeds {words}: trains a run for each seed; --mode {mode} trains none")
    seeds = seeds_of(words, config.run.seed)
    if "all" in (data.fold, data.leave_out):
        flag = "--fold" if data.fold == "all" else "--leave-out"
        raise UserError(f"--seeds {words} {flag} all: one series at a time; name one of {flag}, or one --seed")
    if mode == "train" and len(seeds) == 1:
        raise UserError(f"--seeds {words}: one run has no spread; ask for two or more, or leave it out")
    if mode == "train" and config.model.task == "regression":
        raise UserError(f"--seeds {words}: --task regression is a series over subjects already; pass one --seed each")


def members_by_seed(config: Config) -> list[tuple[str, dict[str, Any]]]:
    """(name of the run, what it is given besides) of each seed."""
    seeds = seeds_of(config.results.seeds, config.run.seed)
    return [(f"seed-{seed}", {"seed": seed, "seeds": None}) for seed in seeds]
