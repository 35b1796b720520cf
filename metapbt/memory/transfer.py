"""What source runs trained with early, as it stands in their records: no model, no forecast."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from metapbt.history import Context
from metapbt.memory.columns import RecordColumns
from metapbt.memory.encoder import Array
from metapbt.memory.points import points_of
from metapbt.memory.source_runs import Memory
from metapbt.memory.sources import closest, standardised
from metapbt.space import Hyperparameters, Space
from metapbt.store.table import to_records

_T = TypeVar("_T")


@dataclass(frozen=True)
class Line:
    """A line of descent of a source run, as far as the run's early stage goes.

    Attributes:
        hyperparameters: those that it trained with longest there.
        context: of its run.
        method: by which its run is called.
        seed: of its run.
        steps: environment steps that it trained with them there.
        performance: the highest that its last agent, or any that descended from it, ever had (`Record.performance`).
    """

    hyperparameters: Hyperparameters
    context: Context
    method: str
    seed: int
    steps: float
    performance: float


@dataclass(frozen=True)
class _Found:
    """A line as positions among the columns: of the record with its hyperparameters, and what identifies these.

    Its rank is less the best performance that came of it, and the steps after which it came: the lower, the better.
    """

    place: int
    point: bytes
    steps: float
    rank: tuple[float, float]


def early_lines(memory: Memory, space: Space, stage: float, budget: float = math.inf) -> list[Line]:
    """The lines of descent whose hyperparameters are worth copying into a first generation, in that order.

    The early stage of a run is the share ``stage`` of its environment steps. Of each line of descent that goes through
    it, the hyperparameters count that it trained with longest there, of those trained as long the first. A line is as
    good as the best agent that came of it, however late, by the mean of its returns in training and evaluation; of
    equals, as where many reach the highest return there is, the one that came to it after fewer steps is the better.

    - The better half of a run's lines counts, the best first; the runs of one context take turns, the best run first;
      the contexts take turns, the one nearest to the target first (by their descriptions, each number with unit
      deviation).
    - Only configurations of the target's space count, as everywhere in memory: all names known, all values legal, none
      missing. A line may fall back on another that it trained with; and each configuration counts once.

    Args:
        memory: the target's context and the sources' runs.
        space: of the target.
        stage: in (0, 1]; with 1 the best line of a run stands for what its best agent trained with longest.
        budget: environment steps that a member of the target is to train; in a run that trained for longer, the early
            stage is a share of these.
    """
    columns = RecordColumns.of(memory.table)
    by_run: dict[int, list[_Found]] = {}
    for run, found in _lines(columns, points_of(memory.table, space)[columns.rows], stage, budget):
        by_run.setdefault(run, []).append(found)
    by_context: dict[Context, list[list[_Found]]] = {}
    for run, lines in by_run.items():
        best_first = sorted(lines, key=lambda line: line.rank)
        better_half = best_first[: (len(lines) + 1) // 2]  # the other is what selection gave up
        by_context.setdefault(memory.contexts[run], []).append(better_half)
    turns = [
        _in_turns(sorted(by_context[context], key=lambda lines: lines[0].rank))
        for context in _nearest_first(memory, list(by_context))
    ]
    distinct: dict[bytes, _Found] = {}
    for line in _in_turns(turns):
        distinct.setdefault(line.point, line)
    rows = columns.rows[[line.place for line in distinct.values()]] if distinct else columns.rows[:0]
    records = to_records(memory.table.take(rows))
    return [
        Line(
            space.active({**space.unconditional_default(), **space.checked(record.hyperparameters)}),
            identity.context,
            identity.name,
            identity.seed,
            line.steps,
            -line.rank[0],
        )
        for line, (identity, record) in zip(distinct.values(), records, strict=True)
    ]


def _lines(columns: RecordColumns, points: Array, stage: float, budget: float) -> list[tuple[int, _Found]]:
    """The early lines of all runs, each with its run, in the order of their last records."""
    longest = np.zeros(len(columns.run_ids))
    np.maximum.at(longest, columns.runs, columns.env_steps)
    end = stage * np.minimum(longest, budget)[columns.runs]
    trained = np.maximum(np.minimum(columns.env_steps, end) - columns.at_origin(columns.env_steps, 0), 0.0)
    trained[columns.taught] = 0.0  # what a student learns is its teacher's merit
    early: NDArray[np.bool_] = np.greater(trained, 0)
    origins, lasts = columns.origins, early.copy()
    lasts[origins[early & (origins >= 0)]] = False
    ranks = _ranks(columns)
    legal: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=1))
    found = []
    for last in np.flatnonzero(lasts):
        if math.isinf(ranks[last][0]):
            continue
        steps: dict[bytes, float] = {}
        where: dict[bytes, int] = {}
        for place in _descent(origins, int(last)):
            if legal[place] and early[place]:
                point = points[place].tobytes()
                steps[point] = steps.get(point, 0.0) + float(trained[place])
                where.setdefault(point, place)
        if steps:
            point = max(steps, key=lambda each: steps[each])
            line = _Found(where[point], point, steps[point], ranks[last])
            found.append((int(columns.runs[last]), line))
    return found


def _descent(origins: NDArray[np.int64], last: int) -> list[int]:
    """Positions from a line's first record to its last; records of no run may go round in a circle."""
    path = [last]
    while origins[path[-1]] >= 0 and len(path) <= len(origins):
        path.append(int(origins[path[-1]]))
    return path[::-1]


def _ranks(columns: RecordColumns) -> list[tuple[float, float]]:
    """Of each record what `_Found.rank` says of it and all that descended from it; infinite where none has a return."""
    less = -np.nan_to_num(columns.performance, nan=-np.inf)
    ranks = list(zip(less.tolist(), columns.env_steps.tolist(), strict=True))
    # Who went on from a record stands behind it.
    for place in range(len(columns) - 1, -1, -1):
        origin = columns.origins[place]
        if origin >= 0:
            ranks[origin] = min(ranks[origin], ranks[place])
    return ranks


def _nearest_first(memory: Memory, contexts: Sequence[Context]) -> list[Context]:
    if not contexts:
        return []
    described = memory.descriptions
    places, here = standardised([described[context] for context in (*contexts, memory.context)])
    return [contexts[place] for place in closest(places, here, len(contexts))]


def _in_turns(lists: Sequence[Sequence[_T]]) -> list[_T]:
    """The first of each list, then the second of each, and so on."""
    longest = max(map(len, lists), default=0)
    return [each[turn] for turn in range(longest) for each in lists if turn < len(each)]
