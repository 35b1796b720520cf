"""How a Parquet file's columns are compressed, from its footer.

Arrow says so, too, but ends the process over what is wrong there in some other place; what it reads columns with does
not. The footer is a struct of Thrift's compact protocol.
"""

from __future__ import annotations

_BOOLEANS, _BYTE, _INTEGERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 12
_DEPTH = 20
# Fields of parquet.thrift: of the footer, of a row group, of a column, and of what that says of itself.
_ROW_GROUPS, _COLUMNS, _METADATA, _CODEC = 4, 1, 3, 4


def codecs(data: bytes) -> set[int]:
    """The numbers of the codecs of all columns, as parquet.thrift counts them; those of ``UNCOMPRESSED`` are 0.

    Args:
        data: of the whole file.

    Raises:
        ValueError: the footer is damaged.
    """
    size = int.from_bytes(data[-8:-4], "little")
    if not 0 < size <= len(data) - 12:
        raise ValueError("its footer is damaged")
    found: set[int] = set()
    try:
        _struct(data[-8 - size : -8], 0, (_ROW_GROUPS, _COLUMNS, _METADATA, _CODEC), found, 0)
    except IndexError as error:
        raise ValueError("its footer is damaged") from error
    return found


def _struct(data: bytes, place: int, way: tuple[int, ...], found: set[int], depth: int) -> int:
    """Read a struct; add to ``found`` what is at the end of the way of fields. Returns where it ends."""
    if depth > _DEPTH:
        raise ValueError("its footer is damaged")
    field = 0
    while head := data[place]:
        place += 1
        kind, step = head & 15, head >> 4
        if step:
            field += step
        else:
            field, place = _integer(data, place)
        onward = way[1:] if way and field == way[0] else None
        if onward == () and kind in _INTEGERS:
            value, place = _integer(data, place)
            found.add(value)
        elif kind in _INTEGERS:  # as `_value` does, for most are
            while data[place] & 128:
                place += 1
            place += 1
        elif kind not in _BOOLEANS:  # whose value is their kind
            place = _value(data, place, kind, onward or (), found, depth)
    return place + 1


def _value(data: bytes, place: int, kind: int, way: tuple[int, ...], found: set[int], depth: int) -> int:
    """Read a value; returns where it ends."""
    if kind in _INTEGERS:
        while data[place] & 128:
            place += 1
        return place + 1
    if kind == _STRUCT:
        return _struct(data, place, way, found, depth + 1)
    if kind == _BINARY:
        size, place = _varint(data, place)
        return place + size
    if kind in _LISTS:
        head, place = data[place], place + 1
        count, inner = head >> 4, head & 15
        if count == 15:
            count, place = _varint(data, place)
        if count > len(data):
            raise ValueError("its footer is damaged")
        for _ in range(count):
            place = place + 1 if inner in _BOOLEANS else _value(data, place, inner, way, found, depth + 1)
        return place
    if kind in (_BYTE, *_BOOLEANS):
        return place + 1
    if kind == _DOUBLE:
        return place + 8
    raise ValueError("its footer is damaged")  # Parquet has no maps


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while (byte := data[place]) & 128:
        value |= (byte & 127) << shift
        shift, place = shift + 7, place + 1
        if shift > 63:
            raise ValueError("its footer is damaged")
    return value | byte << shift, place + 1


def _integer(data: bytes, place: int) -> tuple[int, int]:
    """An integer, of which the lowest bit is the sign."""
    value, place = _varint(data, place)
    return value >> 1 ^ -(value & 1), place
