"""All records of a run so far, and what they say."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from metapbt.errors import MetapbtError
from metapbt.history.interval import Ref
from metapbt.history.record import Record
from metapbt.history.transitions import Transition


@dataclass(frozen=True)
class History:
    """All records of a run so far; immutable.

    In an asynchronous run some members are ahead of others: a generation is what all of them have trained. Candidates
    have member numbers beyond the population's; once they are screened, members go on from the best of them.

    Attributes:
        records: in the order in which members reported; those of one member by generation.
        metric: the return that selection looks at, ``train_return`` or ``eval_return``.
        size: members of the population; None where there are no candidates, so that everybody is a member.
    """

    records: tuple[Record, ...] = ()
    metric: str = "train_return"
    size: int | None = None

    @cached_property
    def _by_ref(self) -> dict[Ref, Record]:
        return {r.ref: r for r in self.records}

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def generations(self) -> int:
        """How many generations every member has finished, that of the candidates included."""
        if self.size is None or (len(self._last) >= self.size and self._last_are_members):
            return min((record.generation + 1 for record in self.latest), default=0)
        return int(any(record.member >= self.size for record in self.records))

    @cached_property
    def _last(self) -> dict[int, Record]:
        members = {r.member: r for r in self.records if self.size is None or r.member < self.size}
        return members or {r.member: r for r in self.records}

    @property
    def members(self) -> Collection[int]:
        """The members that have reported; the candidates that have, until a member has."""
        return self._last.keys()

    def last(self, member: int) -> Record:
        """The last record of a member, one of ``members``."""
        return self._last[member]

    @cached_property
    def latest(self) -> tuple[Record, ...]:
        """The last record of every member that has reported, by member."""
        return tuple(self._last[member] for member in sorted(self._last))

    def at(self, ref: Ref) -> Record | None:
        """The record of this name, if there is one."""
        return self._by_ref.get(ref)

    @cached_property
    def _by_generation(self) -> dict[int, list[Record]]:
        found: dict[int, list[Record]] = {}
        for record in self.records:
            found.setdefault(record.generation, []).append(record)
        return found

    def generation(self, number: int) -> tuple[Record, ...]:
        """The records of one generation, by member."""
        return tuple(sorted(self._by_generation.get(number, ()), key=lambda record: record.member))

    def extended(self, records: Iterable[Record]) -> History:
        """This history followed by more records."""
        more = tuple(records)
        longer = History((*self.records, *more), self.metric, self.size)
        # What follows from the records so far is not worked out anew: an asynchronous run asks after each report.
        added = History(more, self.metric, self.size)
        caches = longer.__dict__
        caches["_by_ref"] = self._by_ref | added._by_ref
        if more and self.records:
            caches["_best_ever"] = self._best([self.best(), added.best()])
            if self._last_are_members:
                caches["_last"] = {**self._last, **(added._last if added._last_are_members else {})}
        return longer

    @property
    def _last_are_members(self) -> bool:
        return self.size is None or any(member < self.size for member in self._last)

    @cached_property
    def spent_steps(self) -> tuple[int, ...]:
        """Environment steps that the run had trained, all members and candidates together, at each record."""
        total, spent = 0, []
        for record in self.records:
            origin = self.before(record)
            total += record.env_steps - (origin.env_steps if origin else 0)
            spent.append(total)
        return tuple(spent)

    def value(self, record: Record) -> float:
        """The return of a record that selection looks at."""
        return record.value(self.metric)

    def best(self) -> Record:
        """The best agent that the run ever had: the record with the highest finite value, the earliest on ties."""
        return self._best_ever

    @cached_property
    def _best_ever(self) -> Record:
        return self._best(self.records)

    def leader(self) -> Record:
        """The best of the members' last records."""
        return self._best(self.latest)

    def best_of(self, number: int) -> Record:
        """The record of a generation with the best value."""
        return self._best(self.generation(number))

    def _best(self, records: Sequence[Record]) -> Record:
        if not records:
            raise MetapbtError("no generation has finished yet")
        return max(records, key=lambda r: (_comparable(self.value(r)), -r.generation, -r.member))

    def before(self, record: Record) -> Record | None:
        """The record that ``record`` went on from: its parent's or its own one before."""
        return None if record.origin is None else self.at(record.origin)

    @cached_property
    def _transitions(self) -> tuple[Transition, ...]:
        return tuple(self._iterate_transitions())

    def transitions(self) -> tuple[Transition, ...]:
        """What every interval did, where its returns are finite.

        Nobody measures an agent before its first interval. The lowest return of the first generation stands for it,
        that of an agent which learned next to nothing. The first interval after a restart gives no transition: what a
        teacher taught, hyperparameters did not do.
        """
        return self._transitions

    def _iterate_transitions(self) -> Iterator[Transition]:
        first = [r.reached for r in self.generation(0) if math.isfinite(r.reached)]
        untrained = min(first, default=math.nan)
        for record in self.records:
            if record.restart:
                continue
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
    return value if math.isfinite(value) else -math.inf
