"""Pairwise selection: of two who meet the worse one copies the better one."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from metapbt.history import History
from metapbt.population.selection.base import Exploit, Selection, ranking


class Pairwise(Selection):
    """Pairwise selection: everyone meets one other, drawn at random, and the worse one of each pair copies the better.

    So half of the members are replaced at a time, and no more of them copy the best one than met it; one stays alone
    where members are odd in number. Asynchronously a member meets another when it reports, and copies it or goes on.
    Ties are broken by lot. Who has no finite return is not copied.

    Source: competitive swarm optimisation (Cheng and Jin, 2015), whose pairs learn in GPBT-PL (Bai and Cheng, 2024,
    arXiv 2404.08233) as EvoRL has it. GPBT-PL's published code pairs the worst quantile with the best one, which
    is truncation.

    Nobody is sure to go on before all have reported, for whom a member meets is drawn then.

    Args:
        size: members.
        quantile: has no meaning here.
    """

    def __init__(self, size: int, quantile: float) -> None:
        pass

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Let the worse of each pair copy the better."""
        ranked = ranking(history)
        places = rng.permutation(len(ranked))
        exploits = {}
        for one, other in zip(places[::2], places[1::2], strict=False):  # the last of an odd number meets nobody
            better, worse = ranked[min(one, other)], ranked[max(one, other)]
            if worse.member in reported and math.isfinite(history.value(better)):
                exploits[worse.member] = Exploit(better.ref)
        return exploits
