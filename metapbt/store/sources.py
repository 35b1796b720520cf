"""Choosing the contexts that a run learns from, and reading what happened there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from metapbt.errors import MetapbtError, unknown_name
from metapbt.records import History, Memory, Record, SourceRun
from metapbt.store.results import RunInfo, find_runs
from metapbt.store.run_directory import RunDirectory, context_label
from metapbt.store.table import SCHEMA, Identity, read_table, to_records

Context = dict[str, float]


def choose_sources(
    results_dir: Path,
    env: str,
    learner: str,
    target: Context,
    sources: str,
    num_contexts: int,
    methods: Sequence[str] | None = None,
    include_target: bool = False,
    exclude: Path | None = None,
) -> list[RunInfo]:
    """Find the runs that a run on ``target`` learns from.

    Args:
        results_dir: where to look; a directory that does not exist holds no runs.
        env: only runs of this environment.
        learner: only runs of this learner.
        target: the target context, every feature.
        sources: ``closest`` to the target, ``spread`` over the range, or ``all``; distances are taken over features
            standardised over the contexts found.
        num_contexts: how many contexts to choose, unless ``all``.
        methods: only runs of these methods; None for every method.
        include_target: whether runs on the target context count.
        exclude: a run directory that never counts: the run's own.

    Raises:
        MetapbtError: ``sources`` is unknown, or ``num_contexts`` is below 1.
    """
    if sources not in _CHOICES:
        raise unknown_name("meta.sources", sources, _CHOICES)
    if num_contexts < 1:
        raise MetapbtError(f"meta.num_contexts must be >= 1, got {num_contexts}")
    runs = [
        run
        for run in (find_runs(results_dir) if results_dir.is_dir() else [])
        if run.env == env
        and run.learner == learner
        and (methods is None or run.method in methods)
        and (include_target or run.context != target)
        and (exclude is None or run.path.resolve() != exclude.resolve())
        and RunDirectory(run.path).records.exists()
    ]
    contexts = [dict(items) for items in sorted({tuple(run.context.items()) for run in runs})]
    if not contexts:
        return []
    points, here = _standardised(contexts, target)
    chosen = [contexts[index] for index in _CHOICES[sources](points, here, num_contexts)]
    return [run for run in runs if run.context in chosen]


def read_sources(runs: Sequence[RunInfo]) -> pa.Table:
    """Read the records of source runs into one table; its ``run_id`` tells them apart by their paths."""
    tables = [SCHEMA.empty_table()]
    for run in runs:
        table = read_table(RunDirectory(run.path).records)
        place = table.schema.get_field_index("run_id")
        tables.append(table.set_column(place, "run_id", pa.array([str(run.path)] * len(table), pa.string())))
    # A table's hyperparameters may be integers in one run and null in another: promote, and fill with nulls.
    return pa.concat_tables(tables, promote_options="permissive")


def to_memory(target: Context, table: pa.Table, metric: str) -> Memory:
    """Make the memory of a run from its sources' records.

    Args:
        target: the target context, every feature.
        table: the sources' records.
        metric: the return that selection and surrogates look at.
    """
    runs: dict[str, tuple[Identity, list[Record]]] = {}
    for identity, record in to_records(table):
        runs.setdefault(identity.run_id, (identity, []))[1].append(record)
    sources = tuple(SourceRun(i.context, History(tuple(records), metric)) for i, records in runs.values())
    return Memory(dict(target), sources)


def describe_contexts(runs: Sequence[RunInfo]) -> str:
    """The contexts of runs in one line, each with its number of runs."""
    counts: dict[str, int] = {}
    for run in runs:
        label = context_label(run.changed)
        counts[label] = counts.get(label, 0) + 1
    return ", ".join(f"{label} ({count} run{'s' * (count > 1)})" for label, count in counts.items())


def _standardised(contexts: Sequence[Context], target: Context) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The contexts (shape ``n x f``) and the target (``f``) over the features that vary, each with unit deviation."""
    everything = np.array([[context[name] for name in target] for context in [*contexts, target]])
    deviation = everything.std(axis=0)
    scaled = everything[:, deviation > 0] / deviation[deviation > 0]
    return scaled[:-1], scaled[-1]


def _closest(points: np.ndarray[Any, Any], here: np.ndarray[Any, Any], count: int) -> list[int]:
    return [int(i) for i in np.argsort(np.linalg.norm(points - here, axis=1), kind="stable")[:count]]


def _spread(points: np.ndarray[Any, Any], here: np.ndarray[Any, Any], count: int) -> list[int]:
    """Greedy: begin at the context farthest from the middle, then always the one farthest from those chosen."""
    chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    while len(chosen) < min(count, len(points)):
        gaps = np.linalg.norm(points[:, None] - points[chosen], axis=-1).min(axis=1)
        chosen.append(int(np.argmax(gaps)))
    return chosen


def _all(points: np.ndarray[Any, Any], here: np.ndarray[Any, Any], count: int) -> list[int]:
    return list(range(len(points)))


_CHOICES = {"closest": _closest, "spread": _spread, "all": _all}
