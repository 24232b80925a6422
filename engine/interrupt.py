"""Ctrl-C and SIGTERM during training: finish the step, save the run, and print how to continue it."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from utils.errors import Interrupted

if TYPE_CHECKING:  # it imports torch, which is not needed here
    from utils.distributed import Group

STOPPING = "stopping: the step is finished and saved first (Ctrl-C again stops at once)"


class Interruption:
    """``with Interruption() as stop``: a signal is only noted inside the block; a second Ctrl-C stops at once."""

    signals = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, message: str = STOPPING) -> None:
        self.message = message
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers only there
            self._before = {number: signal.signal(number, self._remember) for number in self.signals}
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _: Any) -> None:
        if self.received is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.received = number
        # Ctrl-C also ends a reader of our output, such as tee, and the signal may come while a line is being printed.
        with contextlib.suppress(OSError, RuntimeError):
            print(f"\n{self.message}", flush=True)

    def check(self) -> None:
        if self.received is not None:
            self.end()

    def end(self) -> None:
        """Raise ``Interrupted``. With several processes, another one may have received the signal."""
        raise Interrupted(self.received or signal.SIGTERM)


class InterruptibleLoader:
    """A loader that raises ``Interrupted`` between two batches once a signal came.

    With several processes it does not raise, because all must stop after the same step.
    """

    def __init__(self, loader: Any, stop: Interruption, group: "Group") -> None:
        self.loader, self.stop, self.group = loader, stop, group

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        try:
            for batch in self.loader:
                if self.group.world == 1:
                    self.stop.check()
                yield batch
            if self.group.world == 1:
                self.stop.check()
        except RuntimeError:  # SIGTERM often reaches the decoding processes too
            self.stop.check()
            raise
