"""What a run remembered, on disk: the records that it learned from, and whose contexts are behind them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from metapbt.errors import MetapbtError
from metapbt.history import Context
from metapbt.store.table import read_table, to_records, write_table

ANCESTRY = b"metapbt.ancestry"  # key of the Parquet schema's metadata


def write_memory(path: Path, table: pa.Table, ancestry: Iterable[Context]) -> None:
    """Write a run's memory whole or not at all.

    Args:
        path: ``memory.parquet`` of the run.
        table: records of the source runs; its ``run_id`` says where each run is.
        ancestry: contexts of the source runs, of their own sources, and so on.
    """
    contexts = sorted((dict(sorted(context.items())) for context in ancestry), key=repr)
    metadata = {**(table.schema.metadata or {}), ANCESTRY: json.dumps(contexts).encode()}
    write_table(path, table.replace_schema_metadata(metadata))


def read_memory(path: Path) -> tuple[pa.Table, frozenset[Context]]:
    """Read a run's memory: the records of its sources, and its ancestry as :func:`read_ancestry` gives it.

    Raises:
        MetapbtError: the file is no Parquet, not of this schema, or its ancestry is damaged.
    """
    return read_table(path), read_ancestry(path)


def read_ancestry(path: Path) -> frozenset[Context]:
    """The contexts that a run's memory is made of, over any number of hops; none where there is no such file.

    A memory written before ancestries were kept counts its sources' contexts, and the ancestry of each source run that
    is still where it was.

    Raises:
        MetapbtError: a file cannot be read, or its ancestry is damaged.
    """
    return _ancestry(path, set())


def _ancestry(path: Path, seen: set[Path]) -> frozenset[Context]:
    if path.resolve() in seen or not path.exists():
        return frozenset()
    seen.add(path.resolve())
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise MetapbtError(f"{path} cannot be read: {error}") from error
    if ANCESTRY in metadata:
        return _parsed(metadata[ANCESTRY], path)
    table = read_table(path)
    found = {identity.context for identity, _ in to_records(table)}
    for run in dict.fromkeys(table["run_id"].to_pylist()):
        found |= _ancestry(Path(run) / path.name, seen)
    return frozenset(found)


def _parsed(text: bytes, path: Path) -> frozenset[Context]:
    damaged = MetapbtError(f"{path}: the ancestry in its metadata is damaged; it must be a JSON list of contexts")
    try:
        contexts = json.loads(text)
    except ValueError as error:
        raise damaged from error
    if not isinstance(contexts, list):
        raise damaged
    for context in contexts:
        if not isinstance(context, dict) or not all(isinstance(v, str | int | float) for v in context.values()):
            raise damaged
    return frozenset(Context(context) for context in contexts)
