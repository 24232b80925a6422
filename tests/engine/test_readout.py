"""The readout: what it learns and in which units, what it ignores; its losses against closed forms."""

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from engine.config import make_config
from engine.readout import Readout, regression_loss


def config(**given):
    settings = {"optimizer": "AdamW", "lr": 1e-3, "epochs": 60, "batch_size": 32, "milestones": (50,)}
    return make_config(settings | {"model": "emoclip", "task": "regression"} | given)


def linear_data(N=300, D=8, K=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features, weights = torch.randn(N, D, generator=generator), torch.randn(D, K, generator=generator)
    return features, features @ weights


def fit(features, values, part="test", **given):
    return Readout(features, values, config(**given), part)


# -- what is learnt -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "ccc"])
def test_a_linear_relation_is_learnt(loss):
    features, values = linear_data()
    readout = fit(features[:200], values[:200], regression_loss=loss)
    assert r2_score(values[200:], readout(features[200:])) > 0.95


def test_predictions_are_in_the_units_of_the_targets():
    """Features and targets far from 0 and 1, as they are: nobody standardises them before asking."""
    features, values = linear_data()
    features, values = 50 + 20 * features, torch.stack([1000 + 30 * values[:, 0], 0.002 * values[:, 1]], dim=1)
    guess = fit(features[:200], values[:200])(features[200:])
    assert guess.shape == (100, 2) and guess.dtype == np.float64
    assert all(r2_score(values[200:, k], guess[:, k]) > 0.95 for k in range(2))


def test_other_units_change_predictions_by_just_those_units():
    features, values = linear_data()
    plain = fit(features, values, epochs=5)(features)
    other = fit(3 * features - 7, 100 * values + 20, epochs=5)(3 * features - 7)
    np.testing.assert_allclose(other, 100 * plain + 20, rtol=1e-3, atol=0.2)


def test_the_same_part_is_trained_the_same_and_another_is_not():
    features, values = linear_data(50)
    torch.manual_seed(1)
    one = fit(features, values, epochs=3)(features)
    torch.manual_seed(2)
    assert np.array_equal(one, fit(features, values, epochs=3)(features))
    assert not np.array_equal(one, fit(features, values, part="other", epochs=3)(features))


# -- what is ignored ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "ccc"])
def test_unknown_targets_are_ignored_and_the_rest_of_their_clip_is_not(loss):
    features, values = linear_data()
    values[::3, 0] = torch.nan
    values[1::3, 1] = torch.nan
    assert r2_score(linear_data()[1], fit(features, values, regression_loss=loss)(features)) > 0.95


@pytest.mark.parametrize("loss", ["mse", "ccc"])
def test_a_clip_without_any_target_teaches_nothing(loss):
    """Whatever else is in its features: standardised, they stay where they were."""
    features, values = linear_data(64)
    mirrored = torch.cat([features, features])  # the same mean and deviation with and without
    unknown = torch.cat([values, torch.full_like(values, torch.nan)])
    wild = mirrored.clone()
    wild[64:] = wild[64:].flip(0)
    one = fit(mirrored, unknown, regression_loss=loss, epochs=3, batch_size=128)
    other = fit(wild, unknown, regression_loss=loss, epochs=3, batch_size=128)
    np.testing.assert_allclose(one(features), other(features), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", ["mse", "ccc"])
def test_a_target_that_is_the_same_everywhere_is_predicted(loss):
    features, values = linear_data(40)
    values[:, 1] = 3.7
    guess = fit(features, values, regression_loss=loss, epochs=5)(features)
    assert np.isfinite(guess).all()
    np.testing.assert_allclose(guess[:, 1], 3.7, atol=0.01)


@pytest.mark.parametrize("loss", ["mse", "ccc"])
def test_one_clip_is_enough_for_finite_numbers(loss):
    features, values = linear_data(1)
    readout = fit(features, values, regression_loss=loss, epochs=2)
    assert np.isfinite(readout(linear_data(5)[0])).all()


def test_a_feature_that_never_varied_in_training_does_not_run_away_when_it_does():
    features, values = linear_data()
    features[:, 0] = 5.0
    readout = fit(features, values, epochs=10)
    moved = features.clone()
    moved[:, 0] += 0.01
    spread = values.std(0).numpy()
    assert (np.abs(readout(moved) - readout(features)) < 0.1 * spread).all()


# -- losses ---------------------------------------------------------------------------------------------------------

GUESS = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 60.0]])
TARGET = torch.tensor([[1.0, 11.0], [4.0, torch.nan], [1.0, 56.0]])
ALL = torch.ones(3, 2, dtype=torch.bool)


def concordance(x, y):
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    (vx, cov), (_, vy) = np.cov(x, y, bias=True)
    return 2 * cov / (vx + vy + (x.mean() - y.mean()) ** 2)


def test_squared_error_is_the_mean_over_what_is_known():
    """0, 4, 9 of the first target, 1 and 16 of the second."""
    assert regression_loss(GUESS, TARGET, ~TARGET.isnan(), "mse").item() == pytest.approx(30 / 5)


def test_concordance_loss_is_the_mean_over_targets_of_what_is_known():
    expected = np.mean([1 - concordance([1, 2, 4], [1, 4, 1]), 1 - concordance([10, 60], [11, 56])])
    assert regression_loss(GUESS, TARGET, ~TARGET.isnan(), "ccc").item() == pytest.approx(expected, rel=1e-5)


def test_concordance_loss_of_lines():
    x = torch.tensor([[-1.0], [0.0], [2.0], [5.0]])
    for a, b, expected in ((1, 0, 0.0), (-1, 3, 2.0), (1, 2, 1 - 10.5 / 14.5), (2, -1.5, 1 - 21 / 26.25)):
        got = regression_loss(a * x + b, x, torch.ones(4, 1, dtype=torch.bool), "ccc")
        assert got.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["mse", "ccc"])
def test_what_is_masked_does_not_count(kind):
    known = ALL.clone()
    known[1] = False
    wild = TARGET.nan_to_num(0.0)
    wild[1] = 1e6
    assert regression_loss(GUESS, TARGET, known, kind) == regression_loss(GUESS, wild, known, kind)


@pytest.mark.parametrize("kind", ["mse", "ccc"])
@pytest.mark.parametrize("known", [~ALL, ALL & torch.tensor([[True], [False], [False]])])
def test_losses_and_slopes_are_finite_with_little_or_nothing_known(kind, known):
    guess = GUESS.clone().requires_grad_()
    loss = regression_loss(guess, TARGET.nan_to_num(torch.nan), known, kind)
    loss.backward()
    assert loss.isfinite() and guess.grad.isfinite().all()
    assert (guess.grad[~known] == 0).all()


def test_concordance_loss_of_constants_has_finite_slopes():
    guess = torch.full((4, 1), 2.0, requires_grad=True)
    loss = regression_loss(guess, torch.full((4, 1), 2.0), torch.ones(4, 1, dtype=torch.bool), "ccc")
    loss.backward()
    assert loss.isfinite() and guess.grad.isfinite().all()
