"""A selection for populations whose members may end one by one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from metapbt.history import History, Ref
from metapbt.population.selection import Exploit, Selection, make_selection
from metapbt.population.selection.base import without


class AmongTheLiving(Selection):
    """A selection among those whose trials go on: who has ended stands among neither the worst nor the best.

    Args:
        size: members.
        quantile: as of any selection.
        among: the selection, a name or a mapping with one and its settings.
    """

    def __init__(self, size: int, quantile: float, among: str | Mapping[str, Any] = "truncation") -> None:
        settings = {"name": among} if isinstance(among, str) else {"name": "truncation", **among}
        self._selection = make_selection(settings, size, quantile)

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Let the selection see the others alone."""
        gone = {record.member for record in history.latest if record.failed}
        here = [member for member in reported if member not in gone]
        return self._selection.select(without(history, gone), here, rng) if here else {}

    def keeps(self, history: History) -> set[Ref]:
        """What the selection keeps."""
        return self._selection.keeps(history)
