"""Who is replaced by whom.

A selection is asked whenever members report: in a synchronous run all of them at once, in an asynchronous one each by
itself. It keeps nothing and draws from the generator it is handed. The shortest complete example is ``Truncation``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from metapbt.errors import MetapbtError
from metapbt.records import Record
from metapbt.registry import lookup

SELECTIONS = {
    "truncation": "metapbt.selection:Truncation",
    "multiple_frequencies": "metapbt.selection:MultipleFrequencies",
}


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


class Truncation:
    """Truncation selection: each member of the worst quantile copies a random member of the best quantile.

    Source: Jaderberg et al. (2017), section 4.1.1. The quantile is rounded up to whole members, and down where
    the worst and the best would overlap. Ties go to the lower member number.
    """

    def __init__(self, size: int, quantile: float) -> None:
        self.quantile = quantile

    def select(
        self, latest: Sequence[Record], returns: Sequence[float], reported: Collection[int], rng: np.random.Generator
    ) -> dict[int, Exploit]:
        """Let the worst copy the best."""
        ranking = _ranking(latest, returns)
        count = _share(len(ranking), self.quantile)
        best, worst = ranking[:count], ranking[len(ranking) - count :]
        return {member: Exploit(best[int(rng.integers(count))]) for member in sorted(worst) if member in reported}


class MultipleFrequencies:
    """MF-PBT: sub-populations that evolve at several frequencies, with asymmetric migration between them.

    Frequent selection favours what pays at once; a sub-population that waits longer keeps what pays later. The
    population is divided into as many equal sub-populations as there are periods. After every ``periods[i]``
    intervals sub-population i evolves. Ranked among themselves,

    - its worst quantile copies its best one, the very worst the very best, and explores;
    - the quantile above the worst compares itself, one by one, with the best members of all other sub-populations.
      Where such a migrant is better its weights are taken over. Its hyperparameters come along only from a
      sub-population that evolves less often: what a more frequent one found may be greedy, so a steadier
      sub-population lets its own best hyperparameters train the migrant's weights.

    Source: Doulazmi et al. (2025), Multiple-Frequencies Population-Based Training, section 4.
    """

    def __init__(self, size: int, quantile: float, periods: Sequence[int] = (1, 5)) -> None:
        """Divide the population.

        Args:
            size: members.
            quantile: of each sub-population, in [0, 0.5].
            periods: intervals between two evolutions, one number for each sub-population.

        Raises:
            MetapbtError: periods are no increasing positive integers, or sub-populations would be unequal or too small.
        """
        whole = all(isinstance(period, int) and period >= 1 for period in periods)
        if not periods or not whole or sorted(set(periods)) != list(periods):
            raise MetapbtError(f"population.selection.periods must be increasing integers >= 1, got {list(periods)}")
        if size % len(periods) or size < 3 * len(periods):
            raise MetapbtError(
                f"population.size must be a multiple of {len(periods)}, the number of population.selection.periods, "
                f"with at least 3 members for each, got {size}"
            )
        self.periods = tuple(periods)
        self.quantile = quantile
        self.members = size // len(periods)  # of each sub-population

    def select(
        self, latest: Sequence[Record], returns: Sequence[float], reported: Collection[int], rng: np.random.Generator
    ) -> dict[int, Exploit]:
        """Let every sub-population whose time has come evolve."""
        everyone = _ranking(latest, returns)
        place = {member: rank for rank, member in enumerate(everyone)}
        generations = {record.member: record.generation for record in latest}
        exploits = {}
        for number, period in enumerate(self.periods):
            own = [member for member in everyone if member // self.members == number]
            evolving = {m for m in own if m in reported and (generations[m] + 1) % period == 0}
            count = _share(len(own), self.quantile)
            losers = len(own) - count
            for member, winner in zip(reversed(own[losers:]), own[:count], strict=True):
                if member in evolving:
                    exploits[member] = Exploit(winner)
            challenged = own[max(count, losers - count) : losers]
            others = [member for member in everyone if member // self.members != number]
            for member in challenged:
                if others and place[others[0]] < place[member]:
                    migrant = others.pop(0)
                    steadier = self.periods[migrant // self.members] > period
                    if member in evolving:
                        exploits[member] = Exploit(migrant, migrant if steadier else own[0])
        return exploits


def make_selection(name: str, size: int, quantile: float, settings: Mapping[str, Any]) -> Selection:
    """Make a selection by name, or one's own as ``package.module:Class``.

    Raises:
        MetapbtError: the name or a setting is unknown or out of range.
    """
    try:
        selection: Selection = lookup("selection", name, SELECTIONS)(size, quantile, **settings)
    except TypeError as error:
        raise MetapbtError(f"selection '{name}': {error}") from error
    return selection


def _ranking(latest: Sequence[Record], returns: Sequence[float]) -> list[int]:
    """Members, best first."""
    comparable = [-math.inf if math.isnan(value) else value for value in returns]
    return [latest[place].member for place in sorted(range(len(latest)), key=lambda place: (-comparable[place], place))]


def _share(size: int, quantile: float) -> int:
    """How many of ``size`` members a quantile is."""
    count = math.ceil(size * quantile)
    return count if count <= size / 2 else size // 2
