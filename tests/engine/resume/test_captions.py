"""What a run was taught is part of what it goes on from."""

from pathlib import Path

from dataloader.annotation import Clip
from dataloader.clips import Views
from engine.keep import hash_data


def test_a_run_goes_on_with_the_captions_that_it_began_with():
    def hashed(caption):
        return hash_data([Clip("c", Path("c"), ("1.jpg",), 1, 0, "c", caption=caption)], Views())

    assert hashed("a smile") != hashed("a frown") and hashed("a smile") != hashed(None)
