"""PB2-Mult: categories by a bandit, numbers by a Gaussian process for each choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError
from metapbt.history import History, Transition
from metapbt.population.explorers import bandit
from metapbt.population.explorers.pb2 import Situation
from metapbt.population.explorers.pb2_rand import PB2RandExplorer
from metapbt.space import Hyperparameters, Parameter, Space

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP


class PB2MultExplorer(PB2RandExplorer):
    """PB2-Mult (Parker-Holder et al., 2021, section 4.1).

    Each category is chosen for all copies of a generation together by TV.EXP3.M, whose reward is how fast the return
    changed, scaled to [0, 1] over the history. The numbers then come from a GP that knows only the rows with the same
    choices; where there are none yet they are drawn at random.
    """

    def __init__(self, space: Space, rounds: int = 50) -> None:
        """Check the settings.

        Args:
            space: the search space.
            rounds: about how many generations the run has; sets how much the bandit explores.

        Raises:
            MetapbtError: ``rounds`` is below 1.
        """
        super().__init__(space)
        if rounds < 1:
            raise MetapbtError(f"method.rounds must be >= 1, got {rounds}")
        self.rounds = rounds

    def settle(self, count: int, history: History, rng: np.random.Generator) -> list[Hyperparameters]:
        """Let the bandit play ``count`` arms of each category."""
        rows = history.transitions()
        settled: list[Hyperparameters] = [{} for _ in range(count)]
        for parameter in self.categories:
            weights = self.weights(parameter, rows)
            gamma = bandit.exploration_rate(len(weights), count, self.rounds)
            arms = bandit.play(weights, count, gamma, bandit.drift_rate(self.rounds), rng)
            for values, arm in zip(settled, arms, strict=True):
                values[parameter.name] = parameter.choices[int(arm)]
        return settled

    def weights(self, parameter: Parameter, rows: Sequence[Transition]) -> NDArray[np.float64]:
        """The bandit's weights of a category's choices after all that happened, one round for each generation."""
        weights = np.ones(len(parameter.choices))
        slopes = np.array([row.slope for row in rows])
        rewards = (slopes - slopes.min()) / max(float(np.ptp(slopes)), 1e-12)
        for generation in sorted({row.generation for row in rows}):
            places = [
                i for i, r in enumerate(rows) if r.generation == generation and parameter.name in r.hyperparameters
            ]
            if places:
                arms = [parameter.choices.index(rows[i].hyperparameters[parameter.name]) for i in places]
                gamma = bandit.exploration_rate(len(weights), len(arms), self.rounds)
                omega = bandit.drift_rate(self.rounds)
                weights = bandit.updated(weights, np.array(arms), rewards[places], gamma, omega)
        return weights

    def model_for(self, settled: Hyperparameters) -> tuple[object, ...]:
        """A model for each choice."""
        return tuple(settled.get(parameter.name) for parameter in self.categories)

    def fit(self, situation: Situation, settled: Hyperparameters) -> SingleTaskGP | None:
        """Fit the rows with the same choices."""
        from metapbt.surrogates.time_varying import fit_time_varying_gp

        which = self.model_for(settled)
        rows = [row for row in situation.rows if self.model_for(row.hyperparameters) == which]
        return fit_time_varying_gp(*self.table(situation, rows)) if rows else None
