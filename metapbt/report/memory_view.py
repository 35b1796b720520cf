"""What a run's memory was made of, and how far it was trusted at each generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metapbt.errors import MetapbtError
from metapbt.history import Context
from metapbt.log import counted
from metapbt.memory.encoder import Which
from metapbt.memory.trust import RELATEDNESS, in_per_cent, origins
from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.report.knowledge import decision_after, explorer_of
from metapbt.store.table import CONTEXT, context_of
from metapbt.surrogates.thinning import evenly

if TYPE_CHECKING:
    from metapbt.runs.run import Run

SOURCES = ("env", "context", "method", "name", "seed", "run", "rows", "used", "share")
PARTS = ("related", "kernel", "alone")
TRUST = ("generation", *PARTS, "rows")
MOST_DECISIONS = 8


@dataclass(frozen=True)
class MemoryView:
    """What a memory is made of, and how far it was trusted.

    Attributes:
        sources: a row for each source run: ``env``, ``context`` (what differs between them and the run),
            ``context.<feature>``, ``method``, ``name``, ``seed``, ``run`` (where it was), ``rows`` (its
            intervals that the surrogate was trained on), ``used`` (of these, how many the last decision was conditioned
            on) and ``share`` of all that were.
        trust: a row for each decision: ``generation`` after which it was taken (-1: the first generation), and the
            shares of the forecast that came from ``related`` contexts, from the shape of their ``kernel`` alone and
            from this run ``alone``, which sum to 1; ``rows`` of this run that they were judged by.
        sentence: both, in words.
    """

    sources: pd.DataFrame
    trust: pd.DataFrame
    sentence: str


def memory_view(run: Run, generations: Sequence[int] | None = None, train: bool = False) -> MemoryView:
    """What a run's memory was made of, and how far it was trusted.

    Trust is computed again by the explorer, from the history up to each generation and ``memory.parquet``.

    Args:
        run: of a method with memory.
        generations: after which it is asked, from -1 (before the first) on; None for before the first, and after
            ``MOST_DECISIONS`` of those after which members became copies, evenly: each takes a tenth of a second.
        train: whether models of memory that are kept no more are trained anew, which takes a minute or so.

    Raises:
        MetapbtError: the method has no memory or is code of the user's own, its files cannot be read, or models of its
            memory are kept no more.
    """
    explorer = explorer_of(run, train)
    if not isinstance(explorer, MetaPB2Explorer):
        raise MetapbtError(f"method={run.info.method} has no memory")
    if not len(explorer.tasks):
        return MemoryView(
            _sources(explorer, slice(0)),
            pd.DataFrame(columns=list(TRUST)),
            "Memory holds no intervals of related contexts: the run went on without it.",
        )
    rows: list[tuple[float, ...]] = []
    used: Which = slice(0)
    for generation in _decisions(run) if generations is None else generations:
        known = None
        if generation >= 0:
            decision = decision_after(run, generation)
            if not explorer.steers(decision.parents, decision.history):
                continue
            known = explorer.known(decision.children, decision.parents, decision.history)
            used = known.own.used
        weights = explorer.meta.weights(None) if known is None else known.weights
        # The published kernel is one exact GP, which is trusted wholly.
        shares = origins(weights) if len(weights) >= len(RELATEDNESS) else np.array([1.0, 0.0, 0.0])
        rows.append((generation, *map(float, shares), 0 if known is None else len(known.own.rows)))
    trust = pd.DataFrame(rows, columns=list(TRUST))
    sources = _sources(explorer, used)
    return MemoryView(sources, trust, _sentence(sources, trust))


def _decisions(run: Run) -> list[int]:
    """Before the first generation, and after some of those after which members became copies."""
    copies = sorted({record.generation - 1 for record in run.history if record.parent is not None})
    known = [generation for generation in copies if 0 <= generation < run.history.generations]
    return [-1, *(known[place] for place in evenly(len(known), MOST_DECISIONS))]


def _sources(explorer: MetaPB2Explorer, used: Which) -> pd.DataFrame:
    """A row for each source run; ``used`` are positions among the rows that the surrogate was trained on."""
    table = explorer.memory.table
    names = [name for name in table.column_names if name.startswith(CONTEXT)]
    columns = [*SOURCES[:2], *names, *SOURCES[2:]]
    if not len(table):
        return pd.DataFrame(columns=columns)
    encoded = table["run_id"].combine_chunks().dictionary_encode()
    first = np.unique(encoded.indices.to_numpy(), return_index=True)[1]
    lines = table.select([*names, "run_id", "env", "method", "name", "seed"]).take(first).to_pylist()
    contexts = [context_of(line) for line in lines]
    everywhere = [*contexts, explorer.memory.context]
    varying = [name for name in contexts[0] if len({context.get(name) for context in everywhere}) > 1]
    runs = explorer.tasks.runs
    counts, chosen = (np.bincount(each, minlength=len(lines)) for each in (runs, runs[used]))
    return pd.DataFrame(
        [
            {
                "env": line["env"],
                "context": Context(contexts[place], varying).label,
                **{name: line[name] for name in names},
                "method": line["method"],
                "name": line["name"],
                "seed": line["seed"],
                "run": line["run_id"],
                "rows": int(counts[place]),
                "used": int(chosen[place]),
                "share": float(chosen[place] / max(chosen.sum(), 1)),
            }
            for place, line in enumerate(lines)
        ],
        columns=columns,
    )


def _sentence(sources: pd.DataFrame, trust: pd.DataFrame) -> str:
    found = (
        f"Memory is {counted(int(sources['rows'].sum()), 'interval')} of {counted(len(sources), 'run')} "
        f"on {counted(sources['context'].nunique(), 'context')}."
    )
    if trust.empty:
        return found
    first, last = (in_per_cent(trust[list(PARTS)].iloc[place].to_numpy(dtype=float)) for place in (0, -1))
    found += (
        f" {_when(trust['generation'].iloc[0])} {first[0]}% of the forecast came from related contexts, {first[1]}% "
        f"from the shape of their kernel alone and {first[2]}% from this run alone"
    )
    if len(trust) > 1:
        found += f"; {_when(trust['generation'].iloc[-1]).lower()} it was {last[0]}%, {last[1]}% and {last[2]}%"
    return f"{found}."


def _when(generation: int) -> str:
    return "At the start" if generation < 0 else f"After generation {generation + 1}"
