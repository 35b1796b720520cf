"""What a run's memory was made of, and how far it was trusted at each generation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metapbt.errors import MetapbtError
from metapbt.log import counted
from metapbt.memory.encoder import Which
from metapbt.memory.trust import RELATEDNESS, explained
from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.report.knowledge import decision_after, explorer_of
from metapbt.store.table import CONTEXT, context_of

if TYPE_CHECKING:
    from metapbt.runs.run import Run

SOURCES = ("env", "context", "method", "name", "seed", "run", "rows", "used", "share")
TRUST = ("generation", "related", "kernel", "alone", "rows")


@dataclass(frozen=True)
class MemoryView:
    """What a memory is made of, and how far it was trusted.

    Attributes:
        sources: a row for each source run: ``env``, ``context`` (a label), ``context.<feature>``, ``method``, ``name``,
            ``seed``, ``run`` (where it was), ``rows`` (intervals of it that the surrogate was trained on), ``used`` (of
            these, how many the last decision was conditioned on) and ``share`` of all that were.
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
        generations: after which it is asked, from -1 (before the first) on; None for before the first and after all in
            which a member became a copy.
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
    for generation in range(-1, run.history.generations - 1) if generations is None else generations:
        own = None
        if generation >= 0:
            decision = decision_after(run, generation)
            copied = bool(decision.suggested) or generations is not None
            if not copied or not explorer.steers(decision.parents, decision.history):
                continue
            own = explorer.known(decision.children, decision.parents, decision.history)
            used = own.used
        weights = explorer.weights(own)
        whole = len(RELATEDNESS)
        shares = (
            (float(weights[1:whole].sum()), float(weights[0]), float(weights[whole:].sum()))
            if len(weights) >= whole
            else (1.0, 0.0, 0.0)  # one exact GP, which is trusted wholly
        )
        rows.append((generation, *shares, 0 if own is None else len(own.rows)))
    trust = pd.DataFrame(rows, columns=list(TRUST))
    sources = _sources(explorer, used)
    return MemoryView(sources, trust, _sentence(sources, trust))


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
    runs = explorer.tasks.runs
    counts, chosen = (np.bincount(each, minlength=len(lines)) for each in (runs, runs[used]))
    return pd.DataFrame(
        [
            {
                "env": line["env"],
                "context": context_of(line).label,
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
    contexts = sources["context"].nunique()
    begun = (
        f"Memory is {counted(int(sources['rows'].sum()), 'interval')} of {counted(len(sources), 'run')} "
        f"on {counted(contexts, 'context')}"
    )
    said = [begun]
    for where, rows in (("at the start", trust.head(1)), ("at the end", trust.tail(1))):
        if len(trust) > (where == "at the end"):
            row = rows.iloc[0]
            said.append(f"{where} {explained(_weights(row))}")
    return "; ".join(said) + "."


def _weights(row: pd.Series) -> list[float]:
    related = len(RELATEDNESS) - 1
    return [row["kernel"], *[row["related"] / related] * related, row["alone"]]
