"""PB2: copies take the point that a Gaussian process finds most promising."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metapbt.history import History, Record, Transition
from metapbt.population.explorers.base import Explorer, Pending, Suggestion
from metapbt.space import Hyperparameters, Space

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP
    from torch import Tensor

MAX_PENDING = 200  # of the points being tried, the last so many count: else a decision's cost grew with the population


@dataclass(frozen=True)
class Situation:
    """What is the same for all copies of a generation.

    Attributes:
        now: the coming generation.
        rows: what happened; where there is much, what matters most, the most relevant rows first.
        low: the lowest return before an interval, over the whole history.
        span: how far the highest is above it.
        seen: rows in the whole history.
    """

    now: int
    rows: tuple[Transition, ...]
    low: float
    span: float
    seen: int

    @classmethod
    def of(cls, history: History, parents: Sequence[Record]) -> Situation:
        """Collect it from a history with at least one transition and parents with finite returns."""
        from metapbt.surrogates.time_varying import relevant_rows

        rows = history.transitions()
        now = max(parent.generation for parent in parents) + 1
        before = np.array([row.return_before for row in rows])
        low, span = float(before.min()), max(float(np.ptp(before)), 1e-12)
        here = (float(np.mean([parent.reached for parent in parents])) - low) / span
        kept = relevant_rows([row.generation for row in rows], (before - low) / span, now, here)
        return cls(now, tuple(rows[index] for index in kept), low, span, len(rows))

    def given(self, generation: int, return_before: float) -> list[float]:
        """The columns that are not ours to choose: time, and return scaled to [0, 1] over the history."""
        return [float(generation), (return_before - self.low) / self.span]


class PB2Explorer(Explorer):
    """Population-based bandits (Parker-Holder et al., 2020).

    A time-varying GP models how fast the return changes over an interval, given the generation, the return before
    it and the hyperparameters. A copy gets the hyperparameters with the largest upper confidence bound at the
    parent's return, where members already decided for the coming generation count in the variance but not in the
    mean (section 3.3). Every dimension is treated as continuous and rounded to the space's legal values; the variants
    ``pb2_rand``, ``pb2_mult`` and ``pb2_mix`` treat categories as such.
    """

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        #: Positions, in unit vectors, of the hyperparameters that the GP chooses.
        self.free: tuple[int, ...] = tuple(range(len(space)))

    def warm_up(self) -> None:
        """Import the surrogates, which takes seconds."""
        import metapbt.surrogates.acquisition
        import metapbt.surrogates.time_varying  # noqa: F401

    def propose(
        self, parents: Sequence[Record], history: History, pending: Sequence[Pending], rng: np.random.Generator
    ) -> list[Suggestion]:
        """Maximise the upper confidence bound at each parent's return."""
        known = [parent for parent in parents if math.isfinite(parent.reached)]
        if not known or not history.transitions():
            return [Suggestion(self.space.sample(rng), "random") for _ in parents]
        situation = Situation.of(history, known)
        waiting = [p for p in pending if math.isfinite(p.return_before)]
        models: dict[tuple[object, ...], SingleTaskGP | None] = {}
        suggestions = []
        for parent, settled in zip(parents, self.settle(len(parents), history, rng), strict=True):
            which = self.model_for(settled)
            if which not in models:
                models[which] = self.fit(situation, settled)
            model = models[which]
            if model is None or not math.isfinite(parent.reached):
                suggestions.append(Suggestion({**self.space.sample(rng), **settled}, "random"))
                continue
            found = self._best(model, situation, parent.reached, settled, waiting[-MAX_PENDING:], rng)
            waiting.append(Pending(parent.reached, found))
            suggestions.append(Suggestion(found, "surrogate"))
        return suggestions

    def settle(self, count: int, history: History, rng: np.random.Generator) -> list[Hyperparameters]:
        """Return, for each of ``count`` copies, the values settled before the GP is asked: here none."""
        return [{} for _ in range(count)]

    def model_for(self, settled: Hyperparameters) -> tuple[object, ...]:
        """Tell which of the generation's models answers for ``settled``: here the same for all."""
        return ()

    def fit(self, situation: Situation, settled: Hyperparameters) -> SingleTaskGP | None:
        """Fit the model that answers for ``settled``; None where there is nothing to fit."""
        from metapbt.surrogates.time_varying import fit_time_varying_gp

        return fit_time_varying_gp(*self.table(situation, situation.rows))

    def table(self, situation: Situation, rows: Sequence[Transition]) -> tuple[Tensor, Tensor]:
        """The rows as the model's inputs (``n x d``) and outputs (``n x 1``)."""
        import torch

        x = [[*situation.given(r.generation, r.return_before), *self.columns(r.hyperparameters)] for r in rows]
        y = [[row.slope] for row in rows]
        return torch.tensor(x, dtype=torch.float64), torch.tensor(y, dtype=torch.float64)

    def columns(self, hyperparameters: Hyperparameters) -> list[float]:
        """A configuration as the model sees it: first what it may choose, in the unit cube."""
        return [float(coordinate) for coordinate in self.space.to_unit(hyperparameters)[list(self.free)]]

    def maximise(
        self,
        model: SingleTaskGP,
        given: Sequence[float],
        waiting: Sequence[Sequence[float]],
        beta: float,
        rng: np.random.Generator,
        trailing: Sequence[float] = (),
    ) -> NDArray[np.float64]:
        """Return the free coordinates with the largest upper confidence bound.

        Args:
            model: a surrogate over the columns ``[*given, *free, *trailing]``.
            given: the leading columns, which are not ours to choose.
            waiting: points being tried, with all columns; they count in the variance only.
            beta: weight of the variance.
            rng: seeds the optimiser.
            trailing: the last columns, settled before.
        """
        import torch

        from metapbt.surrogates.acquisition import maximise_ucb, with_pending

        first, free = len(given), len(self.free)
        width = first + free + len(trailing)
        points = torch.tensor(waiting, dtype=torch.float64).reshape(-1, width)
        fixed = {**dict(enumerate(given)), **{first + free + i: value for i, value in enumerate(trailing)}}
        bounds = torch.tensor([[0.0] * width, [1.0] * width], dtype=torch.float64)
        point = maximise_ucb(with_pending(model, points), bounds, fixed, beta, seed=int(rng.integers(2**31)))
        found: NDArray[np.float64] = point[first : first + free].numpy()
        return found

    def assembled(self, free: NDArray[np.float64], settled: Hyperparameters) -> Hyperparameters:
        """The configuration with these free coordinates and settled values."""
        point = np.full(len(self.space), 0.5)
        point[list(self.free)] = free
        for index, parameter in enumerate(self.space.parameters):
            if parameter.name in settled:
                point[index] = (parameter.choices.index(settled[parameter.name]) + 0.5) / len(parameter.choices)
        return self.space.from_unit(point)

    def _best(
        self,
        model: SingleTaskGP,
        situation: Situation,
        return_before: float,
        settled: Hyperparameters,
        waiting: Sequence[Pending],
        rng: np.random.Generator,
    ) -> Hyperparameters:
        from metapbt.surrogates.acquisition import growing_beta

        points = [
            [*situation.given(situation.now, p.return_before), *self.columns(p.hyperparameters)]
            for p in waiting
            if self.model_for(p.hyperparameters) == self.model_for(settled)
        ]
        given = situation.given(situation.now, return_before)
        free = [0.5] * len(self.free)
        trailing = self.columns(self.assembled(np.array(free), settled))[len(free) :]
        found = self.maximise(model, given, points, growing_beta(situation.seen), rng, trailing)
        return self.assembled(found, settled)
