"""PB2 that remembers: its surrogate was trained on related contexts before the run began."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from metapbt.explorers.base import Pending, Suggestion
from metapbt.explorers.pb2 import PB2Explorer
from metapbt.records import History, Memory, Record, Transition
from metapbt.space import Hyperparameters, Space

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP
    from torch import Tensor


class MetaPB2Explorer(PB2Explorer):
    """PB2 with a deep-kernel GP over (time, return before, context, hyperparameters).

    The GP is trained once on the transitions of the source contexts' runs. It chooses the first generation, each
    member at the largest upper confidence bound with those chosen before it pending; later it is conditioned on the
    target's own transitions too and takes the place of PB2's surrogate. Without any source this is PB2.

    Returns of all contexts are standardised together, and so are the changes of return for each step: a context
    where learning is slow looks slow. The context's features are standardised over sources and target; those that
    never vary are left out.
    """

    uses_memory: ClassVar[bool] = True

    def __init__(self, space: Space, memory: Memory, max_rows: int = 1000) -> None:
        """Take the memory.

        Args:
            space: the search space.
            memory: the target's context and the sources' runs.
            max_rows: rows kept of the sources, evenly over all of them: an exact GP's cost grows with their cube.
        """
        super().__init__(space)
        self.memory = memory
        rows = [
            (source.context, row)
            for source in memory.sources
            for row in source.history.transitions()
            if row.hyperparameters in space
        ]
        kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), max_rows)).round().astype(int))
        self.rows: list[tuple[dict[str, float], Transition]] = [rows[index] for index in kept]

    def start(self, size: int, rng: np.random.Generator) -> list[Suggestion]:
        """Choose the first generation from memory: promising for this context, and unlike each other."""
        if not self.rows:
            return super().start(size, rng)

        from metapbt.surrogates.acquisition import growing_beta

        untrained = float(np.mean([row.return_before for _, row in self.rows if row.generation == 0]))
        given = self._given(self.memory.context, 0, untrained)
        chosen: list[Hyperparameters] = []
        for _ in range(size):
            waiting = [[*given, *self.columns(one)] for one in chosen]
            found = self.maximise(self._meta_model, given, waiting, growing_beta(len(self.rows)), rng)
            chosen.append(self.assembled(found, {}))
        return [Suggestion(one, "memory") for one in chosen]

    def propose(
        self, parents: Sequence[Record], history: History, pending: Sequence[Pending], rng: np.random.Generator
    ) -> list[Suggestion]:
        """Maximise the upper confidence bound of the memory conditioned on what happened here."""
        if not self.rows or not all(math.isfinite(parent.reached) for parent in parents):
            return super().propose(parents, history, pending, rng)

        from metapbt.surrogates.acquisition import conditioned, growing_beta

        here = self.memory.context
        model = self._meta_model
        own = [(here, row) for row in history.transitions() if row.hyperparameters in self.space]
        if own:
            model = conditioned(model, self._inputs(own), self._targets(own))
        steps = parents[0].env_steps
        waiting = [
            [*self._given(here, steps, p.return_before), *self.columns(p.hyperparameters)]
            for p in pending
            if math.isfinite(p.return_before)
        ]
        suggestions = []
        for parent in parents:
            given = self._given(here, steps, parent.reached)
            found = self.maximise(model, given, waiting, growing_beta(len(self.rows) + len(own)), rng)
            suggestion = Suggestion(self.assembled(found, {}), "memory")
            waiting.append([*given, *self.columns(suggestion.hyperparameters)])
            suggestions.append(suggestion)
        return suggestions

    @cached_property
    def _meta_model(self) -> SingleTaskGP:
        from metapbt.surrogates.deep_kernel import fit_deep_kernel_gp

        # The same memory always gives the same model, so that a resumed run asks the one that the first part asked.
        return fit_deep_kernel_gp(self._inputs(self.rows), self._targets(self.rows), seed=0)

    def _inputs(self, rows: Sequence[tuple[dict[str, float], Transition]]) -> Tensor:
        import torch

        x = [
            [
                *self._given(context, row.steps_before, row.return_before),
                *self.columns(row.hyperparameters),
            ]
            for context, row in rows
        ]
        return torch.tensor(x, dtype=torch.float64)

    def _targets(self, rows: Sequence[tuple[dict[str, float], Transition]]) -> Tensor:
        import torch

        mean, deviation = self._slope_scale
        return torch.tensor([[(row.slope - mean) / deviation] for _, row in rows], dtype=torch.float64)

    def _given(self, context: dict[str, float], steps_before: int, return_before: float) -> list[float]:
        """The columns before the hyperparameters, each of about unit scale."""
        mean, deviation = self._return_scale
        features = [(context[name] - centre) / spread for name, (centre, spread) in self._context_scale.items()]
        return [steps_before / self._longest, (return_before - mean) / deviation, *features]

    @cached_property
    def _longest(self) -> int:
        return max(row.steps_before + row.steps for _, row in self.rows)

    @cached_property
    def _return_scale(self) -> tuple[float, float]:
        return _mean_and_deviation([row.return_before for _, row in self.rows])

    @cached_property
    def _slope_scale(self) -> tuple[float, float]:
        return _mean_and_deviation([row.slope for _, row in self.rows])

    @cached_property
    def _context_scale(self) -> dict[str, tuple[float, float]]:
        contexts = [
            self.memory.context,
            *{tuple(s.context.items()): s.context for s in self.memory.sources}.values(),
        ]
        values = {name: [context[name] for context in contexts] for name in self.memory.context}
        return {name: _mean_and_deviation(v) for name, v in values.items() if len(set(v)) > 1}


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values)) or 1.0
