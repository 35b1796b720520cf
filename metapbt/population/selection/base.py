"""The protocol of a selection: who is replaced by whom.

A selection is asked whenever members report: in a synchronous run all of them at once, in an asynchronous one each by
itself. It keeps nothing and draws from the generator it is handed. The shortest complete example is ``Truncation``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from metapbt.history import Record


@dataclass(frozen=True, slots=True)
class Exploit:
    """A member takes over another's weights.

    Attributes:
        parent: the member whose weights are copied.
        hyperparameters_of: the member whose hyperparameters it trains with; None where the explorer chooses new ones.
    """

    parent: int
    hyperparameters_of: int | None = None


class Selection(Protocol):
    """Decides which members copy which."""

    def __init__(self, size: int, quantile: float, **settings: Any) -> None:
        """Prepare for a population.

        Args:
            size: members.
            quantile: the worst quantile copies from the best one, in [0, 0.5].
            settings: its own, as in ``conf/selection/<name>.yaml``.

        Raises:
            MetapbtError: a setting is out of its range.
        """

    def select(
        self, latest: Sequence[Record], returns: Sequence[float], reported: Collection[int], rng: np.random.Generator
    ) -> dict[int, Exploit]:
        """Return what each member that copies does; those that go on as they are do not appear.

        Args:
            latest: the last record of each member that has ever reported, by member.
            returns: one for each of these records; NaN counts as worst.
            reported: the members that wait for a decision; only these may copy.
            rng: the source of all randomness.
        """
        ...


def ranking(latest: Sequence[Record], returns: Sequence[float]) -> list[int]:
    """Members, best first."""
    comparable = [-math.inf if math.isnan(value) else value for value in returns]
    return [latest[place].member for place in sorted(range(len(latest)), key=lambda place: (-comparable[place], place))]


def share(size: int, quantile: float) -> int:
    """How many of ``size`` members a quantile is."""
    count = math.ceil(size * quantile)
    return count if count <= size / 2 else size // 2
