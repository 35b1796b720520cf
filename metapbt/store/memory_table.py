"""What a run remembered, on disk: the records that it learned from, and whose contexts are behind them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from metapbt.errors import MetapbtError
from metapbt.history import Context, with_newer
from metapbt.store.parquet import read_metadata
from metapbt.store.reading import Absent
from metapbt.store.table import contexts_in, read_table, write_table

ANCESTRY = b"metapbt.ancestry"  # key of the Parquet schema's metadata


def write_memory(path: Path, table: pa.Table, ancestry: Iterable[Context]) -> None:
    """Write a run's memory whole or not at all.

    Args:
        path: ``memory.parquet`` of the run.
        table: records of the source runs; its ``run_id`` says where each run is.
        ancestry: contexts of the source runs, of their own sources, and so on.
    """
    write_table(path, with_ancestry(table, ancestry))


def with_ancestry(table: pa.Table, ancestry: Iterable[Context]) -> pa.Table:
    """The records of source runs, with what is behind them in the schema's metadata."""
    metadata = {**(table.schema.metadata or {}), ANCESTRY: json.dumps(ancestry_to_plain(ancestry)).encode()}
    return table.replace_schema_metadata(metadata)


def ancestry_in(table: pa.Table) -> frozenset[Context]:
    """What `with_ancestry` wrote into a table; where it has not, the contexts of the table's own records."""
    env = str(table["env"][0]) if len(table) else ""
    return _behind(Path("memory"), table, env)[0]


def read_memory(path: Path) -> tuple[pa.Table, frozenset[Context]]:
    """Read a run's memory: the records of its sources, and its ancestry as `read_ancestry` gives it.

    Raises:
        MetapbtError: the file is no Parquet, not of this schema, or its ancestry is damaged.
    """
    table = read_table(path)  # opened once: both are of one version
    env = str(table["env"][0]) if len(table) else ""
    contexts, sources = _behind(path, table, env)
    return table, contexts | _ancestry(sources, {_place(path)}, env)


def read_ancestry(path: Path, env: str) -> frozenset[Context]:
    """The contexts that a run's memory is made of, over any number of hops; none where there is no such file.

    A memory written before ancestries were kept counts its sources' contexts, and the ancestry of each source run that
    is still where it was.

    Args:
        path: ``memory.parquet`` of the run.
        env: the environment of all of them.

    Raises:
        MetapbtError: a file cannot be read, or its ancestry is damaged.
    """
    return _ancestry([path], set(), env)


def ancestry_to_plain(ancestry: Iterable[Context]) -> list[dict[str, Any]]:
    """Contexts as plain data, in an order of their own."""
    return sorted((dict(sorted(context.items())) for context in ancestry), key=repr)


def ancestry_of_plain(contexts: Any, path: Path, env: str) -> frozenset[Context]:
    """The contexts of the environment ``env`` that `ancestry_to_plain` wrote down.

    Raises:
        MetapbtError: they are damaged; ``path`` is the file that holds them.
    """
    if not isinstance(contexts, list) or not all(
        isinstance(context, dict) and all(map(_is_feature, context.values())) for context in contexts
    ):
        raise MetapbtError(f"{path}: the ancestry in its metadata is damaged; it must be a JSON list of contexts")
    return frozenset(Context(with_newer(env, context)) for context in contexts)


def _is_feature(value: object) -> bool:
    try:
        return isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value))
    except OverflowError:  # an integer that is no float
        return False


def _ancestry(waiting: list[Path], seen: set[str], env: str) -> frozenset[Context]:
    """What is behind memories, over any number of hops; one that is not there has nothing behind it."""
    found: frozenset[Context] = frozenset()
    while waiting:
        path = waiting.pop()
        if _place(path) in seen:
            continue
        seen.add(_place(path))
        metadata = read_metadata(path) or {}
        with suppress(Absent):
            contexts, sources = (
                (_parsed(metadata[ANCESTRY], path, env), [])
                if ANCESTRY in metadata
                else _behind(path, read_table(path), env)
            )
            found |= contexts
            waiting += sources
    return found


def _behind(path: Path, table: pa.Table, env: str) -> tuple[frozenset[Context], list[Path]]:
    """The contexts behind a memory, and the memories whose own are yet to be added."""
    metadata = table.schema.metadata or {}
    if ANCESTRY in metadata:
        return _parsed(metadata[ANCESTRY], path, env), []
    return frozenset(contexts_in(table)), [Path(run) / path.name for run in pc.unique(table["run_id"]).to_pylist()]


def _parsed(text: bytes, path: Path, env: str) -> frozenset[Context]:
    try:
        contexts = json.loads(text)
    except (ValueError, RecursionError):
        contexts = None
    return ancestry_of_plain(contexts, path, env)


def _place(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - what another user's file names is not looked up
