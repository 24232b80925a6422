"""Run as ``python -m simulate --out data/raer-sim``: draws simulated people in a published layout."""

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, get_args

from simulate.affwild2 import VideoSettings
from simulate.layouts import LAYOUTS, LayoutSettings
from simulate.raer import Settings
from simulate.sets import SetSettings, write_set
from utils.command import python_name
from utils.errors import UserError

KINDS = (Settings, LayoutSettings, VideoSettings)
KIND_OF = {Settings.layout: Settings, **dict.fromkeys(LAYOUTS, LayoutSettings), VideoSettings.layout: VideoSettings}

SMALL_CLIP = "--clip-path weights/mini_clip.safetensors --image-size 112 --lr-image-encoder 1e-4"
CLIPS = "@recipes/dfer_clip.args @recipes/data/{}.args @recipes/simulated_faces.args"
STILLS = f"@recipes/frame_expr.args @recipes/data/{{}}.args {SMALL_CLIP} --batch-size 16"
TRAINING = {  # layout → flags of main.py that train on its sets with the small CLIP of weights/
    "raer": "@recipes/demo.args",
    "dfew": "@recipes/dfer_clip_demo.args",
    "mafw": "@recipes/emoclip_demo.args",
    "affwild2": f"@recipes/frame_expr.args {SMALL_CLIP} --batch-size 64 --frame-step 4",
    "raf-db": STILLS.format("raf_db"),
    "affectnet": STILLS.format("affectnet"),
    "fer2013": f"@recipes/frame_expr.args --dataset FER2013 --train-annotation train --val-annotation validation "
    f"--test-annotation test {SMALL_CLIP} --batch-size 16",
} | {
    name.replace("_", "-"): CLIPS.format(name) for name in ("ferv39k", "afew", "caer", "caer_s", "daisee", "engagenet")
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, without the usage text."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def build_parser() -> Parser:
    """Return a parser with one flag for every field of any kind of settings.

    A flag that is not given has the default of the layout.
    """
    parser = Parser(prog="python -m simulate", description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write; it must be new or empty")
    text = "the published set whose files, lists and classes are imitated (default: raer)"
    parser.add_argument("--layout", choices=tuple(KIND_OF), default=Settings.layout, help=text)
    for item in fields(Settings):
        types = get_args(item.type) or (item.type,)
        choices = types if isinstance(types[0], str) else None
        flag, kind = f"--{item.name.replace('_', '-')}", str if choices else types[0]
        help_text = _help(item.name)
        parser.add_argument(flag, type=kind, choices=choices, default=argparse.SUPPRESS, help=help_text)
    parser.add_argument("--workers", type=int, help="processes that draw (default: one for each core)")
    return parser


def _help(name: str) -> str:
    """Return the help of a flag for the layouts that use it."""
    titles: dict[str, list[str]] = {}
    for kind in KINDS:
        for item in fields(kind):
            if item.name == name:
                default = "" if item.default is None else f" (default: {item.default})"
                titles.setdefault(item.metadata["help"] + default, []).append(kind.title)
    if list(titles.values()) == [[kind.title for kind in KINDS]]:
        return next(iter(titles))  # the same for all
    return "; ".join(f"{' and '.join(kinds)}: {text}" for text, kinds in titles.items())


def build_settings(layout: str, options: dict[str, Any]) -> SetSettings:
    """Return the settings of the layout; raise a UserError for a flag that it does not use."""
    kind = KIND_OF[layout]
    names = {item.name for item in fields(kind)}
    for name in options:
        if name not in names:
            reason = "" if name in LayoutSettings.__dataclass_fields__ else f"; it is only for {Settings.layout}"
            raise UserError(f"--{name.replace('_', '-')} is not used with --layout {layout}{reason}")
    return kind(**options, **({"layout": layout} if "layout" in names else {}))


def main(arguments: list[str] | None = None) -> int:
    """Parse, draw and print the outcome; return the exit status."""
    options = vars(build_parser().parse_args(arguments))
    out, layout, workers = options.pop("out"), options.pop("layout"), options.pop("workers")
    start = time.monotonic()
    try:
        if workers is not None and workers < 1:
            raise UserError(f"--workers {workers}: expected 1 or more")
        settings = build_settings(layout, options)
        is_new = write_set(out, settings, workers)
    except KeyboardInterrupt:
        print(f"interrupted: nothing was written to {out}", file=sys.stderr)
        return 130
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if is_new:
        seconds = time.monotonic() - start
        print(f"wrote {settings.clips} clips of {settings.persons} persons to {out} in {seconds:.0f} s")
    else:
        print(f"{out} already holds this set: nothing to do")
    print("to train on it, with a small CLIP that needs no download:")
    print(f"  {python_name()} main.py {TRAINING[layout]} --root-dir {shlex.quote(str(out))}")
    return 0


def handle_signals(handler: Callable[..., Any] | signal.Handlers) -> None:
    """Set what happens on Ctrl-C and on SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def interrupt_once(*_: object) -> NoReturn:
    """Interrupt the drawing; later signals do not interrupt the clean-up.

    Their handler does nothing. It is not SIG_IGN, because workers would inherit that and could not be stopped.
    """
    handle_signals(lambda *_: None)
    raise KeyboardInterrupt


if __name__ == "__main__":
    handle_signals(interrupt_once)
    status = main()
    handle_signals(signal.SIG_IGN)  # everything is done or removed, so the exit status is final
    sys.exit(status)
