"""MF-PBT: sub-populations that evolve at several frequencies."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from metapbt.errors import MetapbtError, shown
from metapbt.history import History
from metapbt.population.selection.base import Exploit, Selection, fittest, ranking, share


class MultipleFrequencies(Selection):
    """MF-PBT: sub-populations that evolve at several frequencies, with asymmetric migration between them.

    Frequent selection favours what pays at once; a sub-population that waits longer keeps what pays later. The
    population is divided into as many equal sub-populations as there are periods. After every ``periods[i]``
    intervals sub-population i evolves. Ranked among themselves,

    - its worst quantile copies its best one, each member of it another one, and explores;
    - the quantile above the worst compares itself, one by one, with the best members of all other sub-populations.
      Where such a migrant ranks higher its weights are taken over. Its hyperparameters come along only from a
      sub-population that evolves less often: what a more frequent one found may be greedy, so a steadier
      sub-population lets its own best hyperparameters train the migrant's weights.

    Who has no finite return migrates nowhere; a sub-population in which nobody has one copies the best of all.

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
            raise MetapbtError(f"selection.periods must be increasing integers >= 1, got {shown(periods)}")
        if size % len(periods) or size < 3 * len(periods):
            raise MetapbtError(
                f"population.size must be a multiple of {len(periods)}, the number of selection.periods, "
                f"with at least 3 members for each, got {size}"
            )
        self.periods = tuple(periods)
        self.quantile = quantile
        self.members = size // len(periods)  # of each sub-population

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Let each sub-population evolve whose period divides the intervals that its members have finished.

        In a later era these count from the last rung of its students, which is the first.
        """
        everyone = ranking(history)  # fewer than the members where some are not judged
        place = {record.member: rank for rank, record in enumerate(everyone)}
        finite = [record for record in everyone if math.isfinite(history.value(record))]
        exploits, since = {}, history.settled
        for number, period in enumerate(self.periods):
            own = [record for record in everyone if record.member // self.members == number]
            if not own:
                continue
            finished = {record.member: record.generation + 1 - since for record in own}
            evolving = {member for member, count in finished.items() if member in reported and count % period == 0}
            count = share(len(own), self.quantile)
            losers = len(own) - count
            alive = own[0] in finite
            winners = fittest(history, own if alive or not finite else everyone, count)
            for loser, winner in zip(reversed(own[losers:]), winners, strict=True):
                if loser.member in evolving:
                    exploits[loser.member] = Exploit(winner.ref)
            challenged = own[max(count, losers - count) : losers]
            others = [record for record in finite if record.member // self.members != number]
            for record in challenged:
                if others and place[others[0].member] < place[record.member]:
                    migrant = others.pop(0)
                    steadier = self.periods[migrant.member // self.members] > period or not alive
                    if record.member in evolving:
                        exploits[record.member] = Exploit(migrant.ref, (migrant if steadier else own[0]).ref)
        return exploits

    def sure_to_go_on(self, history: History, awaited: Collection[int]) -> set[int]:
        """Who is in a sub-population that does not evolve, or better than as many as may be replaced in its own."""
        reported = [record for record in ranking(history) if record.member not in awaited]
        sure: set[int] = set()
        for number, period in enumerate(self.periods):
            own = [record for record in reported if record.member // self.members == number]
            size = len(own) + sum(member // self.members == number for member in awaited)
            count = share(size, self.quantile)
            replaced = size - max(count, size - 2 * count)
            evolves = any((record.generation + 1 - history.settled) % period == 0 for record in own)
            sure.update(record.member for record in own[: max(len(own) - replaced, 0) if evolves else len(own)])
        return sure
