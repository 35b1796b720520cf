"""Records on disk: Parquet tables with the columns of the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from metapbt.errors import MetapbtError
from metapbt.files import atomic_file
from metapbt.history import Record

SCHEMA_VERSION = 2

SCHEMA = pa.schema(
    [
        ("schema_version", pa.int64()),
        ("run_id", pa.string()),
        ("env", pa.string()),
        ("context", pa.map_(pa.string(), pa.float64())),
        ("method", pa.string()),
        ("learner", pa.string()),
        ("seed", pa.int64()),
        ("generation", pa.int64()),
        ("member", pa.int64()),
        ("parent", pa.int64()),
        ("source", pa.string()),
        ("env_steps", pa.int64()),
        ("train_return", pa.float64()),
        ("eval_return", pa.float64()),
        ("episodes", pa.int64()),
        ("wall_seconds", pa.float64()),
        ("parent_generation", pa.int64()),
    ]
)
HYPERPARAMETER = "hp."


@dataclass(frozen=True)
class Identity:
    """What all rows of a run share.

    Attributes:
        run_id: the run directory's path below its results directory.
        env: the environment's name.
        context: every feature, changed or not.
        method: the method's name.
        learner: the learner's name.
        seed: of the run.
    """

    run_id: str
    env: str
    context: dict[str, float]
    method: str
    learner: str
    seed: int


def to_table(identity: Identity, records: Sequence[Record]) -> pa.Table:
    """Make the table of a run: the columns of ``SCHEMA``, then ``hp.<name>`` for each hyperparameter."""
    shared = {
        "schema_version": SCHEMA_VERSION,
        "run_id": identity.run_id,
        "env": identity.env,
        "context": list(identity.context.items()),
        "method": identity.method,
        "learner": identity.learner,
        "seed": identity.seed,
    }
    columns = {name: [shared[name] if name in shared else getattr(r, name) for r in records] for name in SCHEMA.names}
    table = pa.table(columns, schema=SCHEMA)
    names = dict.fromkeys(name for r in records for name in r.hyperparameters)
    for name in names:
        values = [r.hyperparameters.get(name) for r in records]
        table = table.append_column(f"{HYPERPARAMETER}{name}", pa.array(values))
    return table


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table whole or not at all."""
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary)


def read_table(path: Path) -> pa.Table:
    """Read a table of records.

    Raises:
        MetapbtError: the file is no Parquet, or not of this schema.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise MetapbtError(f"{path} cannot be read: {error}") from error
    missing = [name for name in SCHEMA.names if name not in table.column_names]
    if missing:
        raise MetapbtError(f"{path} is no table of records: it lacks the columns {', '.join(missing)}")
    newest = max(table["schema_version"].to_pylist(), default=SCHEMA_VERSION)
    if newest > SCHEMA_VERSION:
        raise MetapbtError(f"{path} has schema version {newest}; this metapbt reads up to {SCHEMA_VERSION}")
    return table


def to_records(table: pa.Table) -> list[tuple[Identity, Record]]:
    """Read the rows of a table back, each with the identity of its run."""
    return [(_identity(row), _record(row)) for row in table.to_pylist()]


def _identity(row: Mapping[str, Any]) -> Identity:
    fields = {name: row[name] for name in ("run_id", "env", "method", "learner", "seed")}
    return Identity(context=dict(row["context"]), **fields)


def _record(row: Mapping[str, Any]) -> Record:
    hyperparameters = {
        name.removeprefix(HYPERPARAMETER): value
        for name, value in row.items()
        if name.startswith(HYPERPARAMETER) and value is not None
    }
    return Record.from_dict({**row, "hyperparameters": hyperparameters})
