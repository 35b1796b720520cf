"""A selection for populations whose members may end one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from metapbt.history import History, Record, Ref
from metapbt.population.selection import Exploit, Selection, make_selection


class AmongTheLiving(Selection):
    """A selection among those whose trials go on: who has ended stands among neither the worst nor the best.

    What those did before they ended has happened nevertheless: the best checkpoint ever may be theirs. Were it not,
    one would be the best ever, once they have gone, that was not kept while they were there.

    Args:
        size: members.
        quantile: as of any selection.
        among: the selection, a name or a mapping with one and its settings.
    """

    def __init__(self, size: int, quantile: float, among: str | Mapping[str, Any] = "truncation") -> None:
        settings = {"name": among} if isinstance(among, str) else {"name": "truncation", **among}
        self._selection = make_selection(settings, size, quantile)

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Let the selection see the others' last records alone."""
        gone = frozenset(record.member for record in history.latest if record.failed)
        here = [member for member in reported if member not in gone]
        same = {field.name: getattr(history, field.name) for field in fields(history)}
        return self._selection.select(_Survived(**same, gone=gone), here, rng) if here else {}

    def keeps(self, history: History) -> set[Ref]:
        """What the selection keeps."""
        return self._selection.keeps(history)


@dataclass(frozen=True)
class _Survived(History):
    """A history in which some members have no last record.

    Attributes:
        gone: these.
    """

    gone: frozenset[int] = frozenset()

    @property
    def members(self) -> Collection[int]:
        """Those that have one."""
        return [member for member in super().members if member not in self.gone]

    @cached_property
    def latest(self) -> tuple[Record, ...]:
        """Theirs."""
        return tuple(record for record in super().latest if record.member not in self.gone)
