"""Freed memory goes back."""

import sys
from pathlib import Path

import numpy as np
import pytest

from utils.memory import give_back


def resident() -> int:
    """Pages of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own")
def test_what_is_freed_leaves_the_process():
    """Blocks that are too small to be mapped on their own stay with glibc, the more so below one that is in use."""
    blocks = [np.ones(12_000) for _ in range(2000)]  # 96 KB each, 190 MB
    last = np.ones(12_000)
    del blocks
    kept = resident()
    give_back()
    assert resident() < kept - 10_000 and last.all()


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    give_back()
