"""Records on disk: Parquet tables with the columns of the contract."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metapbt.errors import one_line
from metapbt.history import Context, History, Record
from metapbt.history.context import NEWER
from metapbt.history.record import MOST
from metapbt.store.parquet import read_parquet, write_parquet
from metapbt.store.reading import Absent, Unreadable

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
        ("era", pa.int64()),
        ("generation", pa.int64()),
        ("member", pa.int64()),
        ("parent", pa.int64()),
        ("parent_generation", pa.int64()),
        ("teacher_member", pa.int64()),
        ("teacher_generation", pa.int64()),
        ("restart", pa.bool_()),
        ("failed", pa.bool_()),
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
#: What a column's field says whose values are of several types, or lists: they are kept as JSON.
AS_JSON = {b"metapbt.encoding": b"json"}
#: What a row may lack.
NULLABLE = {"parent", "parent_generation", "teacher_member", "teacher_generation", "until_steps", "spent_steps"}
_COUNTS = {f.name for f in SCHEMA if f.type == pa.int64()} - {"schema_version", "seed"}
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
        column: pa.repeat(pa.scalar(shared[column], SCHEMA.field(column).type), len(records))
        if column in shared
        else list(history.spent_steps)
        if column == "spent_steps"
        else [history.era(record) for record in records]
        if column == "era"
        else [getattr(record, column) for record in records]
        for column in SCHEMA.names
    }
    table = pa.table(columns, schema=SCHEMA)
    for name, value in identity.context.items():
        table = table.append_column(f"{CONTEXT}{name}", pa.repeat(pa.scalar(value), len(records)))
    for name in dict.fromkeys(itertools.chain.from_iterable(record.hyperparameters for record in records)):
        field, array = _encoded(f"{HYPERPARAMETER}{name}", [record.hyperparameters for record in records], name)
        table = table.append_column(field, array)
    return table


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table whole or not at all."""
    write_parquet(path, table)


def read_table(path: Path) -> pa.Table:
    """Read a table of records; those of earlier versions get the columns of today.

    Raises:
        Absent: there is no such file.
        MetapbtError: it is no Parquet, or not of this schema.
    """
    table = read_parquet(path)
    if table is None:
        raise Absent(path)
    if "schema_version" not in table.column_names:
        raise Unreadable(path, f"is no table of records: it lacks the columns {', '.join(SCHEMA.names)}")
    newest = pc.max(table["schema_version"]).as_py() if pa.types.is_integer(table["schema_version"].type) else None
    if newest is None:
        newest = SCHEMA_VERSION
    if newest > SCHEMA_VERSION:
        raise Unreadable(path, f"has schema version {newest}; this metapbt reads up to {SCHEMA_VERSION}")
    if newest < SCHEMA_VERSION or not {"era", "failed"} <= set(table.column_names):
        table = _upgraded(table)
    there = set(table.column_names)
    missing = [name for name in SCHEMA.names if name not in there]
    if missing:
        raise Unreadable(path, f"is no table of records: it lacks the columns {', '.join(missing)}")
    wrong = _wrong(table)
    if wrong:
        raise Unreadable(path, f"is no table of records: {wrong}")
    return _with_newer_features(table)


def to_records(table: pa.Table) -> list[tuple[Identity, Record]]:
    """Read the rows of a table back, each with the identity of its run."""
    identities: dict[str, Identity] = {}
    found = []
    encoded = json_columns(table)
    for row in table.to_pylist():
        if row["run_id"] not in identities:
            identities[row["run_id"]] = _identity(row)
        found.append((identities[row["run_id"]], _record(row, encoded)))
    return found


def json_columns(table: pa.Table) -> set[str]:
    """The columns whose values are kept as JSON."""
    return {field.name for field in table.schema if is_json(field)}


def is_json(field: pa.Field) -> bool:
    """Whether a column's values are kept as JSON."""
    return field.metadata is not None and field.metadata.items() >= AS_JSON.items()


def context_of(row: Mapping[str, Any]) -> Context:
    """The context of a row; it lacks what is null there."""
    features = {name.removeprefix(CONTEXT): value for name, value in row.items() if name.startswith(CONTEXT)}
    return Context({name: value for name, value in features.items() if value is not None})


def contexts_in(table: pa.Table) -> list[Context]:
    """The contexts that a table has records of, each once."""
    names = [name for name in table.column_names if name.startswith(CONTEXT)]
    rows = table.group_by(names).aggregate([]).to_pylist() if names else [{}] * min(len(table), 1)
    return [context_of(row) for row in rows]


def differing_column(table: pa.Table, other: pa.Table, ignored: Collection[str] = ()) -> str | None:
    """The first column that is not the same in both, in any of its rows; NaN is the same as NaN.

    Args:
        table: the columns may be in another order.
        other: what it should be.
        ignored: columns that are not looked at.
    """
    unlike = set(table.column_names) ^ set(other.column_names) or json_columns(table) ^ json_columns(other)
    if unlike:
        return str(sorted(unlike)[0])
    for name in other.column_names:
        one, two = table[name], other[name]
        if name in ignored or one.equals(two):
            continue
        if one.type != two.type or not pa.types.is_floating(one.type) or one.null_count != two.null_count:
            return str(name)
        if not np.array_equal(one.to_numpy(), two.to_numpy(), equal_nan=True):
            return str(name)
    return None


def _encoded(column: str, rows: Sequence[Mapping[str, Any]], name: str) -> tuple[pa.Field, pa.Array]:
    """A hyperparameter's column: of its values' type if they have one, else of JSON."""
    values = [row[name] for row in rows if name in row]
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and kinds <= {bool, int, float, str}:
        try:
            array = pa.array([row.get(name) for row in rows])
            return pa.field(column, array.type), array
        except (OverflowError, UnicodeEncodeError, pa.ArrowException):  # such as 2**64, or half a surrogate pair
            pass
    texts = [json.dumps(row[name]) if name in row else None for row in rows]
    return pa.field(column, pa.string(), metadata=AS_JSON), pa.array(texts, pa.string())


def _wrong(table: pa.Table) -> str | None:
    """What the columns are that those of records are not."""
    for expected in SCHEMA:
        column = table[expected.name]
        if column.type != expected.type and not (pa.types.is_null(column.type) and expected.name in NULLABLE):
            return f"{expected.name} is {column.type}, not {expected.type}"
        if column.null_count and expected.name not in NULLABLE:
            return f"{expected.name} lacks values"
        if expected.name in _COUNTS and column.null_count < len(column):
            found = pc.min_max(column).as_py()
            if found["min"] < 0 or found["max"] >= MOST:
                return f"{expected.name} goes from {found['min']} to {found['max']}"
    as_json = json_columns(table)
    for field in table.schema:
        if not field.name.startswith((CONTEXT, HYPERPARAMETER)):
            continue
        kind = field.type
        if not any(is_kind(kind) for is_kind in _SCALARS) or (field.name in as_json and not pa.types.is_string(kind)):
            return f"{field.name} is {kind}"
        if field.name in as_json:
            try:
                for text in set(table[field.name].to_pylist()) - {None}:
                    json.loads(text)
            except (ValueError, RecursionError) as error:
                return f"{field.name} is no JSON: {one_line(error)}"
    return None


_SCALARS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string, pa.types.is_null)


def _identity(row: Mapping[str, Any]) -> Identity:
    known = {name: row[name] for name in ("run_id", "env", "method", "name", "learner", "seed")}
    return Identity(context=context_of(row), **known)


def _record(row: Mapping[str, Any], encoded: Collection[str]) -> Record:
    hyperparameters = {
        name.removeprefix(HYPERPARAMETER): json.loads(value) if name in encoded else value
        for name, value in row.items()
        if name.startswith(HYPERPARAMETER) and value is not None
    }
    return Record(hyperparameters=hyperparameters, **{name: row[name] for name in _RECORD_COLUMNS})


def _with_newer_features(table: pa.Table) -> pa.Table:
    """A table with the features that its environment had not when it was written (`metapbt.history.context.NEWER`)."""
    for env in NEWER.keys() & set(pc.unique(table["env"]).to_pylist()):
        for name, value in NEWER[env].items():
            column = f"{CONTEXT}{name}"
            if column not in table.column_names:
                table = table.append_column(column, pa.nulls(len(table), pa.scalar(value).type))
            lacking = pc.and_(pc.equal(table["env"], env), pc.is_null(table[column]))
            filled = pc.if_else(lacking, value, table[column])
            table = table.set_column(table.column_names.index(column), column, filled)
    return table


def _upgraded(table: pa.Table) -> pa.Table:
    """A table of version 2, which had the context in one column, or without eras, with the columns of today."""
    count = len(table)
    contexts = [dict(items) for items in table["context"].to_pylist()] if "context" in table.column_names else []
    for name in dict.fromkeys(name for context in contexts for name in context):
        table = table.append_column(f"{CONTEXT}{name}", pa.array([context.get(name) for context in contexts]))
    kept = table.drop_columns(["context"]) if contexts or "context" in table.column_names else table
    usual: dict[str, Any] = {
        "name": table["method"] if "method" in table.column_names else None,
        **{name: pa.repeat(pa.scalar(False), count) for name in ("restart", "failed")},
        **{name: pa.nulls(count, pa.int64()) for name in ("teacher_member", "teacher_generation", "until_steps")},
        "spent_steps": pa.nulls(count, pa.int64()),
        "era": pa.array([0] * count, pa.int64()),
    }
    for name, column in usual.items():
        if name not in kept.column_names and column is not None:
            kept = kept.append_column(name, column)
    return kept
