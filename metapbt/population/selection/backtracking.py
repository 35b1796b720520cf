"""Backtracking: copies start from the best checkpoint that the run ever had."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from metapbt.history import History, Ref
from metapbt.population.selection.base import Exploit, Selection


class Backtracking(Selection):
    """Any selection, but who copies and explores starts from the best checkpoint ever, not from the parent's last one.

    A population that has become worse so returns to where it was good (BG-PBT, Wan et al., 2022, section 4.1). Who
    takes over another's hyperparameters as well, as migrants in MF-PBT, is left alone. Students of a new era learn from
    the best checkpoint ever, too.

    Args:
        selection: says who copies.
    """

    def __init__(self, selection: Selection) -> None:
        self._selection = selection

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Let those who copy start from the best checkpoint."""
        best = history.best().ref
        return {
            member: exploit
            if exploit.start is None or exploit.hyperparameters_of is not None
            else replace(exploit, start=best)
            for member, exploit in self._selection.select(history, reported, rng).items()
        }

    def teacher(self, history: History) -> Ref:
        """The best checkpoint ever."""
        return history.best().ref

    def keeps(self, history: History) -> set[Ref]:
        """The best checkpoint ever, and what the selection keeps."""
        return super().keeps(history) | self._selection.keeps(history)
