"""Who is replaced by whom."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def truncation(returns: Sequence[float], quantile: float, rng: np.random.Generator) -> list[int | None]:
    """Truncation selection: each member of the worst quantile copies a random member of the best quantile.

    Source: Jaderberg et al. (2017), section 4.1.1. The quantile is rounded up to whole members, and down where
    the worst and the best would overlap.

    Args:
        returns: one for each member; NaN counts as worst. Ties go to the lower member number.
        quantile: share of the population, in [0, 0.5].
        rng: chooses among the best.

    Returns:
        For each member the member that it copies, or None where it goes on.
    """
    count = math.ceil(len(returns) * quantile)
    if count > len(returns) / 2:
        count = len(returns) // 2
    comparable = [-math.inf if math.isnan(value) else value for value in returns]
    ranking = sorted(range(len(returns)), key=lambda member: (-comparable[member], member))
    best, worst = ranking[:count], ranking[len(ranking) - count :]
    parents: list[int | None] = [None] * len(returns)
    for member in sorted(worst):
        parents[member] = best[int(rng.integers(count))]
    return parents
