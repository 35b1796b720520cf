"""Scores of runs and the intervals around them: pure functions on arrays.

A *score curve* is two arrays of shape ``(generations,)``: the environment steps of each member so far, and
the run's score there. Scores of several runs on one grid of steps are a matrix ``(runs, points)``. A
*stratum* is the scores ``(runs,)`` of one context; resampling within each stratum keeps easy and hard
contexts in their proportions.

The bootstrap is written here instead of taken from ``rliable.library``: that one draws from NumPy's global
random state whatever ``random_state`` it is given (rliable 1.2), so its intervals change from call to call,
and its dependency ``arch<8`` cannot be imported with pandas 3. The aggregate itself is rliable's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rliable import metrics

Array = NDArray[np.float64]
Statistic = Callable[[Sequence[Array]], float]

RESAMPLES = 2000
CONFIDENCE = 0.95
# Beyond this many, repeats are equal to within a thousandth instead of exactly, which costs no time.
MOST_REPEATED_RUNS = 1000


class Estimate(NamedTuple):
    """A number with its 95% interval; the bounds are NaN where a single seed leaves the spread unknown."""

    value: float
    low: float
    high: float


def common_grid(steps: Sequence[Array]) -> Array:
    """The environment steps at which any of the curves has a score, ascending: shape ``(points,)``."""
    return np.unique(np.concatenate([np.empty(0), *steps]))


def on_grid(steps: Array, scores: Array, grid: Array) -> Array:
    """A score curve on ``grid`` ``(points,)``: linear in between, NaN outside its first and last step."""
    if len(steps) == 0:
        return np.full(len(grid), np.nan)
    return np.interp(grid, steps, scores, left=np.nan, right=np.nan)


def final_score(scores: Array) -> float:
    """The score at the last generation; NaN for a run without any."""
    return float(scores[-1]) if len(scores) else float("nan")


def area_under_curve(steps: Array, scores: Array) -> float:
    """The mean score over training: the trapezoids' area from the first score to the last, by its width.

    A higher area at the same final score means that the method learned earlier. NaN scores are left out.
    """
    known = ~np.isnan(scores)
    steps, scores = steps[known], scores[known]
    if len(steps) < 2:
        return final_score(scores)
    return float(np.trapezoid(scores, steps) / (steps[-1] - steps[0]))


def mean_curve(scores: Array, rng: np.random.Generator) -> tuple[Array, Array, Array, NDArray[np.int64]]:
    """Mean over runs at each point, with its bootstrap percentile interval.

    Args:
        scores: ``(runs, points)``, NaN where a run has no score (it began later or stopped earlier).
        rng: draws the resamples.

    Returns:
        mean, low, high and the number of runs behind them, each ``(points,)``. The bounds are NaN where
        fewer than two runs have a score, the mean where none has.
    """
    known = ~np.isnan(scores)
    mean, low, high = (np.full(scores.shape[1], np.nan) for _ in range(3))
    # Runs are resampled whole, so the points that the same runs reach share one set of resamples.
    for runs in np.unique(known, axis=1).T:
        points = np.all(known == runs[:, None], axis=0)
        if runs.any():
            mean[points] = scores[np.ix_(runs, points)].mean(axis=0)
        if runs.sum() > 1:
            low[points], high[points] = _interval_of_mean(scores[np.ix_(runs, points)], rng)
    return mean, low, high, known.sum(axis=0)


def mean_estimate(scores: Array, rng: np.random.Generator) -> Estimate:
    """Mean of the scores ``(runs,)`` with its bootstrap interval; NaN scores are left out."""
    mean, low, high, _ = mean_curve(np.reshape(scores, (-1, 1)), rng)
    return Estimate(float(mean[0]), float(low[0]), float(high[0]))


def stratified_estimate(strata: Sequence[Array], statistic: Statistic, rng: np.random.Generator) -> Estimate:
    """A statistic of strata with its percentile interval, from resampling the runs within each stratum.

    Args:
        strata: one array ``(runs,)`` for each context; they may differ in length.
        statistic: takes such a sequence, gives one number (:func:`iqm`, :func:`mean_of_means`).
        rng: draws the resamples.
    """
    value = statistic(strata)
    if all(len(stratum) < 2 for stratum in strata):
        return Estimate(value, float("nan"), float("nan"))
    resampled = [stratum[rng.integers(len(stratum), size=(RESAMPLES, len(stratum)))] for stratum in strata]
    draws = [statistic([stratum[i] for stratum in resampled]) for i in range(RESAMPLES)]
    low, high = np.quantile(draws, _bounds())
    return Estimate(value, float(low), float(high))


def iqm(strata: Sequence[Array]) -> float:
    """The interquartile mean: the mean of the middle half of all scores, every context with the same weight.

    With the same number of runs in each stratum this is rliable's, to the last digit. Where some are
    missing, pooling would let a method look better for having lost runs in a hard context; so each stratum
    is stretched to the same number of scores, by repeating each of its own equally often.
    """
    runs = min(math.lcm(*map(len, strata)), MOST_REPEATED_RUNS)
    matrix = np.stack([np.sort(stratum)[np.arange(runs) * len(stratum) // runs] for stratum in strata], axis=1)
    return float(metrics.aggregate_iqm(matrix))


def mean_of_means(strata: Sequence[Array]) -> float:
    """The mean of the strata's means: every context counts the same, however many runs it has."""
    return float(np.mean([stratum.mean() for stratum in strata]))


def _interval_of_mean(scores: Array, rng: np.random.Generator) -> Array:
    """Percentile bounds ``(2, points)`` of the mean of ``scores`` ``(runs, points)``, which has no NaN."""
    runs = len(scores)
    draws = rng.integers(runs, size=(RESAMPLES, runs))
    # How often each run was drawn: one matrix product instead of a (resamples, runs, points) array.
    weights = np.stack([(draws == run).sum(axis=1) for run in range(runs)], axis=1) / runs
    return np.quantile(weights @ scores, _bounds(), axis=0)


def _bounds() -> tuple[float, float]:
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
