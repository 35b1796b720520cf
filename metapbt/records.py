"""What happened in a run: one record for each member and generation, and their history."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from metapbt.errors import MetapbtError
from metapbt.space import Hyperparameters

ContextKey = tuple[tuple[str, float], ...]


def context_key(context: Mapping[str, float]) -> ContextKey:
    """What tells contexts apart: the same features with the same values, in any order, give the same key."""
    return tuple(sorted(context.items()))


@dataclass(frozen=True, slots=True)
class Record:
    """One member's training during one generation.

    Attributes:
        generation: counted from 0.
        member: counted from 0; members keep their number when they copy another.
        parent: the member copied before this generation, or None.
        source: how the hyperparameters came about: ``default``, ``random``, ``memory``, ``continued``,
            ``perturbed``, ``surrogate``, or a word of one's own explorer.
        hyperparameters: those trained with; nested names joined by dots.
        env_steps: environment steps that the member has trained so far, this generation included.
        train_return: mean return of the episodes that ended in the interval; NaN when none did.
        eval_return: mean return over the evaluation episodes after the interval.
        episodes: how many episodes ended in the interval.
        wall_seconds: what training and evaluation took.
        parent_generation: of the parent's record that was copied; None where there is no parent. In a synchronous run
            it is the generation before.
    """

    generation: int
    member: int
    parent: int | None
    source: str
    hyperparameters: Hyperparameters
    env_steps: int
    train_return: float
    eval_return: float = math.nan
    episodes: int = 0
    wall_seconds: float = 0.0
    parent_generation: int | None = None

    @property
    def origin(self) -> tuple[int, int]:
        """Generation and member of the record that this one went on from: the parent's, or its own one before."""
        if self.parent is None:
            return self.generation - 1, self.member
        return (self.generation - 1 if self.parent_generation is None else self.parent_generation), self.parent

    def value(self, metric: str = "train_return") -> float:
        """The return that selection looks at: ``metric``, or the other one where that is NaN.

        An agent that survives the whole interval ends no episode; its evaluation then speaks for it.
        """
        wanted: float = getattr(self, metric)
        other = self.eval_return if metric == "train_return" else self.train_return
        return other if math.isnan(wanted) else wanted

    @property
    def reached(self) -> float:
        """The return that the agent has reached at the interval's end: what surrogates learn to raise.

        That is its evaluation. The training return is a mean over the interval, so what an agent learns in one interval
        shows mostly in the next, where the next hyperparameters would get the credit. It stands in where there is no
        evaluation, as for a ``Tuner`` that is told one return only.
        """
        return self.value("eval_return")

    def to_dict(self) -> dict[str, Any]:
        """This record as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """The record that ``to_dict`` wrote down."""
        return cls(**{f.name: data[f.name] for f in fields(cls)})


@dataclass(frozen=True, slots=True)
class Transition:
    """What one interval did to a member's return: the row that surrogates learn from.

    Attributes:
        generation: counted from 0.
        steps_before: environment steps before the interval.
        steps: environment steps in the interval.
        return_before: the return that the member started from.
        return_after: the return that it ended with.
        hyperparameters: those trained with.
    """

    generation: int
    steps_before: int
    steps: int
    return_before: float
    return_after: float
    hyperparameters: Hyperparameters

    @property
    def slope(self) -> float:
        """Change of return for each environment step."""
        return (self.return_after - self.return_before) / self.steps


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


@dataclass(frozen=True)
class SourceRun:
    """A finished part of a run on another context: what memory is made of."""

    context: dict[str, float]
    history: History


@dataclass(frozen=True)
class Memory:
    """What is known from related contexts when a run starts.

    Attributes:
        context: the target's features.
        sources: runs on other contexts of the same environment.
    """

    context: dict[str, float]
    sources: tuple[SourceRun, ...] = ()


def _comparable(value: float) -> float:
    return -math.inf if math.isnan(value) else value
