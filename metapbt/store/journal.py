"""The journal: the one truth of a run, appended to as things happen.

Each line is an entry: eight hexadecimal digits of the CRC-32 of what follows, a space, and JSON. The first entry says
what the file is, what the run is, and what was decided for the first generation; each further one holds the records of
members that reported, in their order, and what was decided for these (who is not named goes on). So everything that a
tuner knows is a replay of the file, and its cost grows with what happened. An interval under way that was given up has
an entry at once, for it is not to be trained again where others are still awaited; its record comes with theirs.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any

from metapbt.errors import MetapbtError, one_line
from metapbt.files import flush_folder
from metapbt.history import Record, Ref
from metapbt.store.reading import Absent, Unreadable, read_file, read_first_line

VERSION = 1
MOST_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Content:
    """What a journal says.

    Attributes:
        records: in the order in which members reported.
        decisions: what had been decided for the interval of each record, as plain data; None where a member went on as
            it was.
        assignments: the last decision for each member, in the same way.
        failures: of the intervals that have no record yet those that were given up, each with its error.
        head: what its first entry says of the run; see `Journal.head`.
        whole_bytes: up to where its entries are whole.
        damage: what is wrong behind that, if something is.
        cut: whether that is no more than an unfinished last entry, as a stop leaves behind.
    """

    records: tuple[Record, ...] = ()
    decisions: tuple[Mapping[str, Any] | None, ...] = ()
    assignments: Mapping[int, Mapping[str, Any] | None] = field(default_factory=dict)
    failures: Mapping[Ref, str] = field(default_factory=dict)
    head: Mapping[str, Any] = field(default_factory=dict)
    whole_bytes: int = 0
    damage: str | None = None
    cut: bool = False


class Journal:
    """The file of one run, for the only process that writes to it.

    Args:
        path: of the file.
        describe: what its first entry is to say of the run.
    """

    def __init__(self, path: Path, describe: Callable[[], Mapping[str, Any]] = dict) -> None:
        self.path = path
        self._describe = describe

    @property
    def exists(self) -> bool:
        """Whether the run has begun."""
        return os.path.exists(self.path)  # noqa: PTH110 - which raises nothing where nobody may look

    def begin(self, assignments: Mapping[int, Mapping[str, Any]]) -> None:
        """Write the first entry: what the run is, and what was decided for the first generation.

        Raises:
            MetapbtError: it is so large that it could not be read again.
            OSError: it cannot be written.
        """
        decisions = {str(member): assignment for member, assignment in assignments.items()}
        self._append({"journal": VERSION, **self._describe(), "decisions": decisions}, begin=True)
        flush_folder(self.path.parent)

    def head(self) -> dict[str, Any] | None:
        """The first entry; None while it is not written whole.

        It says what the run is (``run``) and the CRC-32 of its ``config.yaml`` (``config``), but in journals of earlier
        versions and of replays. ``crc32`` is its own.

        Raises:
            MetapbtError: it is damaged, or cannot be read.
        """
        line = read_first_line(self.path, _MOST_OF_AN_ENTRY, MOST_BYTES)
        if line is None or not line[1]:
            return None
        entry = _entry(line[0])
        if entry is None:
            raise Unreadable(self.path, "is damaged at entry 1")
        return _head(entry, line[0], self.path)

    def append(self, records: Sequence[Record], assignments: Mapping[int, Mapping[str, Any]]) -> None:
        """Write down what members reported and what was decided for those that do not go on as they are.

        Raises:
            MetapbtError: the file would be so large that it could not be read again; it stays as it was.
            OSError: it cannot be written, or the file is gone; what stands in it stays as it was.
        """
        entry: dict[str, Any] = {"records": [_brief(record) for record in records]}
        if assignments:
            entry["decisions"] = {str(member): assignment for member, assignment in assignments.items()}
        self._append(entry)

    def note_failures(self, failures: Mapping[Ref, str]) -> None:
        """Write down which intervals under way were given up, all of them; none where they are to be tried again.

        Raises:
            MetapbtError: as `append`.
            OSError: as `append`.
        """
        self._append({"failures": [[*ref, error] for ref, error in failures.items()]})

    def recover(self) -> Content:
        """Read the journal and cut off what a stop left unfinished at its end.

        Raises:
            MetapbtError: it is damaged before its end: what stands behind that is not to be lost.
        """
        content = read_journal(self.path)
        if content.damage is not None and not content.cut:
            raise MetapbtError(f"{content.damage}; nothing was changed: put a copy back, or set resume=false")
        if content.damage is not None:
            with self.path.open("r+b") as file:
                file.truncate(content.whole_bytes)
                os.fsync(file.fileno())
        return content

    def _append(self, entry: Mapping[str, Any], begin: bool = False) -> None:
        text = json.dumps(entry, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        most = _MOST_OF_AN_ENTRY if begin else MOST_BYTES
        try:
            if len(line) + (0 if begin else self.path.stat().st_size) > most:
                raise MetapbtError(
                    f"{self.path} is full: with what is to be written now it would be larger than {most:,} bytes, and "
                    "could not be read again; what it holds is whole"
                )
            # Unbuffered, for a buffer would be written once more where the file is closed after an error. And a journal
            # that is gone is not made again with what happened last.
            with self.path.open("ab" if begin else "r+b", buffering=0) as file:
                before = file.seek(0, os.SEEK_END)
                try:
                    write_through(file, line)
                except (OSError, KeyboardInterrupt):
                    with suppress(OSError):  # what stays is cut off when the run goes on
                        file.truncate(before)
                        os.fsync(file.fileno())
                    raise
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error


def write_through(file: FileIO, data: bytes) -> None:
    """Write to an unbuffered file, down to the disk."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
    os.fsync(file.fileno())


def read_journal(path: Path) -> Content:
    """Read a journal, also one that is being written to, up to its last whole entry.

    Raises:
        MetapbtError: the file cannot be read, or a newer version wrote it.
    """
    data = read_file(path, MOST_BYTES)
    if data is None:
        raise Absent(path)
    records: list[Record] = []
    assignments: dict[int, Mapping[str, Any] | None] = {}
    decisions: list[Mapping[str, Any] | None] = []
    head: dict[str, Any] = {}
    place, number = 0, 0
    damage, cut = None, False
    failures: dict[Ref, str] = {}
    while place < len(data):
        end = data.find(b"\n", place)
        line = data[place:end] if end >= 0 else data[place:]
        entry = _entry(line) if end >= 0 else None
        number += 1
        if entry is None:
            # What a stop leaves behind is a beginning; a whole entry that ends otherwise has been changed.
            cut = end < 0 and _entry(line[:-1]) is None
            damage = f"{path} {'is cut' if cut else 'is damaged'} at entry {number}: read up to there"
            break
        if number == 1:
            head = _head(entry, line, path)
        try:
            reported = [_record(record) for record in entry.get("records", ())]
            decided = {int(member): _decision(found) for member, found in entry.get("decisions", {}).items()}
            if "failures" in entry:
                failures = {Ref(_whole(g), _whole(m)): str(error) for g, m, error in entry["failures"]}
        except (MetapbtError, TypeError, ValueError, AttributeError) as error:
            raise MetapbtError(f"{path}: entry {number} is none of a journal: {one_line(error)}") from error
        records += reported
        decisions += [assignments.get(record.member) for record in reported]
        assignments |= {record.member: None for record in reported}
        assignments |= decided
        place = end + 1
    if not number:
        damage, cut = f"{path} is empty", True
    reported_all = {record.ref for record in records}
    open_failures = {ref: error for ref, error in failures.items() if ref not in reported_all}
    return Content(tuple(records), tuple(decisions), assignments, open_failures, head, place, damage, cut)


def _head(entry: dict[str, Any], line: bytes, path: Path) -> dict[str, Any]:
    if entry.get("journal") != VERSION:
        raise MetapbtError(
            f"{path} is no journal that this metapbt reads (version {VERSION}): {entry.get('journal')!r}"
        )
    return {name: value for name, value in entry.items() if name != "decisions"} | {"crc32": line[:8].decode().lower()}


def _record(data: Any) -> Record:
    record = Record.from_dict(data)
    if type(record.env_steps) is not int:
        raise TypeError(f"env_steps is {record.env_steps!r:.50}")
    return record


def _whole(found: Any) -> int:
    if type(found) is not int or found < 0:
        raise TypeError(f"a failure's place is {found!r:.50}")
    return found


def _decision(found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise TypeError(f"a decision is {found!r:.50}")
    return found


_MOST_OF_AN_ENTRY = 2**26


def _entry(line: bytes) -> dict[str, Any] | None:
    checksum, _, text = line.partition(b" ")
    try:
        whole = len(checksum) == 8 and int(checksum, 16) == zlib.crc32(text)
        entry = json.loads(text) if whole else None
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _brief(record: Record) -> dict[str, Any]:
    """A record as plain data, without what has its usual value."""
    usual = {"restart": False, "failed": False, "parent": None}
    return {
        name: value
        for name, value in record.to_dict().items()
        if name == "hyperparameters" or (value is not None and usual.get(name, ...) != value)
    }
