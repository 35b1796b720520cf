"""Grace windows: who has just copied another is not judged."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np

from metapbt.history import History, Record, Ref
from metapbt.population.selection.base import Exploit, Selection, SelectionWrapper, without


class Grace(SelectionWrapper):
    """Any selection, but who has just copied another, or was born again, is not judged for some intervals.

    Its return still says how good its source was: what it learned since is little, and the training return is a mean
    over the line of descent's last episodes. So it takes no part: it is neither replaced nor copied, and the selection
    selects among the others. Who has no finite return is judged nevertheless.

    Intervals are counted from the copy, each member's own, so it is the same in an asynchronous run. Members that went
    through a screening as candidates or students go on as they were; they are judged at once. Who copies one of these
    later, as with ``selection.backtrack``, is not.

    Args:
        selection: says who copies.
        intervals: how many a member trains after it copied before it is judged, the first one included.
    """

    def __init__(self, selection: Selection, intervals: int) -> None:
        super().__init__(selection)
        self._intervals = intervals

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Let the selection see the others alone."""
        spared = self._spared(history, history.latest)
        judged = [member for member in reported if member not in spared]
        return self._selection.select(without(history, spared), judged, rng) if judged else {}

    def sure_to_go_on(self, history: History, awaited: Collection[int]) -> set[int]:
        """Those that are not judged, and those of the selection among the others.

        Of the awaited ones nobody knows whether they will be judged; if they are not, fewer are replaced.
        """
        spared = self._spared(history, [record for record in history.latest if record.member not in awaited])
        return spared.union(self._selection.sure_to_go_on(without(history, spared), awaited))

    def _spared(self, history: History, records: Collection[Record]) -> set[int]:
        finite = [record for record in records if math.isfinite(history.value(record))]
        return {record.member for record in finite if is_fresh(history, record, self._intervals)}


def is_fresh(history: History, record: Record, intervals: int) -> bool:
    """Whether one of the member's last intervals began with another's checkpoint, or with none.

    Args:
        history: that the record is of.
        record: the member's at that time.
        intervals: how many are looked at, that of the record included.
    """
    last: Record | None = record
    for _ in range(intervals):
        if last is None:
            return False
        if last.restart or (last.parent is not None and not _was_screened(history, last)):
            return True
        last = history.at(Ref(last.generation - 1, last.member))
    return False


def _was_screened(history: History, record: Record) -> bool:
    """Whether a record goes on from the rung just before it; a copy of a candidate or student comes later than that."""
    origin, size = record.origin, history.size
    if origin is None or size is None:
        return False
    return origin.member >= size and origin.generation == record.generation - 1
