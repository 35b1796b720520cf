"""What rliable shows of many runs (Agarwal et al., 2021, "Deep RL at the edge of the statistical precipice").

Pure functions on arrays. A *stratum* is the scores ``(runs,)`` of one context, as in ``statistics``; every context has
the same weight, however many runs it has. With equally many runs everywhere the values are rliable's, to the last
digit. The intervals are not: rliable's percentile bootstrap says nothing where all runs agree, and is too narrow where
seeds are few. Shares have Wilson's interval, probabilities of improvement Newcombe's, interquartile means the
t-interval of ``statistics``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from rliable import metrics
from scipy import optimize, stats

from metapbt.report.statistics import CONFIDENCE, LEAST_DEGREES_OF_FREEDOM, Array, Estimate, iqm_estimate

_Z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
_NEAR = 1e-9


def steps_to_threshold(steps: Array, scores: Array, threshold: float) -> float:
    """The environment steps after which a run first scored at least ``threshold``; infinite if it never did.

    Scores between two evaluations are not guessed.

    Args:
        steps: of the score curve, ``(generations,)``, ascending.
        scores: the same length; NaN where there is none.
        threshold: in points of return.
    """
    reached = np.flatnonzero(scores >= threshold)
    return float(steps[reached[0]]) if len(reached) else math.inf


def median_steps(steps: Array) -> float:
    """The median of runs' steps to a threshold ``(runs,)``: infinite where half of them or more never reached it."""
    ordered = np.sort(steps)
    middle = ordered[[(len(ordered) - 1) // 2, len(ordered) // 2]]
    return float(middle.mean()) if len(ordered) else math.nan


def performance_profile(strata: Sequence[Array], thresholds: Array) -> tuple[Array, Array, Array]:
    """The share of runs that score above each threshold: rliable's score distribution, with Wilson's 95% interval.

    The interval (1927) is that of as many runs as weigh what these do: contexts with few runs count less. Contexts that
    differ make it wider than it need be.

    Args:
        strata: one array ``(runs,)`` for each context.
        thresholds: ``(thresholds,)``, in the unit of the scores.

    Returns:
        share, low and high, each ``(thresholds,)``.
    """
    share = np.mean([(stratum[:, None] > thresholds).mean(axis=0) for stratum in strata], axis=0)
    runs = len(strata) ** 2 / sum(1 / len(stratum) for stratum in strata)
    spread = _Z**2 / runs
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * np.sqrt(share * (1 - share) / runs + spread / (4 * runs))
    # Rounding must not put a bound beyond what it bounds.
    return share, np.minimum(middle - half, share), np.maximum(middle + half, share)


def probability_of_improvement(better: Sequence[Array], than: Sequence[Array]) -> Estimate:
    r"""How probable it is that a run of one method scores higher than one of another, in a context drawn from these.

    $P(X > Y)$, ties counting half, the mean over contexts: rliable's, from the Mann-Whitney statistic. Its 95%
    interval is Newcombe's (2006, Statistics in Medicine 25, method 5), the score interval with the variance of Hanley
    and McNeil (1982), taken at the probability that is tried:

    $$|\hat\theta - \theta| = z \sqrt{V(\theta)}, \quad V(\theta) = \frac{1}{C^2} \sum_c
    \frac{\theta (1 - \theta)}{m_c n_c} \Big[1 + n^*_c \frac{1 - \theta}{2 - \theta}
    + n^*_c \frac{\theta}{1 + \theta}\Big], \quad n^*_c = \frac{m_c + n_c}{2} - 1$$

    but z is Student's quantile with $\sum_c (m_c + n_c - 2)$ degrees of freedom: three runs that all beat three
    others are no proof, for one in twenty such draws is by chance. With fewer than two the bounds are NaN.

    Args:
        better: one array ``(runs,)`` for each context, of the method that may be better.
        than: the same contexts, of the other method.
    """
    value = float(
        np.mean([metrics.probability_of_improvement(x[:, None], y[:, None]) for x, y in zip(better, than, strict=True)])
    )
    runs = np.array([[len(x), len(y)] for x, y in zip(better, than, strict=True)], dtype=np.float64)
    product, extra, freedom = runs.prod(axis=1), runs.mean(axis=1) - 1, float((runs - 1).sum())
    if freedom < LEAST_DEGREES_OF_FREEDOM:
        return Estimate(value, math.nan, math.nan)
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))

    def beyond(theta: float) -> float:
        inner = 1 + extra * (1 - theta) / (2 - theta) + extra * theta / (1 + theta)
        variance = theta * (1 - theta) * float((inner / product).sum()) / len(runs) ** 2
        return (value - theta) ** 2 - quantile**2 * variance

    low = _root(beyond, 0.0, min(value, 1 - _NEAR)) if value > 0 else 0.0
    high = _root(beyond, max(value, _NEAR), 1.0) if value < 1 else 1.0
    return Estimate(value, low, high)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(optimize.brentq(function, low, high))


def sample_efficiency(strata: Sequence[Array]) -> tuple[Array, Array, Array]:
    """The interquartile mean of all runs' scores at each number of steps: rliable's sample-efficiency curve.

    Args:
        strata: for each context the runs' scores on one grid of steps, ``(runs, points)``.

    Returns:
        the interquartile mean and the ends of its 95% interval, each ``(points,)``; these are NaN with fewer than three
        contexts.
    """
    points = strata[0].shape[1]
    estimates = [iqm_estimate([stratum[:, point] for stratum in strata]) for point in range(points)]
    value, low, high = np.array(estimates, dtype=np.float64).reshape(points, 3).T
    return value, low, high
