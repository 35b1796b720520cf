"""TV.EXP3.M against the values of the published code (tests/data/exp3.json states their source)."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq

from metapbt.population.explorers import bandit

CASES = json.loads((Path(__file__).parents[2] / "data" / "exp3.json").read_text())["cases"]


def shares(weights, plays, gamma, omega):
    return bandit.distribution(bandit.capped(np.array(weights), plays, gamma)[0], gamma, omega)


@pytest.mark.parametrize("case", CASES)
def test_caps_rates_and_distributions_equal_the_published_ones(case):
    plays, gamma, omega = case["batch_size"], case["gamma"], case["omega"]
    assert bandit.exploration_rate(case["n_arms"], plays, case["rounds"]) == pytest.approx(gamma, abs=1e-6)
    assert bandit.drift_rate(case["rounds"]) == pytest.approx(omega, abs=1e-9)
    level, was_capped = bandit.capped(np.array(case["weights"]), plays, gamma)
    assert level == pytest.approx(case["weights_after_cap"], abs=1e-6)
    assert np.flatnonzero(was_capped).tolist() == case["capped_arms"]
    published = np.array(case["distribution"])  # expected plays, or shares: both are normalised before arms are drawn
    assert bandit.distribution(level, gamma, omega) == pytest.approx(published / published.sum(), abs=1e-6)


@pytest.mark.parametrize(("arms", "plays", "rate"), [(4, 4, 0.2), (4, 8, 0.2), (6, 4, 0.266), (4, 1, 0.803)])
def test_exploration_follows_from_all_the_plays_of_a_round(arms, plays, rate):
    assert bandit.exploration_rate(arms, plays, 50) == pytest.approx(rate, abs=5e-4)


WEIGHTS = (
    [50.0, 1, 1, 1, 1],
    [50.0, 40, 1, 1, 1, 0.5],
    [50.0, 1, 8, 0.1],
    [30.0, 30, 30, 1],
    [1e9, 1e-9, 1e-9, 1e-9, 1e-9],
    [1.0, 1e-280, 1e-280],
    [1.0, 1, 1, 1, 1],
)


@pytest.mark.parametrize("gamma", [0.0, 0.01, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("plays", range(1, 8))
@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_cap_solves_its_equation_and_only_a_play_in_every_round_is_capped(weights, plays, gamma):
    weights = np.array(weights) / sum(weights)
    level, was_capped = bandit.capped(weights, plays, gamma)
    assert (level[~was_capped] == weights[~was_capped]).all()
    assert (level > 0).all()
    expected = plays * shares(weights, plays, gamma, omega=0.0)
    assert expected.sum() == pytest.approx(plays)
    if plays < len(weights):
        assert (expected <= 1 + 1e-9).all()
        assert expected[was_capped] == pytest.approx(1.0)
    if was_capped.any():
        target = (1 / plays - gamma / len(weights)) / (1 - gamma)
        low, high = np.log([weights.min(), weights.max()])
        cap = brentq(lambda log: np.exp(log) / np.minimum(weights, np.exp(log)).sum() - target, low, high)
        assert level[was_capped] == pytest.approx(np.exp(cap), rel=1e-6, abs=0.0)
    else:
        uncapped = plays * bandit.distribution(weights, gamma, 0.0)
        assert plays >= len(weights) or (uncapped <= 1 + 1e-9).all()


@pytest.mark.parametrize("weights", [[1.0, 0.0, 0.0, 0.0], [1.0, 1e-20, 1e-20]])
@pytest.mark.parametrize("gamma", [0.0, 1e-17, 0.1])
def test_a_single_dominating_arm_stays_the_favourite_of_a_single_play(weights, gamma):
    level, was_capped = bandit.capped(np.array(weights), 1, gamma)
    assert level.tolist() == weights
    assert not was_capped.any()


@pytest.mark.parametrize("plays", [1, 2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("weights", [[0.4, 0.3, 0.2, 0.1], [0.97, 0.01, 0.01, 0.01], [0.5, 0.5], [1.0]])
def test_estimates_are_unbiased_for_any_number_of_plays_and_arms(weights, plays):
    rng, turns = np.random.default_rng(0), 5000
    gamma, omega, means = 0.3, 0.002, np.linspace(0.5, 0.9, len(weights))
    chances = shares(weights, plays, gamma, omega)
    estimates = np.zeros((turns, len(weights)))
    for turn in range(turns):
        arms = np.array(bandit.draw(np.array(weights), plays, plays, gamma, omega, rng))
        estimates[turn] = bandit.estimated_rewards(chances, arms, means[arms])
    rounded = plays * chances % 1  # an arm is drawn so many times, rounded up with this probability
    error = means * np.sqrt(rounded * (1 - rounded) / turns) / (plays * chances)
    assert (np.abs(estimates.mean(axis=0) - means) < 4 * error + 1e-9).all()


@pytest.mark.parametrize("plays", [4, 8, 16])
def test_where_every_arm_pays_a_half_the_estimates_add_up_to_a_half_each(plays):
    arms = np.arange(plays) % 4
    assert bandit.estimated_rewards(np.full(4, 0.25), arms, np.full(plays, 0.5)) == pytest.approx(0.5)


@pytest.mark.parametrize(("plays", "count"), [(p, c) for p in (1, 2, 3, 4, 7) for c in (1, 2, 3, 4, 7) if c <= p])
def test_every_arm_is_drawn_as_often_as_its_share_says(plays, count):
    rng, weights, gamma, omega = np.random.default_rng(1), np.array([0.9, 0.05, 0.03, 0.02]), 0.2, 0.002
    expected = count * shares(weights, plays, gamma, omega)
    turns = [bandit.draw(weights, plays, count, gamma, omega, rng) for _ in range(3000)]
    draws = np.array([np.bincount(arms, minlength=4) for arms in turns])
    assert (draws.sum(axis=1) == count).all()
    assert (np.abs(draws - expected) < 1).all()
    assert draws.mean(axis=0) == pytest.approx(expected, abs=0.037)


def test_weights_sum_to_one_so_that_drift_gives_every_arm_the_published_share():
    weights = bandit.updated(np.full(4, 0.25), np.array([0, 1, 2, 3]), np.array([0.9, 0.1, 0.5, 0.2]), 4, 0.2, 0.01)
    assert weights.sum() == pytest.approx(1.0)
    without, drifting = bandit.distribution(weights, 0.2, 0.0), bandit.distribution(weights, 0.2, 0.01)
    share = 2.71 * 0.01 / 4
    assert drifting == pytest.approx((without + share) / (1 + 4 * share))


def test_weights_of_one_round_follow_the_paper_step_by_step():
    weights, played, rewards = np.array([0.5, 0.3, 0.2]), np.array([0, 2, 0, 1]), np.array([0.4, 1.0, 0.6, 0.0])
    gamma, omega, plays, arms = 0.2, 0.01, 4, 3
    chances = (1 - gamma) * weights + gamma / arms + 2.71 * omega / arms
    chances /= chances.sum()
    estimates = np.array([(0.4 + 0.6), 0.0, 1.0]) / (plays * chances)
    expected = weights * np.exp(plays * gamma * estimates / arms) + 2.71 * omega / arms
    found = bandit.updated(weights, played, rewards, plays, gamma, omega)
    assert found == pytest.approx(expected / expected.sum())


def test_thousands_of_plays_of_one_arm_leave_all_weights_positive_and_finite():
    weights = np.full(4, 0.25)
    for _ in range(5):
        weights = bandit.updated(weights, np.zeros(10_000, dtype=int), np.ones(10_000), 10_000, 0.2, 0.002)
    assert weights[0] == pytest.approx(1.0)
    assert (weights > 0).all()
    assert np.isfinite(bandit.distribution(weights, 0.2, 0.002)).all()


def test_dependent_rounding_draws_exactly_k_arms_with_the_right_marginals():
    rng = np.random.default_rng(0)
    chances = np.array([0.9, 0.5, 0.25, 0.7, 0.05, 0.6])  # sum 3
    counts = np.zeros(6)
    for _ in range(20_000):
        arms = bandit.dependent_rounding(chances, rng)
        assert len(set(arms.tolist())) == len(arms) == 3
        counts[arms] += 1
    assert counts / 20_000 == pytest.approx(chances, abs=0.012)


def test_certain_arms_are_always_drawn():
    arms = bandit.dependent_rounding(np.array([1.0, 0.0, 1.0, 0.0]), np.random.default_rng(0))
    assert arms.tolist() == [0, 2]


@pytest.mark.parametrize("plays", [1, 2, 3, 4])
def test_a_round_plays_different_arms_as_long_as_there_are_any(plays):
    rng = np.random.default_rng(0)
    for _ in range(100):
        arms = bandit.draw(np.array([0.9, 0.05, 0.03, 0.02]), plays, plays, 0.1, 0.002, rng)
        assert len(arms) == plays
        assert len(set(arms)) == plays or plays == 4


@pytest.mark.parametrize("plays", [2, 4, 8])
def test_the_bandit_comes_to_prefer_the_arm_that_pays_and_follows_it_when_it_changes(plays):
    rng = np.random.default_rng(0)
    weights, gamma, omega = np.full(4, 0.25), 0.2, bandit.drift_rate(50)
    played = []
    for turn in range(400):
        best = 1 if turn < 200 else 3
        arms = np.array(bandit.draw(weights, plays, plays, gamma, omega, rng))
        weights = bandit.updated(weights, arms, np.where(arms == best, 0.9, 0.1), plays, gamma, omega)
        played.append([(arms == 1).mean(), (arms == 3).mean()])
    most = 1 / plays if plays < 4 else 1 - gamma
    assert np.mean(played[100:200], axis=0)[0] > 0.8 * most
    assert np.mean(played[300:], axis=0)[1] > 0.8 * most
