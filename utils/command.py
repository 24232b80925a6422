"""End of a command: one line and status 2 for a user's mistake, 130 for Ctrl-C; a bug keeps its traceback."""

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from utils.errors import Interrupted, UserError, reason_of

PACKAGES = (  # of this project; a missing module of these is a bug
    "analysis", "apps", "benchmarks", "dataloader", "engine", "models", "simulate", "sweep", "utils",
)  # fmt: skip
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAIN = os.path.join(ROOT, "main.py")
CLOSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG)


def run_command(run: Callable[[], int], interrupted: str = "stopped by Ctrl-C") -> int:
    """Return the exit status of ``run``. A user's mistake is printed as one line; a bug is raised."""
    if hasattr(sys.stdout, "reconfigure"):  # letters that a terminal lacks are printed like "\xe4"
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return run()
    except UserError as error:
        return fail(str(error))
    except ModuleNotFoundError as error:
        if (message := missing_package(error)) is None:
            raise
        return fail(message)
    except BrokenPipeError:  # the reader of the output, such as `head`, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in FULL + CLOSED:
            raise
        end = "; nothing more is written" if error.errno in FULL else ""
        return fail(f"{error.filename or 'the disk'}: {reason_of(error)}{end}")
    except Interrupted as signal:
        print(signal, file=sys.stderr)
        return signal.status
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        return 130


def missing_package(error: ModuleNotFoundError, root: str = ROOT) -> str | None:
    """Return a message on the missing package and how to install it; None for a module of this project."""
    package = (error.name or "").partition(".")[0]
    if not package or package in PACKAGES:
        return None
    environment = os.path.join(root, ".venv")
    python = os.path.join(environment, "bin", "python")
    is_running = os.path.realpath(sys.prefix) == os.path.realpath(environment)
    if os.path.exists(python) and not is_running:
        names = (os.path.relpath(path) if os.getcwd() == root else path for path in (python, environment))
        advice = "run {} instead, or `source {}/bin/activate`".format(*names)
    else:
        advice = f"run `bash {'setup.sh' if os.getcwd() == root else os.path.join(root, 'setup.sh')}`"
    return f"{package} is not installed for {sys.executable}: {advice}"


def python_name() -> str:
    """Return the command of the running Python: ``python``, or its path if ``python`` is another one."""
    if os.path.abspath(shutil.which("python") or "") == os.path.abspath(sys.executable):
        return "python"
    relative = os.path.relpath(sys.executable)
    return shlex.quote(sys.executable if relative.startswith("..") else relative)


def hide_interrupt() -> None:
    """Print Ctrl-C and a missing package as one line even while a command is still importing its modules.

    Packages with commands call this. It changes nothing in a program that only imports them.
    """
    if sys.argv and (sys.argv[0] == "-m" or os.path.abspath(sys.argv[0]) == MAIN):  # "-m" until the module is known
        sys.excepthook = show_error


def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("\nstopped by Ctrl-C", file=sys.stderr)
    elif isinstance(error, ModuleNotFoundError) and (message := missing_package(error)) is not None:
        status = fail(message)
        sys.stderr.flush()
        os._exit(status)  # Python would exit with 1
    else:
        sys.__excepthook__(kind, error, trace)


def fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


@contextmanager
def writing_to(flag: str, folder: str) -> Iterator[None]:
    """Turn the error of a file that cannot be written below ``folder`` into a ``UserError`` that names ``flag``."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        room = "; make room and run the command again" if error.errno in FULL else ""
        is_elsewhere = error.filename is not None and not str(error.filename).startswith(str(folder))
        raise UserError(f"{error.filename if is_elsewhere else f'{flag} {folder}'}: {reason_of(error)}{room}") from None
