"""Truncation: the worst copy the best."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from metapbt.history import History
from metapbt.population.selection.base import Exploit, Selection, fittest, ranking, share


class Truncation(Selection):
    """Truncation selection: each member of the worst quantile copies a random member of the best quantile.

    Source: Jaderberg et al. (2017), section 4.1.1. The quantile is rounded up to whole members, and down where
    the worst and the best would overlap. Ties are broken by lot. Who has no finite return is not copied
    while another has one.
    """

    def __init__(self, size: int, quantile: float) -> None:
        self.quantile = quantile

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Let the worst copy the best."""
        ranked = ranking(history)
        count = share(len(ranked), self.quantile)
        best, worst = fittest(history, ranked, count), sorted(record.member for record in ranked[len(ranked) - count :])
        return {member: Exploit(best[int(rng.integers(count))].ref) for member in worst if member in reported}

    def sure_to_go_on(self, history: History, awaited: Collection[int]) -> set[int]:
        """Who is better than as many as are replaced: nobody who reports later can change that."""
        reported = [record.member for record in ranking(history) if record.member not in awaited]
        replaced = share(len(reported) + len(awaited), self.quantile)
        return set(reported[: max(len(reported) - replaced, 0)])
