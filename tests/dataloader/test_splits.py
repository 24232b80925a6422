"""A validation list held out of train."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dataloader.annotation import Clip
from dataloader.splits import hold_out


def make_clips(labels_and_persons) -> list[Clip]:
    return [
        Clip(f"P{person}/{i}", Path(f"P{person}/{i}"), ("1.jpg",), 1, label, f"P{person}/{i}", f"P{person}")
        for i, (label, person) in enumerate(labels_and_persons)
    ]


def counts(clips, C=5):
    return np.bincount([clip.label for clip in clips], minlength=C)


LISTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), min_size=2, max_size=60)


@settings(max_examples=80, deadline=None)
@given(LISTS, st.sampled_from([0.1, 0.2, 0.5, 0.8]), st.integers(0, 5))
def test_both_sides_together_are_the_list_and_hold_every_class(pairs, fraction, seed):
    clips = make_clips(pairs)
    train, val, split = hold_out(clips, fraction, 4, seed)
    assert {clip.id for clip in train} | {clip.id for clip in val} == {clip.id for clip in clips}
    assert len(train) + len(val) == len(clips)
    for label in range(4):
        if counts(clips)[label] >= 2:
            assert counts(train)[label] > 0 and counts(val)[label] > 0
    assert hold_out(clips, fraction, 4, seed) == (train, val, split)


@settings(max_examples=80, deadline=None)
@given(LISTS, st.integers(0, 5))
def test_a_person_is_on_both_sides_only_through_a_class_that_is_named(pairs, seed):
    train, val, split = hold_out(make_clips(pairs), 0.2, 4, seed)
    of_train = {clip.person for clip in train if clip.label not in split}
    assert not of_train & {clip.person for clip in val if clip.label not in split}


def test_the_list_order_is_kept():
    clips = make_clips([(i % 5, i // 5) for i in range(100)])
    train, val, _ = hold_out(clips, 0.2, 5, 0)
    assert train == [clip for clip in clips if clip in train] and val == [clip for clip in clips if clip in val]


def test_persons_who_show_every_class_stay_whole_and_shares_are_exact():
    clips = make_clips([(i % 5, i // 10) for i in range(200)])  # 20 persons, 2 clips of each class
    train, val, split = hold_out(clips, 0.2, 5, 3)
    assert split == [] and counts(val).tolist() == [8] * 5
    assert not {clip.person for clip in train} & {clip.person for clip in val}


def test_uneven_classes_keep_their_shares():
    rng = np.random.default_rng(0)
    shares = [0.62, 0.06, 0.07, 0.07, 0.18]  # as in RAER
    pairs = [(int(rng.choice(5, p=shares)), int(rng.integers(120))) for _ in range(2000)]
    clips = make_clips(pairs)
    for seed in range(3):
        _, val, split = hold_out(clips, 0.2, 5, seed)
        assert split == []
        assert np.allclose(counts(val) / counts(clips), 0.2, atol=0.05)  # whole persons come in lumps


def test_a_class_of_one_person_is_split_and_named():
    clips = make_clips([(0, person) for person in range(10) for _ in range(2)] + [(1, 99)] * 10)
    train, val, split = hold_out(clips, 0.2, 2, 0)
    assert split == [1] and counts(val, 2)[1] == 2 and counts(train, 2)[1] == 8


def test_another_seed_chooses_other_persons():
    clips = make_clips([(i % 5, i // 5) for i in range(200)])
    chosen = {frozenset(clip.person for clip in hold_out(clips, 0.2, 5, seed)[1]) for seed in range(5)}
    assert len(chosen) > 1


def test_the_only_clip_of_a_class_stays_in_train():
    clips = make_clips([(0, person) for person in range(5) for _ in range(4)] + [(1, 0)])
    for seed in range(20):
        train, _, _ = hold_out(clips, 0.2, 2, seed)
        assert 1 in {clip.label for clip in train}


def test_clips_of_unknown_persons_go_one_by_one_and_no_person_is_named_split():
    clips = [replace(clip, person=None) for clip in make_clips([(i % 5, 0) for i in range(100)] + [(4, 0)] * 2)]
    train, val, split = hold_out(clips, 0.2, 5, 0)
    assert counts(val).tolist() == [4, 4, 4, 4, 4] and split == []  # a fifth of 20, and of 22 as near as it comes
    assert len(train) == 82


def test_a_rare_class_of_unknown_persons_is_on_both_sides():
    clips = [replace(clip, person=None) for clip in make_clips([(0, 0)] * 40 + [(1, 0)] * 2 + [(2, 0)])]
    train, val, split = hold_out(clips, 0.2, 3, 1)
    assert counts(val, 3).tolist() == [8, 1, 0] and counts(train, 3).tolist() == [32, 1, 1] and split == []


def test_one_clip_listed_twice_is_not_on_both_sides():
    clips = [replace(clip, person=None) for clip in make_clips([(0, 0)] * 20)]
    for seed in range(5):
        train, val, _ = hold_out(clips + clips, 0.2, 1, seed)
        assert val and not {clip.key for clip in train} & {clip.key for clip in val}


def test_known_and_unknown_persons_may_be_mixed():
    known = make_clips([(i % 2, i // 4) for i in range(40)])
    unknown = [
        replace(c, person=None, key=f"u/{c.key}", id=f"u/{c.id}") for c in make_clips([(i % 2, 0) for i in range(40)])
    ]
    train, val, split = hold_out(known + unknown, 0.2, 2, 0)
    assert split == [] and counts(val, 2).tolist() == [8, 8]
    assert not {c.person for c in train if c.person} & {c.person for c in val if c.person}
