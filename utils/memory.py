"""Freed memory goes back to the system: glibc keeps much of it, and a process that works for hours seems to grow."""

import ctypes
import sys


def give_back() -> None:
    """Some milliseconds on Linux; elsewhere nothing."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
