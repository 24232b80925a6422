"""Work in several processes: its order, and Ctrl-C at any moment."""

import multiprocessing
import multiprocessing.context
import signal

import pytest

from utils.processes import ordered_map


def hears_ctrl_c(_):
    signal.raise_signal(signal.SIGINT)
    return False


def test_results_are_in_order_and_workers_ignore_ctrl_c():
    with ordered_map(2, abs, -1) as run:
        assert list(run(str, range(5))) == ["0", "1", "2", "3", "4"]
        assert list(run(hears_ctrl_c, range(4))) == [False] * 4


def test_ctrl_c_while_the_workers_start_is_handled(monkeypatch):
    start, pools = multiprocessing.context.SpawnContext.Pool, []

    def interrupted(context, *words):
        signal.raise_signal(signal.SIGINT)
        pools.append(start(context, *words))
        return pools[0]

    monkeypatch.setattr(multiprocessing.context.SpawnContext, "Pool", interrupted)
    with pytest.raises(KeyboardInterrupt), ordered_map(2, abs, -1):
        pytest.fail("went on")
    with pytest.raises(ValueError, match="not running"):  # the workers have ended
        pools[0].apply(abs, (-1,))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
