"""Reading what happened in source runs: one table of all their records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from metapbt.errors import MetapbtError, one_line
from metapbt.history import Context, FeatureValue
from metapbt.log import LOGGER
from metapbt.memory.columns import RecordColumns
from metapbt.store.concatenate import concatenated
from metapbt.store.memory_table import with_ancestry
from metapbt.store.parquet import MOST_CELLS
from metapbt.store.results import RunInfo, read_run
from metapbt.store.table import CONTEXT, HYPERPARAMETER, SCHEMA, SCHEMA_VERSION, Identity
from metapbt.surrogates.thinning import evenly

#: What all records of a run share, and what each has of its own.
SHARED = ("schema_version", "run_id", "env", "method", "name", "learner", "seed")
OWN = pa.schema([field for field in SCHEMA if field.name not in SHARED])
MOST_RECORDS = 2_000_000  # in a memory; of more, whole runs are left out, evenly
#: What reading the files of a run may end in, damaged, deleted or another user's as they may be.
UNREADABLE = (MetapbtError, OSError, pa.ArrowException, ValueError)

_Part = tuple[Identity, pa.Table]


def read_sources(runs: Sequence[RunInfo]) -> pa.Table:
    """Read the records of source runs into one table; its ``run_id`` tells them apart by their paths.

    What all records of a run share is what its configuration says, whatever stands in its records. A run whose records
    cannot be read, or are none that a run writes, is passed over with a warning. Of more records than a memory may hold
    whole runs are left out, evenly over all of them. What is behind all of these goes with the table (`with_ancestry`).
    """
    parts = []
    for run in runs:
        try:
            table = read_run(run)
            if table is not None and len(table):
                parts.append((replace(run.identity, run_id=str(run.path)), own_columns(table)))
        except UNREADABLE as error:
            pass_over(run.path, error)
    table = joined(parts)
    problems = RecordColumns.of(table).problems()
    for place, what in problems.items():
        pass_over(place, what)
    if problems:
        parts = [part for part in parts if part[0].run_id not in problems]
        table = joined(parts)
    most = min(MOST_RECORDS, MOST_CELLS // table.num_columns)
    while len(table) > most and len(parts) > 1:
        kept = evenly(len(parts), max(1, len(parts) * most // len(table)))
        LOGGER.warning(
            "memory: %d records are too many to keep: %d of %d runs count", len(table), len(kept), len(parts)
        )
        parts = [parts[place] for place in kept]
        table = joined(parts)
    return with_ancestry(table, ancestry_of(runs))


def ancestry_of(runs: Sequence[RunInfo]) -> frozenset[Context]:
    """The contexts behind a memory of these runs: their own, and those that their memories are made of."""
    return frozenset(context for run in runs for context in (run.context, *run.ancestry))


def pass_over(what: object, why: object) -> None:
    """Say that a run, or a context, is none to learn from."""
    LOGGER.warning("memory: %s is passed over: %s", what, one_line(why) if isinstance(why, Exception) else why)


def joined(parts: Sequence[_Part]) -> pa.Table:
    """Records of several runs as one table with the columns of ``SCHEMA``, of each feature and each hyperparameter.

    Args:
        parts: of each run what its records share, and what `own_columns` gives of these.
    """
    own = concatenated([OWN.empty_table(), *(table for _, table in parts)])
    which = pa.array(np.repeat(np.arange(len(parts)), [len(table) for _, table in parts]))
    columns = {}
    for field in SCHEMA:
        if field.name in SHARED:
            each = [getattr(identity, field.name, SCHEMA_VERSION) for identity, _ in parts]
            columns[field.name] = pa.array(each, field.type).take(which)
        else:
            columns[field.name] = own[field.name]
    contexts = [identity.context for identity, _ in parts]
    for name in dict.fromkeys(name for context in contexts for name in context):
        columns[f"{CONTEXT}{name}"] = _values([context.get(name) for context in contexts]).take(which)
    fields = {field.name: field for field in own.schema}
    found = pa.table({**columns, **{name: own[name] for name in own.column_names if name not in columns}})
    return found.cast(pa.schema([fields.get(field.name, field) for field in found.schema]))


def _values(values: Sequence[FeatureValue | None]) -> pa.Array:
    """A feature's values: texts if one of them is, else numbers, whole if all of them are."""
    given = [value for value in values if value is not None]
    if any(isinstance(value, str) for value in given):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    whole = all(isinstance(value, int) for value in given)
    return pa.array([value if whole or value is None else float(value) for value in values])


def own_columns(table: pa.Table) -> pa.Table:
    """The columns in which records of one run differ: those of ``OWN``, then hyperparameters."""
    names = [name for name in table.column_names if name.startswith(HYPERPARAMETER)]
    return table.select([*OWN.names, *names])
