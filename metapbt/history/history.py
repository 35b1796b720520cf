"""All records of a run so far, and what they say."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from metapbt.errors import MetapbtError
from metapbt.history.interval import Ref
from metapbt.history.record import Record
from metapbt.history.transitions import Transition

NOBODY = "no generation has finished yet"


@dataclass(frozen=True)
class History:
    """All records of a run so far; immutable.

    In an asynchronous run some members are ahead of others: a generation is what all of them have trained. Candidates
    of the first generation, and students of later eras, have member numbers beyond the population's. While they are
    screened, rung by rung, they stand for the members; then these go on from the best of them.

    Attributes:
        records: in the order in which members reported; those of one member by generation.
        metric: the return that selection looks at, ``train_return`` or ``eval_return``.
        size: members of the population; None where there are neither candidates nor students, so that everybody is one.
        values: what selection ranks records by instead, where a method says that (`Explorer.values`). Which agent is
            the best that there ever was, or leads a generation, remains a matter of its returns.
        seed: of the population, on which lots between equals depend; no part of what happened, so histories that are
            read from files do without.
        tested: whose agent was tested at the end of a run that has finished, and is the one that was kept; None before.
    """

    records: tuple[Record, ...] = ()
    metric: str = "train_return"
    size: int | None = None
    values: Mapping[Ref, float] = field(default_factory=dict, hash=False)
    seed: int = field(default=0, compare=False)
    tested: Ref | None = field(default=None, compare=False)

    @cached_property
    def _by_ref(self) -> dict[Ref, Record]:
        return {r.ref: r for r in self.records}

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def generations(self) -> int:
        """How many generations every member has finished, those of candidates and students included."""
        if self.screening or len(self._last) < (self.size or 0):
            return self._newest_rung + 1
        return min((record.generation + 1 for record in self.latest), default=0)

    @cached_property
    def _rungs(self) -> tuple[tuple[int, ...], ...]:
        """The generations in which candidates or students trained, those of one screening together."""
        beyond = sorted({record.generation for record in self.records if self.is_beyond(record)})
        found: list[list[int]] = []
        for number in beyond:
            if found and number == found[-1][-1] + 1:
                found[-1].append(number)
            else:
                found.append([number])
        return tuple(map(tuple, found))

    def is_beyond(self, record: Record) -> bool:
        """Whether a record is of a candidate or a student, whose numbers are beyond the members'."""
        return self.size is not None and record.member >= self.size

    @property
    def _newest_rung(self) -> int:
        return self._rungs[-1][-1] if self._rungs else -1

    @property
    def screening(self) -> bool:
        """Whether the last records are of candidates or students, of which the best go on."""
        return bool(self.records) and self.is_beyond(self.records[-1])

    @property
    def rung(self) -> int:
        """Which rung of their screening the last candidates or students have finished, from 0."""
        return len(self._rungs[-1]) - 1

    @cached_property
    def _begins(self) -> tuple[int, ...]:
        """The generation in which each era begins: later ones with the first rung of their students."""
        return (0, *(rungs[0] for rungs in self._rungs if rungs[0] > 0))

    @property
    def eras(self) -> int:
        """How many eras have begun: each later one once students of it have trained."""
        return len(self._begins)

    def era(self, record: Record) -> int:
        """Which era a record is of, from 0."""
        return bisect.bisect_right(self._begins, record.generation) - 1

    def era_of(self, ref: Ref) -> int:
        """Which era an interval is of that has a record or comes next, from 0."""
        # Members train a generation at least between two screenings.
        begins = self.size is not None and ref.member >= self.size and ref.generation > max(self._newest_rung + 1, 0)
        return bisect.bisect_right(self._begins, ref.generation) - 1 + begins

    @property
    def settled(self) -> int:
        """The generation since which the members are those of this era: its last rung; 0 in the first era."""
        return max(self._newest_rung, 0)

    @cached_property
    def _last(self) -> dict[int, Record]:
        newest = self._newest_rung
        members = {r.member: r for r in self.records if r.generation > newest and not self.is_beyond(r)}
        return members or {r.member: r for r in self.records if r.generation == newest and self.is_beyond(r)}

    @property
    def members(self) -> Collection[int]:
        """The members that have reported; until one has after a rung, its candidates or students."""
        return self._last.keys()

    def last(self, member: int) -> Record:
        """The last record of a member, one of ``members``."""
        return self._last[member]

    @cached_property
    def latest(self) -> tuple[Record, ...]:
        """The last record of each of ``members``, in their order."""
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
        longer = History((*self.records, *more), self.metric, self.size, seed=self.seed)
        # What follows from the records so far is not worked out anew: an asynchronous run asks after each report.
        added = History(more, self.metric, self.size)
        caches = longer.__dict__
        caches["_by_ref"] = self._by_ref | added._by_ref
        if more and self.records:
            caches["_best"] = _highest([self.best(), added.best()], _performance)
            caches["_leader_ever"] = self.best_among([self.leader_ever(), added.leader_ever()])
        if not any(map(self.is_beyond, more)):
            caches["_rungs"] = self._rungs
            if more and not self.screening:
                caches["_last"] = {**self._last, **{record.member: record for record in more}}
        return longer

    @cached_property
    def spent_steps(self) -> tuple[int, ...]:
        """Environment steps that the run had trained, all members, candidates and students together, at each record.

        What an interval trained that failed nobody knows; it counts as none.
        """
        return tuple(itertools.accumulate(record.env_steps - self.steps_before(record) for record in self.records))

    def spent_each(self, generation: int) -> int:
        """Environment steps that a synchronous run had spent when a generation began, for each member, rounded down.

        Raises:
            TypeError: nobody knows how many members there are.
        """
        before = bisect.bisect_left(self.records, generation, key=lambda record: record.generation)
        return int(self.spent_steps[before - 1] // self.size) if before else 0  # type: ignore[operator]

    def value(self, record: Record) -> float:
        """What selection ranks a record by: its value where ``values`` has one, else its return."""
        return self.values.get(record.ref, record.value(self.metric))

    def best(self) -> Record:
        """The best agent that the run ever had: the record with the highest mean of its two returns.

        Selection may look at one of them alone, but the highest of many owes part of its height to noise, and training
        returns say nothing of what an agent's last update made of it. Of equals, the earliest. Of a run that has
        finished, it is whose agent was tested.

        Raises:
            MetapbtError: there is no record.
        """
        return (self.tested and self.at(self.tested)) or self._best

    @cached_property
    def _best(self) -> Record:
        return _highest(self.records, _performance)

    def leader_ever(self) -> Record:
        """The record with the highest value of the metric that there ever was, as `best_among` has it."""
        return self._leader_ever

    @cached_property
    def _leader_ever(self) -> Record:
        return self.best_among(self.records)

    def best_of_era(self) -> Record:
        """The record with the highest value of the metric since the members are those of this era."""
        if self.settled == 0:
            return self.leader_ever()
        return self.best_among(self.of_era())

    def of_era(self) -> list[Record]:
        """The records since the members are those of this era."""
        return [record for record in self.records if record.generation >= self.settled]

    def leader(self) -> Record:
        """The best of the members' last records."""
        return self.best_among(self.latest)

    def best_of(self, number: int) -> Record:
        """The record of a generation with the best value."""
        return self.best_among(self.generation(number))

    def best_values_of_era(self) -> list[float]:
        """The best value of each generation of this era; minus infinity where nobody had a finite one."""
        last = max(record.generation for record in self.latest)
        values = (self.value(self.best_of(number)) for number in range(self.settled, last + 1))
        return [value if math.isfinite(value) else -math.inf for value in values]

    def best_among(self, records: Sequence[Record]) -> Record:
        """The one of some of its records with the highest finite value of the metric.

        Of equals, as where many agents reach the highest return there is, the one whose two returns are better
        (`Record.performance`), then the earliest.

        Raises:
            MetapbtError: there are none.
        """
        return _highest(records, lambda record: record.value(self.metric), _performance)

    def before(self, record: Record) -> Record | None:
        """The record that ``record`` went on from: its parent's or its own one before."""
        return None if record.origin is None else self.at(record.origin)

    def counts_on(self, start: Ref | None, teacher: Ref | None) -> Record | None:
        """The record whose environment steps an interval counts on from; None where it begins at 0.

        That is the one that it goes on from. A new agent's line of descent has cost what its teacher's has.

        Args:
            start: the checkpoint that the interval goes on from; None of a new agent.
            teacher: whom it learns from, if it does.
        """
        name = teacher if start is None else start
        return None if name is None else self.at(name)

    def steps_before(self, record: Record) -> int:
        """Environment steps of the line of descent when a record's interval began."""
        before = self.counts_on(record.origin, record.teacher)
        return before.env_steps if before else 0

    def taught_steps(self, origin: Record | None, teacher: Ref) -> int:
        """Environment steps that the agent of a record (None for a new one) has learned from a teacher, up to now."""
        steps = 0
        while origin is not None and origin.teacher == teacher:
            steps += origin.env_steps - self.steps_before(origin)
            origin = self.before(origin)
        return steps

    def furthest(self, generation: int) -> int:
        """Environment steps at which the intervals of the generation before were to end, at most; 0 before the first.

        So intervals whose length depends on it do not depend on how rollouts were rounded.
        """
        return max((r.env_steps - r.excess for r in self._by_generation.get(generation - 1, ())), default=0)

    def coming_generation(self, member: int) -> int:
        """The number of the coming interval of a member, candidate or student."""
        if self.size is not None and member >= self.size:
            return max((record.generation + 1 for record in self.latest), default=0)
        own = self._last[member].generation if member in self._last else -1
        return max(own, self._newest_rung) + 1

    @property
    def next_number(self) -> int:
        """The first member number beyond the population's that nobody has had."""
        return max([self.size or 0, *(record.member + 1 for record in self.records)])

    @cached_property
    def _transitions(self) -> tuple[Transition, ...]:
        return tuple(row for row in map(self.transition, self.records) if row is not None)

    def transitions(self) -> tuple[Transition, ...]:
        """What every interval did, where its returns are finite.

        Nobody measures an agent before its first interval. The lowest return of the first generation stands for it,
        that of an agent which learned next to nothing. The first interval after a restart gives no transition, nor does
        one with a teacher: what a teacher taught, hyperparameters did not do.
        """
        return self._transitions

    def transition(self, record: Record) -> Transition | None:
        """What the interval of one record did; None where it gives no transition."""
        if record.restart or record.teacher is not None:
            return None
        origin = self.before(record)
        before = origin.reached if origin else self.untrained
        if not (math.isfinite(before) and math.isfinite(record.reached)):
            return None
        start = origin.env_steps if origin else 0
        steps = record.env_steps - start
        return Transition(record.generation, start, steps, before, record.reached, record.hyperparameters, origin)

    @cached_property
    def untrained(self) -> float:
        """What an agent's return is taken to be that has not trained: the lowest of the first generation; or NaN."""
        return min((r.reached for r in self.generation(0) if math.isfinite(r.reached)), default=math.nan)


def _performance(record: Record) -> float:
    return record.performance


def _highest(records: Sequence[Record], *rankings: Callable[[Record], float]) -> Record:
    """The record with the highest finite value of the first ranking, then of the next; of equals, the earliest.

    Those that failed come last.
    """
    if not records:
        raise MetapbtError(NOBODY)

    def place(record: Record) -> tuple[float, ...]:
        values = (value if math.isfinite(value) else -math.inf for value in (rank(record) for rank in rankings))
        return (not record.failed, *values, -record.generation, -record.member)

    return max(records, key=place)
