"""The journal: the one truth of a run, appended to as things happen.

Each line is an entry: eight hexadecimal digits of the CRC-32 of what follows, a space, and JSON. The first entry says
what the file is and what was decided for the first generation; each further one holds the records of members that
reported, in their order, and what was decided for these (who is not named goes on). So everything that a tuner knows is
a replay of the file, and its cost grows with what happened.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metapbt.errors import MetapbtError, one_line
from metapbt.history import Record

VERSION = 1


@dataclass(frozen=True)
class Content:
    """What a journal says.

    Attributes:
        records: in the order in which members reported.
        assignments: the last decision for each member, as plain data; without those of members that go on as they are.
        whole_bytes: up to where its entries are whole.
        damage: what is wrong behind that, if something is.
        cut: whether that is no more than an unfinished last entry, as a stop leaves behind.
    """

    records: tuple[Record, ...] = ()
    assignments: Mapping[int, Mapping[str, Any] | None] = field(default_factory=dict)
    whole_bytes: int = 0
    damage: str | None = None
    cut: bool = False


class Journal:
    """The file of one run, for the only process that writes to it.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def exists(self) -> bool:
        """Whether the run has begun."""
        return self.path.exists()

    def begin(self, assignments: Mapping[int, Mapping[str, Any]]) -> None:
        """Write the first entry: what was decided for the first generation."""
        self._append({"journal": VERSION, "decisions": {str(m): a for m, a in assignments.items()}})

    def append(self, records: Sequence[Record], assignments: Mapping[int, Mapping[str, Any]]) -> None:
        """Write down what members reported and what was decided for those that do not go on as they are."""
        entry: dict[str, Any] = {"records": [_brief(record) for record in records]}
        if assignments:
            entry["decisions"] = {str(member): assignment for member, assignment in assignments.items()}
        self._append(entry)

    def recover(self) -> Content:
        """Read the journal and cut off what a stop left unfinished at its end.

        Raises:
            MetapbtError: it is damaged before its end: what stands behind that is not to be lost.
        """
        content = read_journal(self.path)
        if content.damage is not None and not content.cut:
            raise MetapbtError(f"{content.damage}; nothing was changed: put a copy back, or say resume=false")
        if content.damage is not None:
            with self.path.open("r+b") as file:
                file.truncate(content.whole_bytes)
                os.fsync(file.fileno())
        return content

    def _append(self, entry: Mapping[str, Any]) -> None:
        text = json.dumps(entry, separators=(",", ":")).encode()
        with self.path.open("ab") as file:
            write_through(file, b"%08x %s\n" % (zlib.crc32(text), text))


def write_through(file: Any, data: bytes) -> None:
    """Write to an open file, down to the disk."""
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def read_journal(path: Path) -> Content:
    """Read a journal, also one that is being written to, up to its last whole entry.

    Raises:
        MetapbtError: the file cannot be read, or a newer version wrote it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MetapbtError(f"{path} cannot be read: {error.strerror or error}") from error
    records: list[Record] = []
    assignments: dict[int, Mapping[str, Any] | None] = {}
    place, number = 0, 0
    while place < len(data):
        end = data.find(b"\n", place)
        entry = _entry(data[place:end]) if end >= 0 else None
        number += 1
        if entry is None:
            rest = "is cut" if end < 0 else "is damaged"
            damage = f"{path} {rest} at entry {number}: read up to there"
            return Content(tuple(records), assignments, place, damage, cut=end < 0)
        if number == 1 and entry.get("journal") != VERSION:
            raise MetapbtError(
                f"{path} is no journal that this metapbt reads (version {VERSION}): {entry.get('journal')!r}"
            )
        try:
            reported = [Record.from_dict(record) for record in entry.get("records", ())]
            decided = {int(member): assignment for member, assignment in entry.get("decisions", {}).items()}
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise MetapbtError(f"{path}: entry {number} is none of a journal: {one_line(error)}") from error
        records += reported
        assignments |= {record.member: None for record in reported} | decided
        place = end + 1
    return Content(tuple(records), assignments, place, None if number else f"{path} is empty", cut=not number)


def _entry(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    try:
        whole = len(checksum) == 8 and int(checksum, 16) == zlib.crc32(text)
        entry = json.loads(text) if whole else None
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def _brief(record: Record) -> dict[str, Any]:
    """A record as plain data, without what has its usual value."""
    usual = {"restart": False, "parent": None}
    return {
        name: value
        for name, value in record.to_dict().items()
        if name == "hyperparameters" or (value is not None and usual.get(name, ...) != value)
    }
