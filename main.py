"""Emotion recognition from video with CLIP. `python main.py --help` lists every flag, README.md the usual commands."""

import errno
import os
import sys
from functools import partial

from engine.settings import read_command
from utils.config import describe
from utils.errors import Interrupted, UserError

# torch's threads spin while they wait for one another; beside decoding processes on few cores that costs several times
# what it saves. Read when torch is first imported, so it stands here; the user's own setting wins.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

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
    # imported here, so that --help and flag errors never wait for torch
    if config.run.mode == "train":
        from engine.train import train

        run = partial(train, given=given)
    elif config.run.mode == "eval":
        from engine.evaluate import evaluate

        run = partial(evaluate, given=given)
    elif config.run.mode in ("inspect", "convert"):
        from engine import inspect

        run = partial(inspect.inspect if config.run.mode == "inspect" else inspect.convert, given=given)
    elif config.run.mode == "pretrain-clip":
        from engine.pretrain import pretrain as run
    else:
        from engine.zero_shot import zero_shot as run
    run(config)
    return 0


if __name__ == "__main__":
    sys.exit(main())
