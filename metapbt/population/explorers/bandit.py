"""TV.EXP3.M: which categories to try, by a bandit that plays several arms at once while rewards drift.

Source: PB2-Mult (Parker-Holder et al., 2021, section 4.1), on Exp3.M (Uchiya et al., 2010) and dependent rounding
(Gandhi et al., 2006). Rates and distributions are those of the published code. Where it differs from the papers, the
papers are followed: with fewer plays than arms it divides the estimated reward by the plays once more than is unbiased,
and it adds the drift to the exponential of arms that were played only.

Pure functions: the weights are computed from the history each time. Weights have shape ``C``, one positive number for
each arm, and sum 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]

_PUBLISHED_E = 2.71  # what the published code takes for e where weights drift
_LEAST = 1e-300  # a weight of exactly 0 would never grow again


def exploration_rate(arms: int, plays: int, rounds: int) -> float:
    """The share of uniform exploration for ``rounds`` rounds, as in the published code.

    That is Exp3.M's rate for a tenth of the rounds, and 0.2 where every arm can be played at once.

    Args:
        arms: C.
        plays: of a round, B: all members of the population, whether they choose anew in it or not.
        rounds: about how many there will be.
    """
    if plays >= arms:
        return 0.2
    return min(1.0, math.sqrt(10 * arms * math.log(arms / plays) / ((math.e - 1) * plays * rounds)))


def drift_rate(rounds: int) -> float:
    """How much of all weights every arm gets back each round, as in the published code."""
    return 0.1 / rounds


def capped(weights: Weights, plays: int, gamma: float) -> tuple[Weights, NDArray[np.bool_]]:
    """Cap the weights so that no arm would be played with a probability above one.

    The cap ``a`` solves ``a / sum(min(weights, a)) = (1 / plays - gamma / C) / (1 - gamma)`` (Exp3.M, step 2). The left
    side grows with ``a`` from ``1 / C``, so there is one solution wherever the largest weight is above it.

    Args:
        weights: of the arms, shape ``C``.
        plays: arms to be played at once, B.
        gamma: exploration rate.

    Returns:
        The capped weights, and which arms were capped (shape ``C`` both).
    """
    count = len(weights)
    nothing = np.zeros(count, dtype=bool)
    # A single play cannot be too many for an arm; with as many plays as arms, arms are played more than once.
    if plays == 1 or plays >= count or gamma >= 1:
        return weights, nothing
    share = (1 / plays - gamma / count) / (1 - gamma)
    if weights.max() <= share * weights.sum():
        return weights, nothing
    # With the k largest capped: a / (k a + rest) = share, so a = share * rest / (1 - k share). The right k is the first
    # for which the next weight is not above a; as the largest is above the cap, k share < 1 up to there.
    order = np.sort(weights)[::-1]
    level = order[0]
    for k in range(1, count):
        level = share * order[k:].sum() / (1 - k * share)
        if order[k] <= level:
            break
    return np.minimum(weights, level), weights >= level


def distribution(weights: Weights, gamma: float, omega: float) -> Weights:
    """The share of a round's plays that each arm is to get: shape ``C``, sum 1.

    Args:
        weights: shape ``C``, capped for so many plays as there are.
        gamma: exploration rate.
        omega: drift rate.
    """
    count, total = len(weights), weights.sum()
    share: Weights = (1 - gamma) * weights / total + gamma / count + _PUBLISHED_E * omega * total / count
    share /= share.sum()  # drift makes it sum to a little more
    return share


def estimated_rewards(shares: Weights, played: NDArray[np.intp], rewards: NDArray[np.float64]) -> Weights:
    """An estimate of every arm's reward from those of a round's plays, unbiased where arms had these shares of them.

    Args:
        shares: of each arm in the plays, shape ``C``, sum 1.
        played: the arms played, shape ``B``.
        rewards: what each play brought, shape ``B``.

    Returns:
        Rewards divided by the expected plays of their arms, added up for each arm; 0 for unplayed ones. Shape ``C``.
    """
    estimates = np.zeros(len(shares))
    np.add.at(estimates, played, rewards / (len(played) * shares[played]))
    return estimates


def updated(
    weights: Weights, played: NDArray[np.intp], rewards: NDArray[np.float64], plays: int, gamma: float, omega: float
) -> Weights:
    """The weights after one round.

    Args:
        weights: before it, shape ``C``.
        played: the arms played and reported on, shape ``n``.
        rewards: what they brought, in [0, 1], shape ``n``.
        plays: of a round, B; more than ``n`` where some do not report, or do not play.
        gamma: exploration rate.
        omega: drift rate.
    """
    count = len(weights)
    level, was_capped = capped(weights, plays, gamma)
    estimates = estimated_rewards(distribution(level, gamma, omega), played, rewards)
    exponent = np.where(was_capped, 0.0, len(played) * gamma * estimates / count)
    largest = exponent.max()  # taken from all exponents: only ratios matter, and so none overflows
    drift = _PUBLISHED_E * omega * weights.sum() / count * math.exp(-largest)
    grown = weights * np.exp(exponent - largest) + drift
    after: Weights = np.maximum(grown / grown.sum(), _LEAST)
    return after


def draw(weights: Weights, plays: int, count: int, gamma: float, omega: float, rng: np.random.Generator) -> list[int]:
    """Draw arms, different ones as far as their shares allow.

    Every arm's expected number of draws is its share times ``count``; its number is that rounded up or down.

    Args:
        weights: shape ``C``.
        plays: of a round, B.
        count: how many of these are drawn anew, at most B.
        gamma: exploration rate.
        omega: drift rate.
        rng: the source of randomness.

    Returns:
        ``count`` arms in random order.
    """
    level, _ = capped(weights, plays, gamma)
    expected = count * distribution(level, gamma, omega)
    times = np.floor(expected).astype(int)
    times[dependent_rounding(expected - times, rng)] += 1
    return [int(arm) for arm in rng.permutation(np.repeat(np.arange(len(weights)), times))]


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
