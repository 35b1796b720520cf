"""Lead thresholds: nobody is replaced by who is hardly better."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from metapbt.errors import MetapbtError, shown
from metapbt.history import History, Record
from metapbt.history.record import HUGE
from metapbt.plain import written_number
from metapbt.population.selection.base import Exploit, Selection, SelectionWrapper


class Lead(SelectionWrapper):
    """Any selection, but a member is replaced only where the other is ahead of it by more than a threshold.

    Returns are noisy: between members that are about as good a copy costs a line of descent and gains nothing. The
    other must be ahead by more than

    $$\\max(k \\, \\sigma, a)$$

    where $\\sigma$ is the standard deviation of all finite returns that the run has seen. That of the last returns
    alone would hardly ever stop truncation: of any numbers, also of mere noise, the largest is at least two of their
    deviations above the smallest. Over the whole run it says how large a step in return is. Who has no finite return
    is replaced as ever, and who is born again is not compared with anybody.

    Isaac Lab's population-based training has thresholds of this form, of the last returns and on either side of
    their mean.
    """

    def __init__(self, selection: Selection, deviations: Any = None, returns: Any = None) -> None:
        """Check the settings.

        Args:
            selection: says who copies.
            deviations: $k$, ``selection.lead``; None for none.
            returns: $a$, ``selection.lead_return``, in units of return; None for none.

        Raises:
            MetapbtError: one is no finite number >= 0.
        """
        super().__init__(selection)
        named = {"selection.lead": deviations, "selection.lead_return": returns}
        self._deviations, self._returns = (_threshold(name, value) for name, value in named.items())

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Leave out who is not far enough behind."""
        exploits = self._selection.select(history, reported, rng)
        threshold = self.threshold(history)
        return {
            member: exploit
            for member, exploit in exploits.items()
            if exploit.start is None or _ahead(history, history.at(exploit.start), history.last(member)) > threshold
        }

    def sure_to_go_on(self, history: History, awaited: Collection[int]) -> Collection[int]:
        """Those of the selection. Nobody else is sure: who is still awaited may be ahead by any lead."""
        return self._selection.sure_to_go_on(history, awaited)

    def threshold(self, history: History) -> float:
        """By more than which another must be ahead."""
        returns = [record.value(history.metric) for record in history]
        values = [_limited(value) for value in returns if math.isfinite(value)]
        return max(self._deviations * float(np.std(values)) if values else 0.0, self._returns)


def _ahead(history: History, better: Record | None, worse: Record) -> float:
    """By how much one is ahead of another; infinitely of who has no finite return."""
    values = [history.value(record) for record in (better, worse) if record is not None]
    if better is None or not all(map(math.isfinite, values)):
        return math.inf
    return _limited(values[0]) - _limited(values[1])


def _limited(value: float) -> float:
    return min(max(value, -HUGE), HUGE)


def _threshold(name: str, written: Any) -> float:
    value = 0.0 if written is None else written_number(written)
    if value is None or not 0 <= value < math.inf:
        raise MetapbtError(f"{name} must be null or a number >= 0, got {shown(written)}")
    return float(min(value, HUGE))
