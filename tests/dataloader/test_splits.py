"""A validation list held out of train."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataloader.annotation import Clip
from dataloader.splits import hold_out


def make_clips(labels_and_persons, has_persons=True) -> list[Clip]:
    names = [(f"P{person}/{i}", label, f"P{person}") for i, (label, person) in enumerate(labels_and_persons)]
    return [Clip(n, Path(n), ("1.jpg",), 1, label, n, person if has_persons else None) for n, label, person in names]


def counts(clips, C=5):
    return np.bincount([clip.label for clip in clips], minlength=C).tolist()


def persons(clips):
    return {clip.person for clip in clips if clip.person}


LISTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=2, max_size=60)


@settings(max_examples=80, deadline=None)
@given(LISTS, st.sampled_from([0.1, 0.2, 0.5, 0.8]), st.integers(0, 5))
def test_both_lists_together_are_complete_have_every_class_and_split_persons_are_named(pairs, fraction, seed):
    clips = make_clips(pairs)
    train, val, split = hold_out(clips, fraction, 4, seed)
    assert train == [clip for clip in clips if clip in train]  # in the order of the list
    assert val == [clip for clip in clips if clip not in train]
    for label, count in enumerate(counts(clips, 4)):
        assert count < 2 or (counts(train, 4)[label] and counts(val, 4)[label])
    assert hold_out(clips, fraction, 4, seed) == (train, val, split)
    unsplit = [[clip for clip in part if clip.label not in split] for part in (train, val)]
    assert not persons(unsplit[0]) & persons(unsplit[1])


def test_persons_who_show_every_class_stay_whole_and_shares_are_exact():
    clips = make_clips([(i % 5, i // 10) for i in range(200)])  # 20 persons, 2 clips of each class
    train, val, split = hold_out(clips, 0.2, 5, 3)
    assert split == [] and counts(val) == [8] * 5 and not persons(train) & persons(val)
    assert len({frozenset(persons(hold_out(clips, 0.2, 5, seed)[1])) for seed in range(5)}) > 1  # others by the seed


@pytest.mark.parametrize("seed", range(3))
def test_uneven_classes_keep_their_shares(seed):
    rng = np.random.default_rng(0)
    shares = [0.62, 0.06, 0.07, 0.07, 0.18]  # as in RAER
    clips = make_clips([(int(rng.choice(5, p=shares)), int(rng.integers(120))) for _ in range(2000)])
    _, val, split = hold_out(clips, 0.2, 5, seed)
    assert split == []
    assert np.allclose(np.divide(counts(val), counts(clips)), 0.2, atol=0.05)  # whole persons cannot be divided evenly


def test_a_class_of_one_person_is_split_and_named():
    clips = make_clips([(0, person) for person in range(10) for _ in range(2)] + [(1, 99)] * 10)
    train, val, split = hold_out(clips, 0.2, 2, 0)
    assert split == [1] and counts(val, 2)[1] == 2 and counts(train, 2)[1] == 8


@pytest.mark.parametrize("seed", range(20))
def test_the_only_clip_of_a_class_stays_in_train(seed):
    clips = make_clips([(0, person) for person in range(5) for _ in range(4)] + [(1, 0)])
    assert counts(hold_out(clips, 0.2, 2, seed)[0], 2)[1] == 1


@pytest.mark.parametrize(
    ("labels", "C", "seed", "in_val"),
    [
        ([i % 5 for i in range(100)] + [4] * 2, 5, 0, [4, 4, 4, 4, 4]),  # the numbers nearest to a fifth of 20 and 22
        ([0] * 40 + [1] * 2 + [2], 3, 1, [8, 1, 0]),  # a rare class is in both lists
    ],
)
def test_clips_of_unknown_persons_are_divided_one_by_one(labels, C, seed, in_val):
    clips = make_clips([(label, 0) for label in labels], has_persons=False)
    train, val, split = hold_out(clips, 0.2, C, seed)
    assert counts(val, C) == in_val and split == []
    assert np.add(counts(train, C), in_val).tolist() == np.bincount(labels).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_one_clip_listed_twice_is_not_in_both_lists(seed):
    clips = make_clips([(0, 0)] * 20, has_persons=False)
    train, val, _ = hold_out(clips + clips, 0.2, 1, seed)
    assert val and not {clip.key for clip in train} & {clip.key for clip in val}


def test_known_and_unknown_persons_may_be_mixed():
    of_persons = make_clips([(i % 2, i // 4) for i in range(40)])
    unknown = make_clips([(i % 2, 0) for i in range(40)], has_persons=False)
    unknown = [replace(clip, key=f"u/{clip.key}", id=f"u/{clip.id}") for clip in unknown]
    train, val, split = hold_out(of_persons + unknown, 0.2, 2, 0)
    assert split == [] and counts(val, 2) == [8, 8] and not persons(train) & persons(val)
