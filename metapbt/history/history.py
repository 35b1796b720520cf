"""All records of a run so far, and what they say."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from metapbt.errors import MetapbtError
from metapbt.history.record import Record
from metapbt.history.transitions import Transition


@dataclass(frozen=True)
class History:
    """All records of a run so far; immutable.

    In an asynchronous run some members are ahead of others: a generation is what all of them have trained.

    Attributes:
        records: in the order in which members reported; those of one member by generation.
        metric: the return that selection looks at, ``train_return`` or ``eval_return``.
    """

    records: tuple[Record, ...] = ()
    metric: str = "train_return"

    @cached_property
    def _by_place(self) -> dict[tuple[int, int], Record]:
        return {(r.generation, r.member): r for r in self.records}

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def generations(self) -> int:
        """How many generations every member that has reported has finished."""
        return min((r.generation + 1 for r in self.latest), default=0)

    @cached_property
    def _last(self) -> dict[int, Record]:
        return {r.member: r for r in self.records}

    @property
    def members(self) -> Collection[int]:
        """The members that have reported."""
        return self._last.keys()

    def last(self, member: int) -> Record:
        """The last record of a member, one of ``members``."""
        return self._last[member]

    @cached_property
    def latest(self) -> tuple[Record, ...]:
        """The last record of every member that has reported, by member."""
        return tuple(self._last[member] for member in sorted(self._last))

    def at(self, generation: int, member: int) -> Record | None:
        """The record of a member in a generation, if there is one."""
        return self._by_place.get((generation, member))

    def generation(self, number: int) -> tuple[Record, ...]:
        """The records of one generation, by member."""
        found = (self.at(number, member) for member in sorted(self._last))
        return tuple(record for record in found if record is not None)

    def extended(self, records: Iterable[Record]) -> History:
        """This history followed by more records."""
        return History((*self.records, *records), self.metric)

    def value(self, record: Record) -> float:
        """The return of a record that selection looks at."""
        return record.value(self.metric)

    def best(self) -> Record:
        """The best of the members' last records: its eval_return is the run's score."""
        return self._best(self.latest)

    def best_of(self, number: int) -> Record:
        """The record of a generation with the best value."""
        return self._best(self.generation(number))

    def _best(self, records: Sequence[Record]) -> Record:
        if not records:
            raise MetapbtError("no generation has finished yet")
        return max(records, key=lambda r: (_comparable(self.value(r)), -r.member))

    def before(self, record: Record) -> Record | None:
        """The record that ``record`` went on from: its parent's or its own one before."""
        return self.at(*record.origin)

    @cached_property
    def _transitions(self) -> tuple[Transition, ...]:
        return tuple(self._iterate_transitions())

    def transitions(self) -> tuple[Transition, ...]:
        """What every interval did, where its returns are finite.

        Nobody measures an agent before its first interval. The lowest return of the first generation stands for it,
        that of an agent which learned next to nothing.
        """
        return self._transitions

    def _iterate_transitions(self) -> Iterator[Transition]:
        first = [r.reached for r in self.generation(0) if math.isfinite(r.reached)]
        untrained = min(first, default=math.nan)
        for record in self.records:
            origin = self.before(record)
            steps_before = origin.env_steps if origin else 0
            return_before = origin.reached if origin else untrained
            row = Transition(
                record.generation,
                steps_before,
                record.env_steps - steps_before,
                return_before,
                record.reached,
                record.hyperparameters,
            )
            if math.isfinite(row.return_before) and math.isfinite(row.return_after):
                yield row


def _comparable(value: float) -> float:
    return -math.inf if math.isnan(value) else value
