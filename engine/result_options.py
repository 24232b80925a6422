"""Options of what is made of predictions: intervals, calibration, series over seeds, ablations."""

from dataclasses import dataclass
from typing import Literal

from utils.config import option


@dataclass(frozen=True)
class ResultOptions:
    ci: Literal["auto", "persons", "clips", "off"] = option(
        "auto", "what is drawn again for the 95 % intervals of all scores; auto: persons where known, else clips"
    )
    calibrate: bool = option(
        False, "fit one temperature on the validation clips; best.pt keeps it and probabilities are divided by it"
    )
    abstain: float | None = option(
        None, "answers less sure than this are withheld: coverage, and the scores of the rest", minimum=0, maximum=1
    )
    seeds: str | None = option(
        None, "a run for each seed, and their mean: how many (42 and on), or which: 1,2,3", metavar="N|A,B,..."
    )
    grid: tuple[str, ...] = option(
        (),
        '--mode ablate: options and their values, all combinations: "mi_loss_weight=0,0.5 adapter=none"',
        metavar="NAME=A,B",
    )
    drop_one: bool = option(False, "--mode ablate: each part of the method that is on left out in turn")
    mistake_frames: bool = option(
        True, "frames of the surest mistakes in the run folder, and in --mode report: pictures of the set's people"
    )
