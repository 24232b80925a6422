"""What runs of one series share is kept as long as the series, and only a few of a kind."""

from engine.shared import remembered, sharing


def test_what_is_shared_ends_with_the_block():
    made = []
    for _ in range(2):
        remembered("kind", 1, lambda: made.append(0))
    assert len(made) == 2
    with sharing():
        with sharing():
            remembered("kind", 1, lambda: made.append(0))
        remembered("kind", 1, lambda: made.append(0))
        assert len(made) == 3
        for key in range(2, 8):
            remembered("kind", key, lambda: made.append(0))
        remembered("kind", 1, lambda: made.append(0))  # forgotten: only a few of a kind are kept
        assert len(made) == 10
    remembered("kind", 1, lambda: made.append(0))
    assert len(made) == 11
