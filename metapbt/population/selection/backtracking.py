"""Backtracking: copies start from the best checkpoint that the run ever had."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

import numpy as np

from metapbt.history import History, Record, Ref
from metapbt.population.selection.base import Exploit, Selection, SelectionWrapper
from metapbt.population.selection.grace import is_fresh


class Backtracking(SelectionWrapper):
    """Any selection, but who copies and explores starts from the best checkpoint ever, not from the parent's last one.

    A population that has become worse so returns to where it was good (BG-PBT, Wan et al., 2022, section 4.1). Only its
    weights are old: as in the published code, the hyperparameters that are explored are those of the parent which the
    selection chose, the checkpoint's own only where that has no finite return. Who takes over another's hyperparameters
    as well, as migrants in MF-PBT, is left alone. Of checkpoints from before the last change of architectures, which
    copies would undo, only students learn: from the best ever.

    Args:
        selection: says who copies.
        grace: how many intervals a member trains after it copied before it is judged; the best is one that was.
    """

    def __init__(self, selection: Selection, grace: int = 0) -> None:
        super().__init__(selection)
        self._grace = grace

    def select(self, history: History, reported: Collection[int], rng: np.random.Generator) -> dict[int, Exploit]:
        """Let those who copy start from the best checkpoint; while no return is finite nobody knows which that is."""
        exploits = self._selection.select(history, reported, rng)
        best = self._best(history)
        if not math.isfinite(best.value(history.metric)):
            return exploits
        return {
            member: exploit
            if exploit.start is None or exploit.hyperparameters_of is not None
            else replace(exploit, start=best.ref, explored_from=_sound(exploit.explored_from or exploit.start, history))
            for member, exploit in exploits.items()
        }

    def sure_to_go_on(self, history: History, awaited: Collection[int]) -> Collection[int]:
        """Those of the selection: who copies is the same."""
        return self._selection.sure_to_go_on(history, awaited)

    def teacher(self, history: History) -> Ref:
        """The checkpoint with the best metric ever."""
        return history.leader_ever().ref

    def keeps(self, history: History) -> set[Ref]:
        """The best checkpoints ever and of this era, and what the selection keeps."""
        if not len(history):
            return set()
        return {history.leader_ever().ref, self._best(history).ref, *super().keeps(history)}

    def _best(self, history: History) -> Record:
        """The best checkpoint of this era; of who had just copied then, only where nobody was judged yet."""
        if not self._grace:
            return history.best_of_era()
        era = history.of_era()
        return history.best_among([record for record in era if not is_fresh(history, record, self._grace)] or era)


def _sound(parent: Ref, history: History) -> Ref | None:
    """A parent's name; None where it has no finite return."""
    record = history.at(parent)
    return None if record is not None and not math.isfinite(history.value(record)) else parent
