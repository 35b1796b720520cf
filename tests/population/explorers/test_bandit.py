"""TV.EXP3.M against the values of the published code (tests/data/exp3.json states their source)."""

import json
from pathlib import Path

import numpy as np
import pytest

from metapbt.population.explorers import bandit

CASES = json.loads((Path(__file__).parents[2] / "data" / "exp3.json").read_text())["cases"]


@pytest.mark.parametrize("case", CASES)
def test_caps_rates_and_distributions_equal_the_published_ones(case):
    plays, gamma, omega = case["batch_size"], case["gamma"], case["omega"]
    assert bandit.exploration_rate(case["n_arms"], plays, case["rounds"]) == pytest.approx(gamma, abs=1e-6)
    assert bandit.drift_rate(case["rounds"]) == pytest.approx(omega, abs=1e-9)
    level, was_capped = bandit.capped(np.array(case["weights"]), plays, gamma)
    assert level == pytest.approx(case["weights_after_cap"], abs=1e-6)
    assert np.flatnonzero(was_capped).tolist() == case["capped_arms"]
    assert bandit.distribution(level, plays, gamma, omega) == pytest.approx(case["distribution"], abs=1e-6)


@pytest.mark.parametrize("weights", [[50.0, 1, 1, 1, 1], [50.0, 40, 1, 1, 1, 0.5], [50.0, 1, 8, 0.1]])
def test_a_cap_brings_the_largest_weights_to_a_play_in_every_round(weights):
    gamma, plays = 0.1, 3 if len(weights) > 4 else 2
    level, was_capped = bandit.capped(np.array(weights), plays, gamma)
    assert was_capped.any()
    chances = bandit.distribution(level, plays, gamma, omega=0.0)
    assert chances[was_capped] == pytest.approx(1.0)
    assert (chances[~was_capped] < 1).all()
    assert (level[~was_capped] == np.array(weights)[~was_capped]).all()


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


@pytest.mark.parametrize("plays", [1, 2, 3, 5])
def test_a_round_plays_different_arms_as_long_as_there_are_any(plays):
    rng = np.random.default_rng(0)
    for _ in range(100):
        arms = bandit.play(np.array([5.0, 0.2, 0.2]), plays, 0.1, 0.002, rng)
        assert len(arms) == plays
        assert len(set(arms.tolist())) == plays or plays >= 3


def test_the_bandit_comes_to_prefer_the_arm_that_pays_and_follows_it_when_it_changes():
    rng = np.random.default_rng(0)
    weights, gamma, omega = np.ones(4), 0.2, bandit.drift_rate(50)
    shares = []
    for turn in range(400):
        best = 1 if turn < 200 else 3
        arms = bandit.play(weights, 2, gamma, omega, rng)
        rewards = np.where(arms == best, 0.9, 0.1)
        weights = bandit.updated(weights, arms, rewards, gamma, omega)
        shares.append([1 in arms, 3 in arms])
    assert np.mean(shares[100:200], axis=0)[0] > 0.8
    assert np.mean(shares[300:], axis=0)[1] > 0.8
