"""Intervals of long videos: whole videos drawn again, against lists that are drawn again one by one."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from analysis.intervals import draw_weights, interval
from dataloader.affwild import Video
from dataloader.frame_labels import ACTION_UNITS, EXPRESSIONS
from engine.sequence.intervals import add_intervals
from engine.sequence.predict import Predicted
from engine.sequence.score import Pooled, main_numbers, table


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    """The loops below are slow."""
    monkeypatch.setattr("analysis.intervals.draw_weights.__defaults__", (120, 0))


def by_definition(x, y):
    """CCC of two lists."""
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def pooled_example(V=8, seed=0):
    """Videos of unlike length; one has no expressions, two are of two persons of one video."""
    rng, pooled = np.random.default_rng(seed), Pooled(("va", "expr", "au"))
    for v in range(V):
        N = int(rng.integers(20, 60))
        labels = {
            "va": rng.uniform(-1, 1, (N, 2)),
            "expr": rng.integers(-1, 8, N) if v else np.full(N, -1),
            "au": (rng.random((N, 12)) < 0.3).astype(float),
        }
        labels["va"][rng.random(N) < 0.2] = np.nan
        labels["au"][rng.random((N, 12)) < 0.1] = np.nan
        labels["au"][:, 0] = 0  # never active
        name = f"v{v}" if v > 1 else ("v0", "v0_left")[v]
        video = Video(name, None, tuple(f"{i}.jpg" for i in range(N)), labels)
        guess = np.where(rng.random(N) < 0.5, labels["expr"].clip(0), rng.integers(8, size=N))
        va = (0.5 * np.nan_to_num(labels["va"]) + rng.normal(0, 0.3, (N, 2))).clip(-1, 1)
        au = np.clip(0.3 * np.nan_to_num(labels["au"]) + 0.7 * rng.random((N, 12)), 0, 1)
        au[:, 0] = 0.1  # and never found
        pooled.add(Predicted(video, va, guess, au))
    return pooled


@pytest.mark.filterwarnings("ignore")
def test_every_interval_of_videos_is_that_of_videos_drawn_again():
    pooled = pooled_example()
    groups = pooled.groups()
    assert groups.count == 7  # two persons of one video are one
    got = add_intervals(pooled.score(), pooled, 0.5, groups)
    found = []
    for weights in draw_weights(7):
        rows = np.concatenate([np.flatnonzero(groups.rows == g) for g in range(7) for _ in range(weights[g])])
        one = {}
        label, guess = (part[rows] for part in pooled.of("va"))
        for k, name in enumerate(("valence", "arousal")):
            there = ~np.isnan(label[:, k])
            one[f"va_ccc_{name}"] = by_definition(label[there, k], guess[there, k].astype(float))
        one["va_ccc"] = (one["va_ccc_valence"] + one["va_ccc_arousal"]) / 2
        label, guess = (part[rows] for part in pooled.of("expr"))
        label, guess = label[label >= 0], guess[label >= 0]
        seen = sorted(set(label) | set(guess))
        f1 = f1_score(label, guess, labels=seen, average=None)
        one |= {"expr": dict(zip(seen, f1, strict=True)), "expr_f1": f1.mean()}
        label, guess = (part[rows] for part in pooled.of("au"))
        known = [label[:, k] >= 0 for k in range(12)]
        f1 = [f1_score(label[known[k], k], guess[known[k], k] >= 0.5) for k in range(1, 12)]
        one |= {"au": f1, "au_f1": np.mean(f1)}
        one["score"] = (one["va_ccc"] + one["expr_f1"] + one["au_f1"]) / 3
        found.append(one)
    for name in ("va_ccc", "va_ccc_valence", "va_ccc_arousal", "expr_f1", "au_f1", "score"):
        expected = interval(np.array([one[name] for one in found]))
        assert got["intervals"][name] == pytest.approx(expected, rel=1e-5), name
    for c, name in enumerate(EXPRESSIONS):
        expected = interval(np.array([one["expr"].get(c, np.nan) for one in found]))
        assert got["expr"]["per_class"][name]["f1_interval"] == pytest.approx(expected), name
    for k, name in enumerate(ACTION_UNITS[1:]):
        expected = interval(np.array([one["au"][k] for one in found]))
        assert got["au"]["per_class"][name]["f1_interval"] == pytest.approx(expected), name
    assert got["au"]["per_class"][ACTION_UNITS[0]]["f1_interval"] is None
    assert (got["intervals"]["resampled"], got["intervals"]["groups"]) == ("videos", 7)
    assert main_numbers(got) == main_numbers(pooled.score())


def test_the_table_shows_them_and_fits_a_screen():
    pooled = pooled_example()
    got = add_intervals(pooled.score(), pooled, 0.5, pooled.groups())
    lines = table(got).splitlines()
    low, high = got["intervals"]["va_ccc"]
    assert f"[{low:.3f}, {high:.3f}]" in lines[0] and max(map(len, lines)) <= 80
    assert "7 videos drawn again" in lines[-1]


def test_one_video_has_no_interval():
    pooled = pooled_example(V=2)
    got = add_intervals(pooled.score(), pooled, 0.5, pooled.groups())
    assert got["intervals"]["score"] is None and "[" not in table(got)
    assert len(pooled.groups().doubts()) == 1


def test_videos_of_which_nothing_is_right_have_bounds_of_f1_and_none_of_concordance():
    """Seven videos without a hit: the share of right frames is below 1 - 0.025 ** (1 / 7), F1 = 2 J / (1 + J)."""
    pooled = pooled_example()
    for label, guess in pooled.rows["expr"]:
        guess[:] = (np.maximum(label, 0) + 1) % 8
    for _, guess in pooled.rows["va"]:
        guess[:] = 0.25
    got = add_intervals(pooled.score(), pooled, 0.5, pooled.groups())
    reach = 1 - 0.025 ** (1 / 7)
    assert got["intervals"]["expr_f1"] == [0, pytest.approx(2 * reach / (1 + reach))]
    assert got["va"]["ccc"] == 0 and got["intervals"]["va_ccc"] is got["intervals"]["va_ccc_arousal"] is None
