"""Results shared by the runs of a sweep are kept during the sweep, a few of each kind."""

from engine.shared import cached_result, sharing


def test_results_are_shared_inside_the_block_only():
    calls = []

    def remember(key):
        cached_result("kind", key, lambda: calls.append(key))
        return len(calls)

    assert [remember(1), remember(1)] == [1, 2], "nothing is shared outside"
    with sharing():
        with sharing():
            assert remember(1) == 3
        assert remember(1) == 3, "the inner block shares with the outer one"
        assert [remember(key) for key in range(2, 8)] == [4, 5, 6, 7, 8, 9]
        assert remember(1) == 10, "it was dropped, because only a few results of a kind are kept"
    assert remember(1) == 11
