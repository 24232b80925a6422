"""Run as ``python -m dataloader.synthetic --out data/raer-sim``: draws simulated people in a published layout."""

import argparse
import signal
import sys
import time
from dataclasses import fields
from pathlib import Path
from typing import get_args

from .layouts import LayoutSettings
from .plan import Settings
from .writer import write_set


class Parser(argparse.ArgumentParser):
    """Mistakes end with one line, without the usage text."""

    def error(self, message: str):
        self.exit(2, f"error: {message}\n")


def build_parser() -> Parser:
    """One flag for every field of either kind of settings, besides where to and with how many processes."""
    parser = Parser(prog="python -m dataloader.synthetic", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write; it must be new or empty")
    own, others = ({option.name: option for option in fields(kind)} for kind in (Settings, LayoutSettings))
    for name, option in {"layout": others["layout"], **own}.items():
        kinds = get_args(option.type)
        choices = kinds if kinds and isinstance(kinds[0], str) else None
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=str if choices else kinds[0] if kinds else option.type,
            choices=(Settings.layout, *choices) if name == "layout" else choices,
            default=argparse.SUPPRESS,  # what is not given is left to the settings of the layout
            help=_help(name, own, others),
        )
    parser.add_argument("--workers", type=int, default=None, help="processes that draw (default: one for each core)")
    return parser


def _help(name: str, own: dict, others: dict) -> str:
    """What the flag does in RAER's layout, and what differs in the others."""
    if name == "layout":
        return f"{others[name].metadata['help']} (default: {Settings.layout})"
    text, default = own[name].metadata["help"], own[name].default
    text += "" if default is None else f" (default: {default})"
    if name not in others:
        return f"{text}; with --layout {Settings.layout} alone"
    words, default = others[name].metadata["help"], others[name].default
    changes = [words] if words != own[name].metadata["help"] else []
    changes += [f"default: {default}"] if default not in (None, own[name].default) else []
    return f"{text}; with another layout {', '.join(changes)}" if changes else text


def settings_of(options: dict) -> Settings | LayoutSettings:
    """The settings of the layout asked for; ValueError for a flag that means nothing to it."""
    layout = options.get("layout", Settings.layout)
    if layout == Settings.layout:
        return Settings(**{name: value for name, value in options.items() if name != "layout"})
    known = {option.name for option in fields(LayoutSettings)}
    for name in options:
        if name not in known:
            raise ValueError(f"--{name} means nothing with --layout {layout}: it is for {Settings.layout} alone")
    return LayoutSettings(**options)


def main(arguments: list[str] | None = None) -> int:
    """Parse, draw, and say what became of it; the exit code."""
    options = vars(build_parser().parse_args(arguments))
    out, workers = options.pop("out"), options.pop("workers")
    begin = time.monotonic()
    try:
        if workers is not None and workers < 1:
            raise ValueError(f"--workers {workers}: expected 1 or more")
        settings = settings_of(options)
        is_new = write_set(out, settings, workers)
    except KeyboardInterrupt:
        print(f"interrupted: nothing was left in {out}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if is_new:
        seconds = time.monotonic() - begin
        print(f"wrote {settings.clips} clips of {settings.persons} persons to {out} in {seconds:.0f} s")
    else:
        print(f"{out} already holds this set: nothing to do")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # being ended by others cleans up, too
    sys.exit(main())
