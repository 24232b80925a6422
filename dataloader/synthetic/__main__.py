"""Run as ``python -m dataloader.synthetic --out data/raer-sim``: draws a RAER-like set of simulated students."""

import argparse
import signal
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import get_args

from .plan import Settings
from .writer import write_set


class Parser(argparse.ArgumentParser):
    """Mistakes end with one line, without the usage text."""

    def error(self, message: str):
        self.exit(2, f"error: {message}\n")


def build_parser() -> Parser:
    """One flag for every field of ``Settings``, besides where to and with how many processes."""
    parser = Parser(prog="python -m dataloader.synthetic", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write; it must be new or empty")
    for option in fields(Settings):
        kinds = get_args(option.type)
        choices = kinds if kinds and isinstance(kinds[0], str) else None
        parser.add_argument(
            "--" + option.name.replace("_", "-"),
            type=str if choices else kinds[0] if kinds else option.type,
            choices=choices,
            default=option.default,
            help=option.metadata["help"] + ("" if option.default is None else f" (default: {option.default})"),
        )
    parser.add_argument("--workers", type=int, default=None, help="processes that draw (default: one for each core)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Parse, draw, and say what became of it; the exit code."""
    options = vars(build_parser().parse_args(arguments))
    out, workers = options.pop("out"), options.pop("workers")
    begin = time.monotonic()
    try:
        if workers is not None and workers < 1:
            raise ValueError(f"--workers {workers}: expected 1 or more")
        settings = Settings(**options)
        is_new = write_set(out, settings, workers)
    except KeyboardInterrupt:
        print(f"interrupted: nothing was left in {out}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if is_new:
        print(
            f"wrote {settings.clips} clips of {settings.persons} students to {out} in {time.monotonic() - begin:.0f} s"
        )
    else:
        print(f"{out} already holds this set: nothing to do")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # being ended by others cleans up, too
    sys.exit(main())
