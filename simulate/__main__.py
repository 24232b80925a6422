"""Run as ``python -m simulate --out data/raer-sim``: draws simulated people in a published layout."""

import argparse
import signal
import sys
import time
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn, get_args

from simulate.affwild2 import VideoSettings
from simulate.layouts import LayoutSettings
from simulate.makers import AnySettings
from simulate.plan import Settings
from simulate.writer import write_set


class Parser(argparse.ArgumentParser):
    """Mistakes end with one line, without the usage text."""

    def error(self, message: str):
        self.exit(2, f"error: {message}\n")


def build_parser() -> Parser:
    """One flag for every field of any kind of settings, besides where to and with how many processes."""
    parser = Parser(prog="python -m simulate", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write; it must be new or empty")
    text = f"{_options(LayoutSettings)['layout'].metadata['help']} (default: {Settings.layout})"
    parser.add_argument("--layout", choices=tuple(KINDS), default=argparse.SUPPRESS, help=text)
    for name, option in _options(Settings).items():
        kinds = get_args(option.type)
        choices = kinds if kinds and isinstance(kinds[0], str) else None
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=str if choices else kinds[0] if kinds else option.type,
            choices=choices,
            default=argparse.SUPPRESS,  # what is not given is left to the settings of the layout
            help=_help(name),
        )
    parser.add_argument("--workers", type=int, default=None, help="processes that draw (default: one for each core)")
    return parser


def _options(kind: type) -> dict[str, Field]:
    return {option.name: option for option in fields(kind)}


def _layouts_of(kind: type) -> tuple[str, ...]:
    """RAER's settings have no field for a choice of one."""
    option = _options(kind).get("layout")
    return get_args(option.type) if option else (kind.layout,)


KINDS = {name: kind for kind in (Settings, LayoutSettings, VideoSettings) for name in _layouts_of(kind)}


def _help(name: str) -> str:
    """What the flag does in RAER's layout, and what differs in the others."""
    own, others, videos = (_options(kind).get(name) for kind in (Settings, LayoutSettings, VideoSettings))
    text = own.metadata["help"] + ("" if own.default is None else f" (default: {own.default})")
    if others is None:
        return f"{text}; with --layout {Settings.layout} alone"
    text += _changes("another layout", own, others)
    return text + (_changes(VideoSettings.layout, own, videos) if videos else f"; not with {VideoSettings.layout}")


def _changes(layout: str, own: Field, other: Field) -> str:
    changes = [other.metadata["help"]] if other.metadata["help"] != own.metadata["help"] else []
    changes += [f"default: {other.default}"] if other.default not in (None, own.default) else []
    return f"; with {layout} {', '.join(changes)}" if changes else ""


def settings_of(options: dict) -> AnySettings:
    """The settings of the layout asked for; ValueError for a flag that means nothing to it."""
    layout = options.get("layout", Settings.layout)
    kind = KINDS[layout]
    if kind is Settings:
        return Settings(**{name: value for name, value in options.items() if name != "layout"})
    for name in options:
        if name not in _options(kind):
            raise ValueError(f"--{name.replace('_', '-')} means nothing with --layout {layout}{_meant_for(name)}")
    return kind(**options)


def _meant_for(name: str) -> str:
    return "" if name in _options(LayoutSettings) else f": it is for {Settings.layout} alone"


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


def answer_signals(answer: Any) -> None:
    """To Ctrl-C, and to being ended by others, which cleans up, too."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, answer)


def end_once(*_: object) -> NoReturn:
    """Whoever asks again does not stop the clean-up halfway. A worker would inherit SIG_IGN and could not be ended."""
    answer_signals(lambda *_: None)
    raise KeyboardInterrupt


if __name__ == "__main__":
    answer_signals(end_once)
    status = main()
    answer_signals(signal.SIG_IGN)  # all is done or removed: the status stands
    sys.exit(status)
