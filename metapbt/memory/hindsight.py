"""Values that know what became of agents in the sources, some intervals later."""

from __future__ import annotations

import numpy as np

from metapbt.memory.encoder import Array
from metapbt.memory.lookahead import Inputs, Lookahead, Mean, Rollout

INTERVALS = 4  # within which the best that came of agents counts


class Hindsight:
    """The values of agents: the mean of what is forecast of them and of what became of such agents in the sources.

    Whoever adds up forecasts of one interval after another adds up their errors, and sees nothing that returns do not
    show yet. In hindsight, from the records of sources, it is known what came of a choice: the highest return that an
    agent, or any that descended from it, had within ``INTERVALS`` intervals. A Gaussian process learns that from its
    state and its hyperparameters in the first of these (`Tasks.in_hindsight`); of agents that were replaced, what they
    had until then counts. It does not know what was trained with later, so it is noisier, above all early in a run,
    where much is still to come; `metapbt.memory.planning` says where it counts.
    """

    def __init__(
        self, forecast: Lookahead | Rollout, best: Mean | None, unit: float, columns: Inputs, time: float
    ) -> None:
        """Take what is the same for all agents.

        Args:
            forecast: of their values.
            best: by how much the best that comes of agents is forecast to be above their return, in its own units;
                None where only the forecast counts.
            unit: what one of these is on memory's scale.
            columns: of the inputs.
            time: when the coming interval begins, on memory's scale.
        """
        self.forecast = forecast
        self._best, self._unit, self._columns, self._time = best, unit, columns, time

    def after(self, value: float | Array, change: Array, points: Array, recent: Array) -> Array:
        """As of `Lookahead.after`."""
        forecast = self.forecast.after(value, change, points, recent)
        if self._best is None:
            return forecast
        returns = np.broadcast_to(value, len(points))
        best = returns + self._best(self._columns.inputs(self._time, returns, points, recent)) * self._unit
        return np.asarray((forecast + best) / 2)
