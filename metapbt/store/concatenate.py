"""Tables of records whose columns differ, put one behind the other."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from metapbt.store.table import AS_JSON, is_json


def concatenated(tables: Sequence[pa.Table]) -> pa.Table:
    """Put tables of records one behind the other, with the columns of all of them; what one of them lacks is null.

    A column that is of whole numbers in some tables and of other numbers in others is of these; one that is of several
    types otherwise is kept as JSON.
    """
    schema = _common([table.schema for table in tables])
    return pa.concat_tables([_fitted(table, schema) for table in tables])


def _common(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all, in the order in which they come first, each of a type that holds the values of all."""
    found: dict[str, list[pa.Field]] = {}
    # Schemas of other metadata are equal to pyarrow, but not as bytes.
    for schema in {schema.serialize().to_pybytes(): schema for schema in schemas}.values():
        for field in schema:
            found.setdefault(field.name, []).append(field)
    return pa.schema([_wide(fields) for fields in found.values()])


def _wide(fields: Sequence[pa.Field]) -> pa.Field:
    some = [field for field in fields if not pa.types.is_null(field.type)] or fields
    kinds = {"json" if is_json(field) else _kind(field.type) for field in some}
    if len(kinds) > 1 or kinds == {"json"}:
        return pa.field(fields[0].name, pa.string(), metadata=AS_JSON)
    if kinds == {"number"}:
        whole = all(pa.types.is_integer(field.type) for field in some)
        return pa.field(fields[0].name, pa.int64() if whole else pa.float64())
    return pa.field(fields[0].name, some[0].type)


def _kind(type_: pa.DataType) -> str:
    numbers = pa.types.is_integer(type_) or pa.types.is_floating(type_)
    return "number" if numbers else "truth" if pa.types.is_boolean(type_) else "text"


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema, in its order."""
    if table.schema.equals(schema, check_metadata=True):
        return table
    return pa.table([_as(table, field) for field in schema], schema=schema)


def _as(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    if field.name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), field.type)])
    values = table[field.name]
    if is_json(field) and not is_json(table.schema.field(field.name)):
        texts = [None if value is None else json.dumps(value) for value in values.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])
    return values.cast(field.type, safe=not pa.types.is_floating(field.type))
