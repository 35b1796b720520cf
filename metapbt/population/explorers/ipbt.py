"""IPBT: BG-PBT's copies, and beginners by what earlier beginners and all that descended from them came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from metapbt.history import History, Record, Ref
from metapbt.memory.encoder import Encoder
from metapbt.memory.scales import HistoryScale
from metapbt.population.explorers.base import Suggestion, drawn
from metapbt.population.explorers.bg_pbt import BGPBTExplorer
from metapbt.registry import check_settings
from metapbt.space import Hyperparameters, Space
from metapbt.surrogates.threads import deciding


@dataclass(frozen=True, slots=True)
class Beginning:
    """What became of an agent with which the population began, at first or anew.

    Attributes:
        era: which it began, from 0.
        hyperparameters: that it began with.
        return_before: the return that it began from.
        reached: the best return that it or whoever descended from it had in this era.
        steps: environment steps that the era trained each member, on average.
    """

    era: int
    hyperparameters: Hyperparameters
    return_before: float
    reached: float
    steps: int

    @property
    def slope(self) -> float:
        """What it came to, for each environment step."""
        return (self.reached - self.return_before) / self.steps


class IPBTExplorer(BGPBTExplorer):
    r"""Iterated population-based training (IPBT, arXiv:2511.09190): its choices of hyperparameters.

    Within an era copies are BG-PBT's; its surrogate and trust region begin anew with the era. Those who begin an era
    are chosen by a second Gaussian process, which looks farther than an interval: it learns

    $$y = \frac{\text{best return of a beginner and its descendants in the era} - \text{return before}}
    {\text{steps of the era}}$$

    of every beginner so far that was not screened out, with the same kernel, forgetting by eras once there are two. The
    highest bound is taken in a box around what the best line of descent of the last era began with; each
    choice counts for the next as if it brought what is expected.

    The published code evaluates each agent before its first interval. Here nobody does: a new agent's return before is
    that of an untrained one (`metapbt.history.History.untrained`), and that of shrunk weights is their model's. The
    process sees it, so that it need not be the agent's own to tell one kind from the other.

    When the population begins anew is `restarts.*`, whatever the method.
    """

    begins_anew: ClassVar[bool] = True

    def __init__(self, space: Space, min_rows: int = 1, ard: bool = True, **settings: Any) -> None:
        """Check the settings; the defaults are those of the published code.

        Args:
            space: the search space.
            min_rows: with fewer, copies and those who begin anew are drawn at random.
            ard: whether every number has a lengthscale of its own, and the box an edge of its own.
            settings: the others of `BGPBTExplorer`.

        Raises:
            MetapbtError: a setting is unknown, or out of its range.
        """
        check_settings("method", "ipbt", BGPBTExplorer, settings)
        super().__init__(space, min_rows=min_rows, ard=ard, **settings)

    @deciding()
    def begin_anew(
        self, models: Sequence[Record | None], history: History, rng: np.random.Generator
    ) -> list[Suggestion]:
        """Maximise the confidence bound of what the coming era makes of a beginner."""
        rows = beginnings(history)
        if len(rows) < self.min_rows:
            return super().begin_anew(models, history, rng)
        import torch

        from metapbt.surrogates.mixed import fit_mixed

        before = [_return_before(history, model) for model in models]
        known = [row.return_before for row in rows] + [value for value in before if math.isfinite(value)]
        encoder = Encoder(HistoryScale.of(np.array(known)))
        columns = self.mixed.columns
        inputs = [[*encoder.given(r.era, 0, r.return_before), *self.mixed.row(r.hyperparameters)] for r in rows]
        surrogate = fit_mixed(
            torch.tensor(inputs, dtype=torch.float64),
            torch.tensor([row.slope for row in rows], dtype=torch.float64),
            columns if len({row.era for row in rows}) > 1 else replace(columns, time=None),
            ard=self.ard,
            noise=self.noise,
            conditions=self.mixed.conditions,
        )
        last = max(row.era for row in rows)
        centre = max((row for row in rows if row.era == last), key=lambda row: row.reached).hyperparameters
        region = None if self.rule is None else self.rule.begin()
        tried: list[list[float]] = []
        suggestions = []
        for model, value in zip(models, before, strict=True):
            if not math.isfinite(value):
                suggestions.append(drawn(self.space, model, rng))
                continue
            given = encoder.given(history.eras, 0, value)
            around = centre if model is None else self.space.with_architecture_of(centre, model.hyperparameters)
            suggested = self.maximised(surrogate, given, around, region, model, tried, rng)
            tried.append([*given, *self.mixed.row(suggested)])
            suggestions.append(Suggestion(suggested, "surrogate"))
        return suggestions


def beginnings(history: History) -> list[Beginning]:
    """What became of all with whom the population began so far, at first and anew, where returns are known.

    Whoever was screened out is not among them, as published: it might have come to more.
    """
    gone_on = {record.origin for record in history}
    roots: dict[Ref, Record] = {}
    reached: dict[Ref, float] = {}
    begins: dict[int, int] = {}
    for record in history:
        begins.setdefault(history.era(record), record.generation)
        new = record.restart or record.generation == 0
        root = record if new or record.origin is None else roots.get(record.origin)
        screened_out = history.is_beyond(record) and record.ref not in gone_on
        if root is None or screened_out:
            continue
        roots[record.ref] = root
        if math.isfinite(record.reached):
            reached[root.ref] = max(record.reached, reached.get(root.ref, -math.inf))
    ends = {era: begins.get(era + 1, history.coming_generation(0)) for era in begins}
    found = []
    for ref, value in reached.items():
        root = roots[ref]
        era, before = history.era(root), _return_before(history, history.before(root))
        steps = history.spent_each(ends[era]) - history.spent_each(begins[era])
        if math.isfinite(before) and steps > 0:
            found.append(Beginning(era, root.hyperparameters, before, value, steps))
    return found


def _return_before(history: History, model: Record | None) -> float:
    return history.untrained if model is None else model.reached
