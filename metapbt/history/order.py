"""In which order a run's records can come: who trains which generation after what."""

from __future__ import annotations

from metapbt.history.record import Record


class Order:
    """Tells of one record after the other whether a run can have it next.

    Members train one generation after the other. Candidates of the first generation, and students of each rung, train
    once under a number that nobody has had; after a rung the next one, or the members, train the next generation.

    Args:
        size: members; candidates and students have larger numbers.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._last: dict[int, int] = {}
        self._rung = self._newest = -1
        self._in_rung = False

    def has(self, member: int) -> bool:
        """Whether there has been a record of a member."""
        return member in self._last

    def due(self, member: int) -> int | None:
        """The generation that a member trains next; None of a candidate or student, who does not train again."""
        if member >= self._size:
            return None if member in self._last else self._newest + 1
        return max(self._last.get(member, -1), self._rung) + 1

    def follows(self, record: Record) -> bool:
        """Whether a record may come next."""
        due = self.due(record.member)
        beside = record.member >= self._size and self._in_rung and record.generation == self._rung
        return due is not None and (record.generation == due or beside)

    def add(self, record: Record) -> None:
        """Go on behind a record."""
        self._last[record.member] = record.generation
        self._newest = max(self._newest, record.generation)
        self._in_rung = record.member >= self._size
        if self._in_rung:
            self._rung = record.generation
