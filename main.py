"""Emotion recognition from video with CLIP. `python main.py --help` lists every flag, README.md the usual commands."""

import errno
import os
import sys
from importlib import import_module

from engine.series.folds import is_series
from engine.settings import read_command, resumed_series
from utils.config import describe
from utils.errors import Interrupted, UserError

# torch's threads spin while they wait for one another; beside decoding processes on few cores that costs several times
# what it saves. Read when torch is first imported, so it stands here; the user's own setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

MODES = {  # mode, or what train is for another task → where it lives
    "train": ("engine.train", "train"),
    "regression": ("engine.regress", "regress"),
    "eval": ("engine.evaluate", "evaluate"),
    "zero-shot": ("engine.zero_shot", "zero_shot"),
    "cache": ("engine.frame_cache", "cache"),
    "predict": ("engine.predict", "predict"),
    "serve": ("engine.serve.run", "serve"),
    "compare": ("engine.comparing.compare", "compare"),
    "ablate": ("engine.comparing.ablate", "ablate"),
    "report": ("engine.report", "report"),
    "attention": ("engine.attention.run", "attention"),
    "export": ("engine.video.export", "export"),
    "pretrain-clip": ("engine.pretrain", "pretrain"),
    "inspect": ("engine.inspect", "inspect"),
    "convert": ("engine.inspect", "convert"),
}
OWN = ("benchmarks", "dataloader", "engine", "models", "utils")  # what lacks of these is no user's mistake
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def main(arguments: list[str] | None = None) -> int:
    """Parse, choose a mode; a user's mistake becomes one line and exit status 2."""
    try:
        given, config = read_command(sys.argv[1:] if arguments is None else arguments)
        if config.run.dry_run:
            print(describe(vars(config)))
            return 0
        return run_mode(given, config)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if not package or package in OWN:
            raise
        print(f"error: {package} is not installed: pip install -r requirements.txt", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read the output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in DISK_FAULTS:
            raise
        print(
            f"error: {error.filename or 'the disk'}: {error.strerror.lower()}; nothing more is written", file=sys.stderr
        )
        return 2
    except Interrupted as signal:
        print(signal, file=sys.stderr)
        return signal.status
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C", file=sys.stderr)
        return 130


def run_mode(given, config) -> int:
    config = resumed_series(config, given)
    regression = config.run.mode == "train" and config.model.task == "regression"
    module, name = MODES["regression" if regression else config.run.mode]
    run = getattr(import_module(module), name)  # only now: --help and flag errors never wait for torch
    if is_series(config):
        import_module("engine.series.run").run_series(config, given, run)
    else:
        run(config, given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
