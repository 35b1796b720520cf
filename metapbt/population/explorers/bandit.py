"""TV.EXP3.M: which categories to try, by a bandit that plays several arms at once while rewards drift.

Source: PB2-Mult (Parker-Holder et al., 2021, section 4.1), on Exp3.M (Uchiya et al., 2010) and dependent rounding
(Gandhi et al., 2006). Pure functions: the weights are computed from the history each time.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]

_PUBLISHED_E = 2.71  # what the published code takes for e where weights drift


def exploration_rate(arms: int, plays: int, rounds: int) -> float:
    """The share of uniform exploration for ``rounds`` rounds, as in the published code.

    That is Exp3.M's rate for a tenth of the rounds, and 0.2 where every arm can be played at once.
    """
    if plays >= arms:
        return 0.2
    return min(1.0, math.sqrt(10 * arms * math.log(arms / plays) / ((math.e - 1) * plays * rounds)))


def drift_rate(rounds: int) -> float:
    """How much of all weights every arm gets back each round, as in the published code."""
    return 0.1 / rounds


def capped(weights: Weights, plays: int, gamma: float) -> tuple[Weights, NDArray[np.bool_]]:
    """Cap the weights so that no arm would be played with a probability above one.

    Args:
        weights: of the arms, shape ``C``.
        plays: arms to be played at once, B.
        gamma: exploration rate.

    Returns:
        The capped weights, and which arms were capped (shape ``C`` both).
    """
    count = len(weights)
    nothing = np.zeros(count, dtype=bool)
    if plays >= count or gamma >= 1:
        return weights, nothing
    share = (1 / plays - gamma / count) / (1 - gamma)
    if weights.max() < share * weights.sum():
        return weights, nothing
    # With the k largest capped at a: a / (k a + rest) = share, so a = share * rest / (1 - k share); the right k is the
    # first for which the next weight is below a.
    order = np.sort(weights)[::-1]
    for k in range(1, count):
        rest = order[k:].sum()
        level = share * rest / (1 - k * share)
        if 1 - k * share > 0 and order[k] < level:
            break
    return np.minimum(weights, level), weights >= level


def distribution(weights: Weights, plays: int, gamma: float, omega: float) -> Weights:
    """How often each arm is to be played, given capped weights.

    Args:
        weights: shape ``C``, already capped.
        plays: arms to be played at once, B.
        gamma: exploration rate.
        omega: drift rate.

    Returns:
        Expected plays of each arm in one round; where there are at least as many plays as arms, its share of them.
    """
    count, total = len(weights), weights.sum()
    share = (1 - gamma) * weights / total + gamma / count + _PUBLISHED_E * omega * total / count
    plays_of_each: Weights = plays * share if plays < count else share / share.sum()
    return plays_of_each


def updated(
    weights: Weights, played: NDArray[np.intp], rewards: NDArray[np.float64], gamma: float, omega: float
) -> Weights:
    """The weights after one round.

    Args:
        weights: before it, shape ``C``.
        played: the arms played, shape ``B``.
        rewards: what they brought, in [0, 1], shape ``B``.
        gamma: exploration rate.
        omega: drift rate.
    """
    count, plays = len(weights), len(played)
    level, was_capped = capped(weights, plays, gamma)
    chances = distribution(level, plays, gamma, omega)
    estimates = np.zeros(count)
    np.add.at(estimates, played, rewards / chances[played])  # unbiased, for unplayed arms count 0
    exponent = np.where(was_capped, 0.0, plays * gamma * estimates / count)
    grown = weights * np.exp(np.minimum(exponent, 50.0)) + _PUBLISHED_E * omega * weights.sum() / count
    scaled: Weights = grown / grown.mean()  # only ratios matter; this keeps them finite
    return scaled


def play(weights: Weights, plays: int, gamma: float, omega: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw the arms of a round: different ones where there are more arms than plays; shape ``B``, in random order."""
    level, _ = capped(weights, plays, gamma)
    chances = distribution(level, plays, gamma, omega)
    if plays >= len(weights):
        return rng.choice(len(weights), size=plays, p=chances)
    arms = dependent_rounding(_summing_to(chances, plays), rng)
    return rng.permutation(arms)


def dependent_rounding(chances: Weights, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw exactly k different arms such that each is drawn with its own probability (Gandhi et al., 2006).

    Args:
        chances: shape ``C``, in [0, 1], with the whole number k as their sum.
        rng: the source of randomness.
    """
    left = chances.copy()
    open_arms = [int(i) for i in np.flatnonzero((left > 1e-9) & (left < 1 - 1e-9))]
    while len(open_arms) > 1:
        i, j = open_arms[-1], open_arms[-2]
        up, down = min(1 - left[i], left[j]), min(left[i], 1 - left[j])
        shift = up if rng.random() < down / (up + down) else -down
        left[i] += shift
        left[j] -= shift
        open_arms = [arm for arm in open_arms if 1e-9 < left[arm] < 1 - 1e-9]
    return np.flatnonzero(left > 0.5)


def _summing_to(chances: Weights, plays: int) -> Weights:
    """Scale probabilities to sum to ``plays`` with none above one (drift makes them sum to a little more)."""
    scaled: Weights = np.minimum(chances * plays / chances.sum(), 1.0)
    while scaled.sum() < plays - 1e-12:
        below = scaled < 1
        scaled[below] = np.minimum(scaled[below] * (plays - (~below).sum()) / scaled[below].sum(), 1.0)
    return scaled
