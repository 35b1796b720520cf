"""Parquet files with a checksum of all their bytes, read within bounds.

Parquet's own checksums are of its pages, and leave the footer and the pages' headers uncovered. So the footer holds the
CRC-32 of the whole file, counted with zeros in the place of its own eight digits.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from metapbt.errors import one_line
from metapbt.files import atomic_file
from metapbt.store.footer import codecs
from metapbt.store.reading import Unreadable, read_ends, read_file

MOST_BYTES = 256 * 2**20
MOST_ROWS = 5_000_000
MOST_CELLS = 80 * 2**20  # of eight bytes each
MOST_COLUMNS = 2_000
_DECODED_BYTES = 2**30
_CODECS = {0, 1}  # none, and Snappy, which metapbt writes; others could make much of little
_MOST_COMPRESSED = 32  # Snappy makes at least one byte of as many
_CHECKSUM = b"metapbt.crc32"
_ZEROS = b"00000000"
_ERRORS = (OSError, pa.ArrowException, ValueError, TypeError, KeyError, OverflowError, RecursionError)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a table whole or not at all."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, write_statistics=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_CHECKSUM: _ZEROS})
    data = bytearray(sink.getvalue())
    place = _place(data)
    data[place : place + 8] = b"%08x" % zlib.crc32(data)
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def read_parquet(path: Path) -> pa.Table | None:
    """Read one version of a table whole; None where there is no such file.

    Raises:
        MetapbtError: it is damaged, no Parquet, or would take more memory or time than any run's records.
    """
    file = _opened(path)
    if file is None:
        return None
    try:
        table = file.read(use_threads=file.metadata.num_rows > 100_000)
        texts = [name for name in table.column_names if pa.types.is_dictionary(table.schema.field(name).type)]
        if sum(len(table) * _longest(table[name]) for name in texts) > _DECODED_BYTES:
            raise ValueError("its texts are too long for records")
        for name in texts:
            place = table.schema.get_field_index(name)
            field = table.schema.field(place).with_type(pa.string())
            table = table.set_column(place, field, table[name].cast(pa.string()))
        table.validate(full=True)
        return table
    except _ERRORS as error:
        raise Unreadable(path, f"cannot be read: {one_line(error)}") from error


def row_count(path: Path) -> int | None:
    """How many rows a table has, without decoding them; None where there is no such file.

    Raises:
        MetapbtError: as for `read_parquet`.
    """
    file = _opened(path)
    return None if file is None else int(file.metadata.num_rows)


def read_metadata(path: Path) -> dict[bytes, bytes] | None:
    """What a table's schema says beside its columns; None where there is no such file.

    Raises:
        MetapbtError: as for `read_parquet`.
    """
    file = _opened(path)
    return None if file is None else dict(file.schema_arrow.metadata or {})


def check_ends(path: Path) -> bool:
    """Whether there is such a file; at a glance, by its beginning and end, which show most that can be wrong with it.

    Raises:
        MetapbtError: it is no whole Parquet file, or may not be read.
    """
    ends = read_ends(path, 8)
    if ends is None:
        return False
    first, last, length = ends
    if first[:4] != b"PAR1" or last[4:] != b"PAR1" or int.from_bytes(last[:4], "little") > length - 12:
        raise Unreadable(path, "cannot be read: it is no Parquet, or cut")
    return True


def _opened(path: Path) -> pq.ParquetFile | None:
    data = read_file(path, MOST_BYTES)
    if data is None:
        return None
    if _CHECKSUM in data:  # earlier versions wrote none
        place = _place(data)
        view = memoryview(data)
        checksum = zlib.crc32(view[place + 8 :], zlib.crc32(_ZEROS, zlib.crc32(view[:place])))
        if data[place : place + 8] != b"%08x" % checksum:
            raise Unreadable(path, "is damaged: its checksum is another one")
    limits = {"thrift_string_size_limit": 2**24, "thrift_container_size_limit": 2**20}
    try:
        file = pq.ParquetFile(pa.BufferReader(data), **limits)
        _check_bounds(file, data)
        texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        if file.metadata.num_rows * len(texts) * _MOST_COMPRESSED * len(data) < _DECODED_BYTES:
            return file
        # A short file may say a long text a million times: as dictionaries they are decoded once.
        return pq.ParquetFile(pa.BufferReader(data), metadata=file.metadata, read_dictionary=texts, **limits)
    except _ERRORS as error:
        raise Unreadable(path, f"cannot be read: {one_line(error)}") from error


def _check_bounds(file: pq.ParquetFile, data: bytes) -> None:
    found, names = file.metadata, file.schema_arrow.names
    if len(set(names)) < len(names):
        raise ValueError("two of its columns have one name")
    if found.num_columns > MOST_COLUMNS or found.num_rows > MOST_ROWS or found.num_rows < 0:
        raise ValueError(f"{found.num_rows:,} rows of {found.num_columns:,} columns are no run's records")
    if found.num_rows * found.num_columns > MOST_CELLS or found.num_row_groups > max(1, found.num_rows):
        raise ValueError(f"{found.num_rows:,} rows of {found.num_columns:,} columns are too many for records")
    # Never by the columns' metadata: where that is damaged, Arrow ends the process over it.
    groups = [found.row_group(number) for number in range(found.num_row_groups)]
    rows, total = sum(group.num_rows for group in groups), sum(group.total_byte_size for group in groups)
    if total > _DECODED_BYTES or rows != found.num_rows:
        raise ValueError(f"its footer claims {total:,} bytes in {rows:,} rows")
    if not codecs(data) <= _CODECS:
        raise ValueError("its compression is not SNAPPY")


def _longest(column: pa.ChunkedArray) -> int:
    lengths = (pc.max(pc.binary_length(chunk.dictionary)).as_py() for chunk in column.chunks)
    return max((length for length in lengths if length is not None), default=0)


def _place(data: bytes | bytearray) -> int:
    # Behind the key come two bytes: the next field's type, and its length.
    return data.rfind(_CHECKSUM) + len(_CHECKSUM) + 2
