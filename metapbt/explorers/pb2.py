"""PB2: copies take the point that a Gaussian process finds most promising."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from metapbt.explorers.base import Explorer, Pending, Suggestion
from metapbt.records import History, Record
from metapbt.space import Hyperparameters

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP


class PB2Explorer(Explorer):
    """Population-based bandits (Parker-Holder et al., 2020).

    A time-varying GP models how fast the return changes over an interval, given the generation, the return before
    it and the hyperparameters. A copy gets the hyperparameters with the largest upper confidence bound at the
    parent's return, where members already decided for the coming generation count in the variance but not in the
    mean (section 3.3). Every dimension is treated as continuous and rounded to the space's legal values.
    """

    def propose(
        self, parent: Record, history: History, pending: Sequence[Pending], rng: np.random.Generator
    ) -> Suggestion:
        """Maximise the upper confidence bound at the parent's return."""
        rows = history.transitions()
        return_before = parent.reached
        if not rows or not math.isfinite(return_before):
            return Suggestion(self.space.sample(rng), "random")

        import torch

        from metapbt.surrogates.acquisition import growing_beta
        from metapbt.surrogates.time_varying import fit_time_varying_gp

        now = history.generations
        low = min(row.return_before for row in rows)
        span = max(max(row.return_before for row in rows) - low, 1e-12)

        def encode(generation: int, before: float, hyperparameters: Hyperparameters) -> list[float]:
            return [generation, (before - low) / span, *self.space.to_unit(hyperparameters)]

        x = [encode(row.generation, row.return_before, row.hyperparameters) for row in rows]
        y = [[row.slope] for row in rows]
        model = fit_time_varying_gp(torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64))
        waiting = [encode(now, p.return_before, p.hyperparameters) for p in pending if math.isfinite(p.return_before)]
        here = [now, (return_before - low) / span]
        return Suggestion(self.maximise(model, here, waiting, growing_beta(len(rows)), rng), "surrogate")

    def maximise(
        self,
        model: SingleTaskGP,
        given: Sequence[float],
        waiting: Sequence[Sequence[float]],
        beta: float,
        rng: np.random.Generator,
    ) -> Hyperparameters:
        """Return the hyperparameters with the largest upper confidence bound.

        Args:
            model: a surrogate over the columns ``[*given, *unit]``.
            given: the leading columns: what is not ours to choose.
            waiting: points being tried, with all columns; they count in the variance only.
            beta: weight of the variance.
            rng: seeds the optimiser.
        """
        import torch

        from metapbt.surrogates.acquisition import maximise_ucb, with_pending

        columns = len(given) + len(self.space)
        waiting_points = torch.tensor(waiting, dtype=torch.float64).reshape(-1, columns)
        bounds = torch.tensor([[0.0] * columns, [1.0] * columns], dtype=torch.float64)
        point = maximise_ucb(
            with_pending(model, waiting_points),
            bounds,
            fixed=dict(enumerate(given)),
            beta=beta,
            seed=int(rng.integers(2**31)),
        )
        return self.space.from_unit(point[len(given) :].numpy())
