"""Backtracking: copies start from the best checkpoint that the run ever had."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from metapbt.history import History, Ref
from metapbt.population.selection.base import Exploit, SelectionWrapper


class Backtracking(SelectionWrapper):
    """Any selection, but who copies and explores starts from the best checkpoint ever, not from the parent's last one.

    A population that has become worse so returns to where it was good (BG-PBT, Wan et al., 2022, section 4.1). Who
    takes over another's hyperparameters as well, as migrants in MF-PBT, is left alone. Of checkpoints from before the
    last change of architectures, which copies would undo, only students learn: from the best ever.
    """

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Let those who copy start from the best checkpoint."""
        best = history.best_of_era().ref
        return {
            member: exploit
            if exploit.start is None or exploit.hyperparameters_of is not None
            else replace(exploit, start=best)
            for member, exploit in self._selection.select(history, reported, rng).items()
        }

    def sure_to_go_on(self, history: History, awaited: Collection[int]) -> Collection[int]:
        """Those of the selection: who copies is the same."""
        return self._selection.sure_to_go_on(history, awaited)

    def teacher(self, history: History) -> Ref:
        """The best checkpoint ever."""
        return history.best().ref

    def keeps(self, history: History) -> set[Ref]:
        """The best checkpoints ever and of this era, and what the selection keeps."""
        return {history.best().ref, history.best_of_era().ref, *super().keeps(history)} if len(history) else set()
