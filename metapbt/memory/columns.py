"""Records of many runs as arrays: what every interval did, without an object for each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from metapbt.history.record import HUGE
from metapbt.memory.encoder import Array, lately

Whole = NDArray[np.int64]

MOST_GENERATIONS, MOST_MEMBERS = 2**24, 2**20  # beyond these a record's name is absurd


@dataclass(frozen=True)
class Transitions:
    """What intervals did, as `metapbt.history.History.transitions` has it of each run; all of one length ``n``.

    Attributes:
        rows: positions of their records in the table.
        origins: positions of the records that they went on from; -1 for new agents.
        places: of their records among the columns.
        runs: which run each is of, as `RecordColumns.runs` counts them.
        generations: counted from 0.
        steps_before: environment steps before the interval.
        steps: environment steps in it.
        returns_before: the return that the member started from.
        returns_after: the return that it ended with.
    """

    rows: Whole
    origins: Whole
    places: Whole
    runs: Whole
    generations: Array
    steps_before: Array
    steps: Array
    returns_before: Array
    returns_after: Array


@dataclass(frozen=True)
class RecordColumns:
    """The records of several runs, those of each run one after the other in their order; arrays of one length.

    Attributes:
        run_ids: of the runs, in the order in which the table names them first.
        rows: positions in the table.
        runs: which run each is of, counted from 0.
        generations: counted from 0.
        members: counted from 0.
        names: one number for each run, generation and member; -1 for what no run has.
        restarts: whether a member was born again.
        failed: whether the interval could not be trained.
        taught: whether it learned from a teacher.
        env_steps: of the line of descent, whole or not.
        reached: `metapbt.history.Record.reached`; NaN where that is no number.
        performance: `metapbt.history.Record.performance`, likewise.
        origins: position, among these, of the record that each went on from; -1 where there is none.
    """

    run_ids: tuple[str, ...]
    rows: Whole
    runs: Whole
    generations: Whole
    members: Whole
    names: Whole
    restarts: NDArray[np.bool_]
    failed: NDArray[np.bool_]
    taught: NDArray[np.bool_]
    env_steps: NDArray[Any]
    reached: Array
    performance: Array
    origins: Whole

    @classmethod
    def of(cls, table: pa.Table) -> RecordColumns:
        """The columns of a table of records; its ``run_id`` tells runs apart."""
        encoded = table["run_id"].combine_chunks().dictionary_encode()
        runs = encoded.indices.to_numpy()
        rows = np.argsort(runs, kind="stable")
        runs = runs[rows].astype(np.int64)

        def column(name: str, absent: Any) -> NDArray[Any]:
            return np.asarray(pc.fill_null(table[name], absent).to_numpy())[rows]

        generations, members, parents = (column(name, -1) for name in ("generation", "member", "parent"))
        restarts, failed = (column(name, False) for name in ("restart", "failed"))
        since = column("parent_generation", -1)
        since = np.where((parents < 0) | (since < 0), generations - 1, since)
        start = np.where(parents < 0, members, parents)
        new = (parents < 0) & (restarts | (generations == 0))
        names = _names(runs, generations, members)
        origins = _places(names, np.where(new, -1, _names(runs, since, start))) if len(runs) else runs
        returns = np.array([column(name, np.nan) for name in ("train_return", "eval_return")])
        train, evaluation = np.clip(np.where(np.isfinite(returns), returns, np.nan), -HUGE, HUGE)
        reached = np.where(np.isnan(evaluation), train, evaluation)
        performance = (np.where(np.isnan(train), reached, train) + reached) / 2
        return cls(
            tuple(encoded.dictionary.to_pylist()),
            rows,
            runs,
            generations,
            members,
            names,
            restarts,
            failed,
            taught=column("teacher_generation", -1) >= 0,
            env_steps=column("env_steps", 0),
            reached=reached,
            performance=performance,
            origins=origins,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def at_origin(self, values: NDArray[Any], otherwise: Any) -> NDArray[Any]:
        """What the record had that each went on from."""
        return np.where(self.origins < 0, otherwise, values[self.origins]) if len(self) else values

    def recent(self, points: Array, half_life: float, categories: Iterable[int]) -> Array:
        """What each agent had trained with lately (`lately`) when its interval began; a new agent, its own: ``n x d``.

        Args:
            points: what each trained with, ``n x d``; NaN where that is not to be compared, so that it counts as
                nothing: who goes on from there is as good as new.
            half_life: environment steps.
            categories: columns of ``points``, counted from 0, that are a category's.
        """
        shares = (self.env_steps - self.at_origin(self.env_steps, 0)) / half_life
        before, after = points.copy(), points.copy()
        new = (self.origins < 0) | np.isnan(points[self.origins]).any(axis=1)
        order = np.argsort(self.origins, kind="stable")
        ordered, level = self.origins[order], np.flatnonzero(new)
        while len(level):  # who goes on from them; records of no run that go round in a circle are never reached
            starts, ends = (np.searchsorted(ordered, level, side=side) for side in ("left", "right"))
            counts = ends - starts
            level = order[np.repeat(starts + counts - np.cumsum(counts), counts) + np.arange(counts.sum())]
            level = level[~new[level]]
            before[level] = after[self.origins[level]]
            after[level] = lately(before[level], points[level], shares[level], categories)
        return before

    def transitions(self) -> Transitions:
        """What every interval did that trained something, where its returns are known."""
        lowest = np.full(len(self.run_ids), np.nan)
        first = self.generations == 0
        np.fmin.at(lowest, self.runs[first], self.reached[first])
        before = self.at_origin(self.reached, lowest[self.runs])
        steps_before = self.at_origin(self.env_steps, 0)
        steps = self.env_steps - steps_before
        told = ~self.restarts & ~self.failed & ~self.taught & np.isfinite(before) & np.isfinite(self.reached)
        kept = np.flatnonzero(told & (steps > 0))
        return Transitions(
            self.rows[kept],
            self.at_origin(self.rows, -1)[kept],
            kept,
            self.runs[kept],
            *(part[kept].astype(np.float64) for part in (self.generations, steps_before, steps, before, self.reached)),
        )

    def problems(self) -> dict[str, str]:
        """What is wrong with those runs whose records are not what a run writes, in words, by its ``run_id``."""
        order = np.argsort(self.names, kind="stable")
        doubled = np.zeros(len(self), dtype=bool)
        doubled[order[1:]] = self.names[order[1:]] == self.names[order[:-1]]
        still = ~(self.failed | (self.env_steps - self.at_origin(self.env_steps, 0) > 0))
        found: dict[str, str] = {}
        for which, what in (
            (self.names < 0, "is none that a run has"),
            (doubled, "has two records"),
            (still, "trained no steps"),
        ):
            places = np.flatnonzero(which)
            for run, first in zip(*np.unique(self.runs[places], return_index=True), strict=True):
                place = places[first]
                name = f"generation {self.generations[place]} of member {self.members[place]}"
                found.setdefault(self.run_ids[run], f"{name} {what}")
        return found


def _names(runs: Whole, generations: Whole, members: Whole) -> Whole:
    """One number for each record's run, generation and member; -1 for what no run has."""
    inside = (generations >= 0) & (generations < MOST_GENERATIONS) & (members >= 0) & (members < MOST_MEMBERS)
    return np.where(inside, (runs * MOST_GENERATIONS + generations) * MOST_MEMBERS + members, -1)


def _places(names: Whole, wanted: Whole) -> Whole:
    """Where the wanted names are, the last of each; -1 of those that are nowhere."""
    order = np.argsort(names, kind="stable")
    ordered = names[order]
    places = np.searchsorted(ordered, wanted, side="right") - 1
    return np.where((wanted >= 0) & (places >= 0) & (ordered[places] == wanted), order[places], -1)
