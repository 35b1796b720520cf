"""Whether a population learns no more: IPBT's trigger, a function of the returns since it began anew."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metapbt.history import History, Restarts
from metapbt.history.record import HUGE

FEWEST = 2  # points of a curve that can rise


def curve(history: History) -> list[float]:
    """The best return of each generation since the members began anew, that of their screening included.

    Generations in which nobody had a finite return are left out.
    """
    return [value for value in history.best_values_of_era() if math.isfinite(value)]


def stagnates(values: Sequence[float], rule: Restarts) -> bool:
    """Whether a curve does not rise any more.

    It does not where its smoothed last value was no higher than the one before it ``rule.patience`` times in a row,
    each time of the curve as it was then; or, from ``rule.window`` values on, where the last ``rule.window - 1`` have
    not raised its highest value by a standard deviation of the whole curve.

    Source: IPBT (arXiv:2511.09190), its published code; the count of failures, which it keeps, is made anew here, from
    the curve alone.

    Args:
        values: of one generation after the other.
        rule: the settings.
    """
    if len(values) >= rule.window:
        z = _standardised(values)
        if max(z) - max(z[: len(z) - rule.window + 1]) < 1:
            return True
    lengths = range(len(values), len(values) - rule.patience, -1)
    return min(lengths) >= FEWEST and not any(_rises(values[:length]) for length in lengths)


def _rises(values: Sequence[float]) -> bool:
    """Whether the smoothed curve's last value is above the one before."""
    from metapbt.surrogates.smoothing import smoothed

    z = _standardised(values)
    if not z.any():  # a level line
        return False
    before, last = smoothed(z)[-2:]
    return bool(last > before)


def _standardised(values: Sequence[float]) -> NDArray[np.float64]:
    array = np.clip(np.asarray(values, dtype=np.float64), -HUGE, HUGE)
    centred = array - array.mean()
    deviation = float(centred.std(ddof=1)) if len(array) > 1 else 0.0
    return centred / deviation if deviation > 0 else np.zeros(len(array))
