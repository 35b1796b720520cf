"""Files that others may have written, or may be writing: opened once, never waited for, and read within bounds."""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import yaml

from metapbt.errors import MetapbtError, one_line
from metapbt.files import open_regular

_Read = TypeVar("_Read")
_DEPTH = 40  # of YAML; libyaml's composer overflows the stack on what is nested deeper than some thousands
_NODES = 100_000
_CHECKSUM = b', "crc32": "'


class Unreadable(MetapbtError):
    """A file, or directory, that cannot be read, or is not what it must be.

    Args:
        path: of the file.
        why: in words.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} {why}")
        self.path = path


class Absent(Unreadable):
    """A file that is not there."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "cannot be read: there is no such file")


class Removed(Unreadable):
    """A run that is not there, or was removed while it was read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "is no run directory: it has neither config.yaml nor journal")


def if_there(read: Callable[[], _Read]) -> _Read | None:
    """What is read; None where there is no such file."""
    try:
        return read()
    except Absent:
        return None


def read_file(path: Path, most_bytes: int) -> bytes | None:
    """Read one version of a file; None where there is none.

    Raises:
        MetapbtError: it is no regular file, may not be read, or is larger than ``most_bytes``.
    """
    with _opened(path) as file:
        if file is None:
            return None
        found = file.read(most_bytes + 1)
    if len(found) > most_bytes:
        raise Unreadable(path, f"cannot be read: it is larger than {most_bytes:,} bytes")
    return found


def read_first_line(path: Path, most_of_line: int, most_bytes: int) -> tuple[bytes, bool] | None:
    """The first line of a file, and whether it has ended; None where there is no file.

    Args:
        path: of the file.
        most_of_line: no more than that is read of it.
        most_bytes: larger files are refused.

    Raises:
        MetapbtError: as for `read_file`.
    """
    with _opened(path) as file:
        if file is None:
            return None
        line = file.readline(most_of_line)
        if os.fstat(file.fileno()).st_size > most_bytes:
            raise Unreadable(path, f"cannot be read: it is larger than {most_bytes:,} bytes")
    return line.removesuffix(b"\n"), line.endswith(b"\n")


def read_ends(path: Path, size: int) -> tuple[bytes, bytes, int] | None:
    """The first and the last bytes of one version of a file, and how many there are; None where there is none.

    Raises:
        MetapbtError: it is no regular file, or may not be read.
    """
    with _opened(path) as file:
        if file is None:
            return None
        first = file.read(size)
        length = file.seek(0, os.SEEK_END)
        file.seek(max(length - size, 0))
        return first, file.read(size), length


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes] | None]:
    try:
        file = open_regular(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # or a name that no file can have
        yield None
        return
    except OSError as error:
        raise Unreadable(path, f"cannot be read: {error.strerror or error}") from error
    try:
        with file:
            yield file
    except OSError as error:
        raise Unreadable(path, f"cannot be read: {error.strerror or error}") from error


def parse_yaml(data: bytes, path: Path) -> Any:
    """Parse YAML within bounds: no aliases, which metapbt never writes, and whose expansion has no end.

    Args:
        data: what was read.
        path: of the file, for messages.

    Raises:
        MetapbtError: it is no YAML, or absurd.
    """
    try:
        if not _is_plain(data):
            _check_events(data, path)
        return yaml.load(data, Loader=yaml.CSafeLoader)  # noqa: S506 - it is the safe one
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Unreadable(path, f"cannot be read: {one_line(error)}") from error


def _is_plain(data: bytes) -> bool:
    """Whether a glance shows that YAML is within bounds, as it does of what metapbt writes.

    Each level of blocks takes a column before a line's first word, and each one of flows a bracket.
    """
    levels = max(map(len, re.findall(rb"^[ ?:-]+", data, re.MULTILINE)), default=0)
    return len(data) < 2**16 and b"*" not in data and levels + data.count(b"[") + data.count(b"{") < _DEPTH


def _check_events(data: bytes, path: Path) -> None:
    depth = 0
    for number, event in enumerate(yaml.parse(data, Loader=yaml.CSafeLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > _DEPTH or number > _NODES:
            raise Unreadable(path, f"cannot be read: it has aliases, {_DEPTH} levels or {_NODES:,} values")


def sealed(fields: dict[str, Any]) -> str:
    """One line of JSON that ends with the CRC-32 of the rest, as ``crc32``."""
    text = json.dumps(fields)
    return f'{text[:-1]}, "crc32": "{zlib.crc32(text.encode()):08x}"}}\n'


def unsealed(data: bytes, path: Path) -> dict[str, Any] | None:
    """What `sealed` wrote; None where it is no such line but of an earlier version.

    Raises:
        MetapbtError: the line is damaged.
    """
    place = data.rfind(_CHECKSUM)
    if place < 0:
        return None
    text = data[:place] + b"}"
    try:
        whole = data[place:] == b'%s%08x"}\n' % (_CHECKSUM, zlib.crc32(text))
        fields = json.loads(text) if whole else None
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise Unreadable(path, "is damaged: its checksum is another one")
    return fields
