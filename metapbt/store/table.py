"""Records on disk: Parquet tables with the columns of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metapbt.errors import MetapbtError, one_line
from metapbt.files import atomic_file
from metapbt.history import Context, History, Record

SCHEMA_VERSION = 3

#: What every row has; the columns ``context.<feature>`` and ``hp.<name>`` come behind these.
SCHEMA = pa.schema(
    [
        ("schema_version", pa.int64()),
        ("run_id", pa.string()),
        ("env", pa.string()),
        ("method", pa.string()),
        ("name", pa.string()),
        ("learner", pa.string()),
        ("seed", pa.int64()),
        ("generation", pa.int64()),
        ("member", pa.int64()),
        ("parent", pa.int64()),
        ("parent_generation", pa.int64()),
        ("teacher_member", pa.int64()),
        ("teacher_generation", pa.int64()),
        ("restart", pa.bool_()),
        ("source", pa.string()),
        ("env_steps", pa.int64()),
        ("until_steps", pa.int64()),
        ("spent_steps", pa.int64()),
        ("train_return", pa.float64()),
        ("eval_return", pa.float64()),
        ("episodes", pa.int64()),
        ("wall_seconds", pa.float64()),
    ]
)
CONTEXT = "context."
HYPERPARAMETER = "hp."
_RECORD_COLUMNS = [f.name for f in fields(Record) if f.name != "hyperparameters"]


@dataclass(frozen=True)
class Identity:
    """What all rows of a run share.

    Attributes:
        run_id: the run directory's path below its results directory.
        env: the environment's name.
        context: of the environment.
        method: the method's name.
        name: what the run is called in its path and in reports: the method, unless it was given another name.
        learner: the learner's name.
        seed: of the run.
    """

    run_id: str
    env: str
    context: Context
    method: str
    name: str
    learner: str
    seed: int


def to_table(identity: Identity, history: History) -> pa.Table:
    """Make the table of a run: the columns of ``SCHEMA``, then one for each feature and each hyperparameter."""
    records = history.records
    shared = {
        "schema_version": SCHEMA_VERSION,
        **{name: getattr(identity, name) for name in ("run_id", "env", "method", "name", "learner", "seed")},
    }
    columns = {
        column: [shared[column]] * len(records)
        if column in shared
        else list(history.spent_steps)
        if column == "spent_steps"
        else [getattr(record, column) for record in records]
        for column in SCHEMA.names
    }
    table = pa.table(columns, schema=SCHEMA)
    for name, value in identity.context.items():
        table = table.append_column(f"{CONTEXT}{name}", pa.array([value] * len(records)))
    for name in dict.fromkeys(name for record in records for name in record.hyperparameters):
        values = [record.hyperparameters.get(name) for record in records]
        table = table.append_column(f"{HYPERPARAMETER}{name}", pa.array(values))
    return table


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table whole or not at all."""
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)


def read_table(path: Path) -> pa.Table:
    """Read a table of records; those of earlier versions get the columns of today.

    Raises:
        MetapbtError: the file is no Parquet, or not of this schema.
    """
    try:
        # Opened once: a writer may put another file in its place meanwhile.
        with pa.OSFile(str(path), "rb") as file:
            table = pq.read_table(file)
    except (OSError, pa.ArrowException) as error:
        raise MetapbtError(f"{path} cannot be read: {one_line(error)}") from error
    if "schema_version" not in table.column_names:
        raise MetapbtError(f"{path} is no table of records: it lacks the columns {', '.join(SCHEMA.names)}")
    newest = max(table["schema_version"].to_pylist(), default=SCHEMA_VERSION)
    if newest > SCHEMA_VERSION:
        raise MetapbtError(f"{path} has schema version {newest}; this metapbt reads up to {SCHEMA_VERSION}")
    if newest < SCHEMA_VERSION:
        table = _upgraded(table)
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise MetapbtError(f"{path} is no table of records: it lacks the columns {', '.join(missing)}")
    return table


def row_count(path: Path) -> int:
    """How many rows a table has, without reading them.

    Raises:
        MetapbtError: the file is no Parquet.
    """
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise MetapbtError(f"{path} cannot be read: {one_line(error)}") from error


def to_records(table: pa.Table) -> list[tuple[Identity, Record]]:
    """Read the rows of a table back, each with the identity of its run."""
    identities: dict[str, Identity] = {}
    found = []
    for row in table.to_pylist():
        if row["run_id"] not in identities:
            identities[row["run_id"]] = _identity(row)
        found.append((identities[row["run_id"]], _record(row)))
    return found


def _identity(row: Mapping[str, Any]) -> Identity:
    features = {name.removeprefix(CONTEXT): value for name, value in row.items() if name.startswith(CONTEXT)}
    known = {name: row[name] for name in ("run_id", "env", "method", "name", "learner", "seed")}
    return Identity(context=Context({name: value for name, value in features.items() if value is not None}), **known)


def _record(row: Mapping[str, Any]) -> Record:
    hyperparameters = {
        name.removeprefix(HYPERPARAMETER): value
        for name, value in row.items()
        if name.startswith(HYPERPARAMETER) and value is not None
    }
    return Record(hyperparameters=hyperparameters, **{name: row[name] for name in _RECORD_COLUMNS})


def _upgraded(table: pa.Table) -> pa.Table:
    """A table of version 2, which had the context in one column, with the columns of today."""
    count = len(table)
    contexts = [dict(items) for items in table["context"].to_pylist()] if "context" in table.column_names else []
    for name in dict.fromkeys(name for context in contexts for name in context):
        table = table.append_column(f"{CONTEXT}{name}", pa.array([context.get(name) for context in contexts]))
    kept = table.drop_columns(["context"]) if contexts or "context" in table.column_names else table
    usual: dict[str, Any] = {
        "name": table["method"] if "method" in table.column_names else None,
        "restart": pa.array([False] * count),
        **{name: pa.nulls(count, pa.int64()) for name in ("teacher_member", "teacher_generation", "until_steps")},
        "spent_steps": pa.nulls(count, pa.int64()),
    }
    for name, column in usual.items():
        if name not in kept.column_names and column is not None:
            kept = kept.append_column(name, column)
    return kept
