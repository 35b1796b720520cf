"""Choosing the contexts that a run learns from, and reading what happened there."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from metapbt.errors import MetapbtError, unknown_name
from metapbt.history import Context, FeatureValue, History, Record
from metapbt.log import LOGGER, counted
from metapbt.memory.describe import Describe, by_features
from metapbt.memory.encoder import Description
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.space import Space
from metapbt.store.results import RunInfo, count_records, find_runs, read_run
from metapbt.store.table import SCHEMA, to_records


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
    min_records: int = 1,
    space: Space | None = None,
    describe: Describe = by_features,
) -> list[RunInfo]:
    """Find the runs that a run on ``target`` learns from.

    Nothing of the target gets into its own memory: neither its runs, whatever their seed, nor runs on other contexts
    whose memory came from the target, over however many hops. A run that is still being written counts as far as it is
    whole.

    Args:
        results_dir: where to look; a directory that does not exist holds no runs.
        env: only runs of this environment.
        learner: only runs of this learner.
        target: the target context, every feature.
        sources: ``closest`` to the target, ``spread`` over the range, ``all``, or ``similar``; distances are taken
            over the description, standardised over the contexts found. ``similar`` learns from all of them what of
            it matters, and takes the contexts whose returns would change most like the target's.
        num_contexts: how many contexts to choose, unless ``all``.
        methods: only runs of these methods; None for every method.
        include_target: whether runs on the target context count, and runs whose memory came from them.
        exclude: a run directory that never counts: the run's own.
        min_records: contexts with fewer records, all runs together, are passed over.
        space: the target's search space; only ``similar`` asks for it.
        describe: what distances are taken over.

    Raises:
        MetapbtError: ``sources`` is unknown, a number is below 1, or ``similar`` lacks the space.
    """
    if sources not in _CHOICES:
        raise unknown_name("meta.sources", sources, _CHOICES)
    for key, value in (("num_contexts", num_contexts), ("min_records", min_records)):
        if value < 1:
            raise MetapbtError(f"meta.{key} must be >= 1, got {value}")
    runs = [
        run
        for run in _distinct(find_runs(results_dir) if results_dir.is_dir() else [])
        if run.env == env
        and run.learner == learner
        and (methods is None or run.method in methods)
        and (include_target or not any(_same(c, target) for c in (run.context, *run.ancestry)))
        and (exclude is None or run.path.resolve() != exclude.resolve())
    ]
    records = {run.path: _record_count(run) for run in runs}
    counts: Counter[Context] = Counter()
    for run in runs:
        counts[run.context] += records[run.path]
    enough = [context for context, count in counts.items() if count >= min_records]
    contexts = sorted(enough, key=lambda context: [str(item) for item in sorted(context.items())])
    runs = [run for run in runs if run.context in contexts and records[run.path]]
    if not contexts:
        return []
    if sources == "similar" and len(contexts) > num_contexts:
        points, here = _alike(runs, contexts, target, space, describe)
    else:
        points, here = _standardised(describe([*contexts, target]))
    chosen = [contexts[index] for index in _CHOICES[sources](points, here, num_contexts)]
    return [run for run in runs if run.context in chosen]


def read_sources(runs: Sequence[RunInfo]) -> pa.Table:
    """Read the records of source runs into one table; its ``run_id`` tells them apart by their paths."""
    tables = [SCHEMA.empty_table()]
    for run in runs:
        table = read_run(run)
        if table is not None:
            place = table.schema.get_field_index("run_id")
            tables.append(table.set_column(place, "run_id", pa.array([str(run.path)] * len(table), pa.string())))
    # A table's hyperparameters may be integers in one run and null in another: promote, and fill with nulls.
    return pa.concat_tables(tables, promote_options="permissive")


def ancestry_of(runs: Sequence[RunInfo]) -> frozenset[Context]:
    """The contexts behind a memory of these runs: their own, and those that their memories are made of."""
    return frozenset(context for run in runs for context in (run.context, *run.ancestry))


def to_memory(target: Context, table: pa.Table, metric: str, describe: Describe = by_features) -> Memory:
    """Make the memory of a run from its sources' records.

    Args:
        target: the target context, every feature.
        table: the sources' records.
        metric: the return that selection and surrogates look at.
        describe: what tells contexts apart.
    """
    runs: dict[str, tuple[Context, list[Record]]] = {}
    for identity, record in to_records(table):
        runs.setdefault(identity.run_id, (identity.context, []))[1].append(record)
    return Memory(target, tuple(SourceRun(c, History(tuple(found), metric)) for c, found in runs.values()), describe)


def describe_contexts(runs: Sequence[RunInfo]) -> str:
    """The contexts of runs in one line, each with its number of runs."""
    counts = Counter(run.context.label for run in runs)
    return ", ".join(f"{label} ({counted(count, 'run')})" for label, count in counts.items())


def _standardised(contexts: Sequence[Description]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """All contexts but the last (``n x f``), and the last (``f``), over what varies, each with unit deviation."""
    everything = np.array([[context[name] for name in contexts[-1]] for context in contexts])
    deviation = everything.std(axis=0)
    scaled = everything[:, deviation > 0] / deviation[deviation > 0]
    return scaled[:-1], scaled[-1]


def _alike(
    runs: Sequence[RunInfo], contexts: Sequence[Context], target: Context, space: Space | None, describe: Describe
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The contexts (``n x f``) and the target (``f``), each feature scaled by how much the records depend on it.

    The scales are those of a plain GP with automatic relevance determination, trained over the contexts as tasks.
    """
    from metapbt.memory.model import PLAIN, MetaModel
    from metapbt.memory.tasks import Tasks

    if space is None:
        raise MetapbtError("meta.sources=similar needs the search space")
    memory = to_memory(target, read_sources(runs), "train_return", describe)
    tasks = Tasks.of(memory, space)
    described = [memory.descriptions[context] for context in (*contexts, target)]
    features = len(tasks.scale.features)
    if not len(tasks) or not features:
        return _standardised(described)
    model = MetaModel(2, features, len(space))
    model.train(tasks.rows, PLAIN, PLAIN.steps)
    relevance = model.relevance[2 : 2 + features]
    places = np.array([tasks.scale.context(description) for description in described]) * relevance
    return places[:-1], places[-1]


def _distinct(runs: Sequence[RunInfo]) -> Iterator[RunInfo]:
    """The runs, each once, even where links lead to it by several paths."""
    seen = set()
    for run in runs:
        if (place := run.path.resolve()) not in seen:
            seen.add(place)
            yield run


def _same(context: Context, target: Context) -> bool:
    """Whether two contexts are the same but for the last bits of their numbers."""
    return all(_equal(context[name], value) for name, value in target.items() if name in context)


def _equal(one: FeatureValue, other: FeatureValue) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9)


def _record_count(run: RunInfo) -> int:
    """How many records a run has written so far; 0, with a warning, where they cannot be read."""
    try:
        return count_records(run)
    except MetapbtError as error:
        LOGGER.warning("memory: a run is passed over: %s", error)
        return 0


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


_CHOICES = {"closest": _closest, "spread": _spread, "all": _all, "similar": _closest}
