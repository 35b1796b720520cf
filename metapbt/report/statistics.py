"""Scores of runs and the intervals around them: pure functions on arrays.

A *score curve* is two arrays of shape ``(generations,)``: the environment steps of each member so far, and
the run's score there. Scores of several runs on one grid of steps are a matrix ``(runs, points)``. A
*stratum* is the scores ``(runs,)`` of one context.

**What intervals are about.** The contexts are those that were run, not a sample of others; only other seeds
could have come out differently, as in rliable's stratified bootstrap (Agarwal et al., 2021). Its percentile
intervals are too narrow where seeds are few: they promise 95% and hold in 76% with three seeds of one
context, because a resample of n numbers has (n - 1)/n of their variance, and because the spread itself is
estimated. So every interval here is a t-interval: the variance within each context by the jackknife, the
degrees of freedom by Satterthwaite's formula. Where seeds are too few to show a variance, as in many contexts with
one seed of each, that between contexts stands for it: it holds theirs and what contexts differ in, so these intervals
are too wide, if anything. ``benchmarks/interval_coverage.py`` shows in how many cases they hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rliable import metrics
from scipy import stats

Array = NDArray[np.float64]
Statistic = Callable[[Sequence[Array]], float]

CONFIDENCE = 0.95
# One degree of freedom (two seeds of one context) holds too, but is four times as wide as two: it tells nothing.
LEAST_DEGREES_OF_FREEDOM = 2
# With fewer contexts the interval of the interquartile mean holds in only 89% of cases.
LEAST_CONTEXTS_OF_IQM = 3
# Beyond this many, repeats are equal to within a thousandth instead of exactly, which costs no time.
MOST_REPEATED_RUNS = 1000


class Estimate(NamedTuple):
    """A number with its 95% interval; the bounds are NaN where too few seeds leave the spread unknown."""

    value: float
    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)


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


def shared_steps(steps: Sequence[Array]) -> tuple[float, float]:
    """From where to where all of some curves have a score, given the steps ``(generations,)`` of each, none empty.

    Both ends are the last step of the shortest one where it ends before another one begins.
    """
    first, last = max(each[0] for each in steps), min(each[-1] for each in steps)
    return float(min(first, last)), float(last)


def area_under_curve(steps: Array, scores: Array, within: tuple[float, float] | None = None) -> float:
    """The mean score over training: the trapezoids' area from the first score to the last, by its width.

    A higher area at the same final score means that the method learned earlier. NaN scores are left out.

    Args:
        steps: of the curve.
        scores: of the curve.
        within: the first and the last of the steps that count, as `shared_steps` has them; all if None. Only areas over
            the same steps can be compared, for returns grow with training.
    """
    known = ~np.isnan(scores)
    steps, scores = steps[known], scores[known]
    if within is not None and len(steps):
        first, last = within
        grid = np.concatenate([[first], steps[(steps > first) & (steps < last)], [last]])
        steps, scores = grid, np.interp(grid, steps, scores)
    if len(steps) < 2 or steps[0] == steps[-1]:
        return final_score(scores)
    return float(np.trapezoid(scores, steps) / (steps[-1] - steps[0]))


def mean_curve(scores: Array) -> tuple[Array, Array, Array, NDArray[np.int64]]:
    """Mean over runs at each point, with its t-interval.

    Args:
        scores: ``(runs, points)``, NaN where a run has no score (it began later or stopped earlier).

    Returns:
        mean, low, high and the number of runs behind them, each ``(points,)``. The bounds are NaN where fewer
        than three runs have a score, the mean where none has.
    """
    known = ~np.isnan(scores)
    runs = known.sum(axis=0)
    counted = np.maximum(runs, 1)
    mean = np.where(runs > 0, np.where(known, scores, 0.0).sum(axis=0) / counted, np.nan)
    squares = np.where(known, (scores - mean) ** 2, 0.0).sum(axis=0)
    enough = runs > LEAST_DEGREES_OF_FREEDOM
    freedom = np.where(enough, runs - 1.0, np.nan)
    half_width = _t_quantile(freedom) * np.sqrt(squares / freedom / counted)
    return mean, mean - half_width, mean + half_width, runs


def mean_estimate(scores: Array) -> Estimate:
    """Mean of the scores ``(runs,)`` with its t-interval; NaN scores are left out."""
    mean, low, high, _ = mean_curve(np.reshape(scores, (-1, 1)))
    return Estimate(float(mean[0]), float(low[0]), float(high[0]))


def stratified_estimate(strata: Sequence[Array], statistic: Statistic) -> Estimate:
    r"""A statistic of strata with its t-interval over seeds, the contexts held fixed.

    $$\hat\theta \pm t_{0.975}(\nu) \sqrt{V}, \quad V = \sum_c v_c, \quad
    v_c = \frac{n_c - 1}{n_c} \sum_i (\hat\theta_{(c,i)} - \bar\theta_c)^2, \quad
    \nu = V^2 \Big/ \sum_c \frac{v_c^2}{n_c - 1}$$

    with $\hat\theta_{(c,i)}$ without run i of context c: the stratified jackknife (Efron and Stein, 1981)
    with the degrees of freedom of Satterthwaite (1946). For a mean over contexts this is Welch's interval
    (1947), for one context Student's. A context with one run lends its spread from the others. Where $\sum_c (n_c - 1)$
    is less than two, contexts are left out in place of runs, from three contexts on: Student's interval of their means.

    Args:
        strata: one array ``(runs,)`` for each context; they may differ in length.
        statistic: takes such a sequence, gives one number (`iqm`, `mean_of_means`).
    """
    return _stratified_estimate(tuple(tuple(stratum.tolist()) for stratum in strata), statistic)


@lru_cache(maxsize=4096)  # a live page asks for them all again whenever a run has finished, most of them unchanged
def _stratified_estimate(scores: tuple[tuple[float, ...], ...], statistic: Statistic) -> Estimate:
    strata = [np.array(stratum, dtype=np.float64) for stratum in scores]
    value = statistic(strata)
    counts = np.array([len(stratum) for stratum in strata])
    freedom = counts - 1.0
    if freedom.sum() < LEAST_DEGREES_OF_FREEDOM:
        return _over_contexts(strata, value, statistic)
    variances = np.zeros(len(strata))
    for index, stratum in enumerate(strata):
        if len(stratum) < 2:
            continue
        without = [
            statistic([*strata[:index], np.delete(stratum, run), *strata[index + 1 :]]) for run in range(len(stratum))
        ]
        variances[index] = freedom[index] * np.var(without)
    # n_c v_c is what one run's variance brings into the result; where it cannot be seen, it is taken as elsewhere.
    share = freedom / freedom.sum() * (counts == 1).sum()
    variances *= 1 + share * counts
    several = freedom > 0
    if not variances.any():  # and what single runs would bring in cannot be seen anywhere
        bound = math.nan if (counts == 1).any() else value
        return Estimate(value, bound, bound)
    total = variances.sum()
    satterthwaite = total**2 / (variances[several] ** 2 / freedom[several]).sum()
    half_width = float(_t_quantile(satterthwaite)) * math.sqrt(total)
    return Estimate(value, value - half_width, value + half_width)


def is_over_contexts(seeds: Sequence[int]) -> bool:
    """Whether the interval of so many seeds in each context has the variance between these, for want of seeds."""
    return sum(seeds) - len(seeds) < LEAST_DEGREES_OF_FREEDOM <= len(seeds) - 1


def _over_contexts(strata: Sequence[Array], value: float, statistic: Statistic) -> Estimate:
    """With the variance between contexts, by the jackknife: no less than seeds alone would make it."""
    if not is_over_contexts([len(stratum) for stratum in strata]):
        return Estimate(value, math.nan, math.nan)
    freedom = len(strata) - 1
    without = [statistic([*strata[:index], *strata[index + 1 :]]) for index in range(len(strata))]
    half_width = float(_t_quantile(freedom)) * math.sqrt(freedom * np.var(without))
    return Estimate(value, value - half_width, value + half_width)


def iqm_estimate(strata: Sequence[Array]) -> Estimate:
    """`iqm` with its interval, from three contexts on: with fewer no interval of it was found to hold."""
    if len(strata) < LEAST_CONTEXTS_OF_IQM:
        return Estimate(iqm(strata), math.nan, math.nan)
    return stratified_estimate(strata, iqm)


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


def _t_quantile(freedom: Array | float) -> Array:
    return np.asarray(stats.t.ppf((1 + CONFIDENCE) / 2, freedom), dtype=np.float64)
