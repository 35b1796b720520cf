"""How long members train, and how long between two decisions."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from metapbt.errors import MetapbtError

#: Of a run whose intervals change their length.
MOST_GENERATIONS = 100_000


@dataclass(frozen=True, slots=True)
class Budget:
    """How long members train.

    Attributes:
        steps: environment steps of each member.
        interval: environment steps between two decisions, at the beginning.
        interval_end: the same at the end; in between it goes linearly with the steps of the furthest member (BG-PBT,
            Wan et al., 2022). None where it stays as it is.
    """

    steps: int
    interval: int
    interval_end: int | None = None

    @classmethod
    def of(cls, asked: Mapping[str, Any]) -> Budget:
        """The budget that a configuration asks for under ``budget``; earlier versions had no ``interval_end``.

        Raises:
            MetapbtError: intervals that change their length are too many.
        """
        budget = cls(asked["steps"], asked["interval"], asked.get("interval_end"))
        if budget.interval_end is not None and budget.steps > MOST_GENERATIONS * budget.shortest:
            raise MetapbtError(
                f"budget.interval_end={budget.interval_end} and budget.interval={budget.interval} make more than "
                f"{MOST_GENERATIONS} generations of budget.steps={budget.steps}: choose longer intervals"
            )
        return budget

    @property
    def shortest(self) -> int:
        """Environment steps of the shortest usual interval."""
        return self.interval if self.interval_end is None else min(self.interval, self.interval_end)

    @property
    def generations(self) -> int:
        """How many intervals a member trains that always goes on."""
        return self.intervals(self.steps)

    def interval_at(self, furthest: int) -> int:
        """Environment steps of a usual interval, once the furthest member has made so many."""
        if self.interval_end is None:
            return self.interval
        return self.interval + (self.interval_end - self.interval) * min(furthest, self.steps) // self.steps

    def intervals(self, steps: int) -> int:
        """How many usual intervals so many of the budget's steps are; where lengths change, the most they can be."""
        if self.interval_end is None:
            return -(-steps // self.interval)
        ends = _ends(self)
        if self.interval_end < self.interval:  # the last ones are the shortest
            return len(ends) - bisect.bisect_right(ends, self.steps - steps)
        return bisect.bisect_left(ends, steps) + 1 if steps > 0 else 0

    def end_after(self, steps: int, excess: int, asked: int | None, furthest: int | None = None) -> int:
        """Environment steps at which an interval is asked to end: a usual one more, less what rounding gave too much.

        Args:
            steps: environment steps of the line of descent so far; of a new agent its teacher's, 0 without one.
            excess: of these, what the interval before gave too much.
            asked: where a decision says when it ends; never beyond the budget.
            furthest: environment steps of the furthest member, on whom the length of a usual one depends; None where
                everybody goes by their own.
        """
        usual = steps - excess + self.interval_at(steps - excess if furthest is None else furthest)
        return max(min(usual if asked is None else asked, self.steps), steps + 1)


@lru_cache(maxsize=64)
def _ends(budget: Budget) -> tuple[int, ...]:
    """Where the intervals end of a member that always goes on."""
    ends = [0]
    while ends[-1] < budget.steps:
        ends.append(min(ends[-1] + budget.interval_at(ends[-1]), budget.steps))
    return tuple(ends[1:])
