"""Emotion recognition from video with CLIP. `python main.py --help` lists the modes, README.md the usual commands."""

import sys
from importlib import import_module

from engine.config import note_on_dry_run, read_command
from engine.series import is_series
from utils.command import run_command
from utils.config import describe

MODES = {  # mode → module and function
    "train": ("engine.train", "train"),
    "eval": ("engine.evaluate", "evaluate"),
    "zero-shot": ("engine.zero_shot", "zero_shot"),
    "cache": ("engine.video_features", "cache"),
    "predict": ("apps.predict.run", "predict"),
    "serve": ("apps.serve.app", "serve"),
    "compare": ("engine.finished_runs", "compare"),
    "ablate": ("sweep.runner", "ablate"),
    "report": ("engine.finished_runs", "report"),
    "attention": ("apps.attention.run", "attention"),
    "export": ("apps.export", "export"),
    "pretrain-clip": ("simulate.pretrain", "pretrain"),
    "inspect": ("engine.inspect", "inspect"),
    "convert": ("engine.convert", "convert"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status; a user's mistake is printed as one line with status 2."""

    def run() -> int:
        flags, config = read_command(sys.argv[1:] if arguments is None else arguments)
        if config.run.dry_run:
            print("\n".join(filter(None, (describe(vars(config)), note_on_dry_run(config)))))
            return 0
        return run_mode(flags, config)

    return run_command(run)


def run_mode(flags, config) -> int:
    module, name = MODES[config.run.mode]
    run = getattr(import_module(module), name)  # only now: --help and flag errors never wait for torch
    if is_series(config):
        import_module("sweep.runner").run_series(config, flags, run)
    else:
        run(config, flags)
    return 0


if __name__ == "__main__":
    sys.exit(main())
