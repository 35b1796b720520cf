"""PB2-Mult: categories by a bandit, numbers by a Gaussian process for each choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, shown, unknown_name
from metapbt.history import History, Record, Transition
from metapbt.population.explorers import bandit
from metapbt.population.explorers.base import Suggestion
from metapbt.population.explorers.pb2 import Situation
from metapbt.population.explorers.pb2_rand import PB2RandExplorer
from metapbt.space import Hyperparameters, Parameter, Space

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP

WITHOUT_ROWS = ("random", "parent")


class PB2MultExplorer(PB2RandExplorer):
    """PB2-Mult (Parker-Holder et al., 2021, section 4.1).

    Each category is chosen for all copies of a generation together by TV.EXP3.M, whose reward is how fast the return
    changed, scaled to [0, 1] over the history. A round of the bandit is a generation and plays as many arms as the
    population has members, though only the copies among them choose anew. The numbers then come from a GP that knows
    only the rows with the same choices.

    Where there are none yet the numbers are drawn at random.
    """

    def __init__(
        self,
        space: Space,
        rounds: int = 50,
        dependent: bool = True,
        without_rows: str = "random",
        learn_from: str = "eval_return",
    ) -> None:
        """Check the settings.

        Args:
            space: the search space.
            rounds: about how many generations the run has; sets how much the bandit explores.
            dependent: whether each choice has a GP of its own. False: one GP learns from every row and sees numbers
                alone, as ``exp3_indep`` of the published code.
            without_rows: what a copy gets while there are no rows with its choices: ``random`` numbers, or the
                ``parent``'s whole configuration, its categories included, as in the published code, where choices that
                no first member had are never tried.
            learn_from: as of `PB2Explorer`.

        Raises:
            MetapbtError: a setting is unknown or out of its range.
        """
        super().__init__(space, learn_from)
        if rounds < 1:
            raise MetapbtError(f"method.rounds must be >= 1, got {rounds}")
        if not isinstance(dependent, bool):
            raise MetapbtError(f"method.dependent must be true or false, got {shown(dependent)}")
        if without_rows not in WITHOUT_ROWS:
            raise unknown_name("method.without_rows", without_rows, WITHOUT_ROWS)
        self.rounds = rounds
        self.dependent = dependent
        self.without_rows = without_rows

    @property
    def kind(self) -> str:
        """It has seen the same categories only."""
        return "GP of these categories" if self.categories and self.dependent else super().kind

    def settle(self, parents: Sequence[Record], history: History, rng: np.random.Generator) -> list[Hyperparameters]:
        """Let the bandit choose each category for all copies."""
        plays, omega = history.size or len(history.latest), bandit.drift_rate(self.rounds)
        settled: list[Hyperparameters] = [{} for _ in parents]
        for parameter in self.chosen:
            gamma = bandit.exploration_rate(len(parameter.choices), plays, self.rounds)
            weights = self.weights(parameter, history.transitions(), plays)
            arms = bandit.draw(weights, plays, len(parents), gamma, omega, rng)
            for values, arm in zip(settled, arms, strict=True):
                values[parameter.name] = parameter.choices[arm]
        return settled

    def weights(self, parameter: Parameter, rows: Sequence[Transition], plays: int) -> NDArray[np.float64]:
        """The bandit's weights of a category's choices after all that happened, one round for each generation.

        Args:
            parameter: the category.
            rows: what happened, at least one.
            plays: of a round: members of the population.
        """
        count, omega = len(parameter.choices), bandit.drift_rate(self.rounds)
        gamma = bandit.exploration_rate(count, plays, self.rounds)
        weights = np.full(count, 1 / count)
        slopes = np.array([row.slope for row in rows])
        # Where slopes differ by rounding only, nobody deserves a reward.
        rewards = (slopes - slopes.min()) / (max(float(np.ptp(slopes)), 1e-12 * float(np.abs(slopes).max())) or 1.0)
        for generation in sorted({row.generation for row in rows}):
            places = [
                i for i, r in enumerate(rows) if r.generation == generation and parameter.name in r.hyperparameters
            ]
            if places:
                arms = [parameter.place(rows[i].hyperparameters[parameter.name]) for i in places]
                weights = bandit.updated(weights, np.array(arms), rewards[places], plays, gamma, omega)
        return weights

    def model_for(self, settled: Hyperparameters) -> tuple[object, ...]:
        """A model for each choice, or one for all."""
        if not self.dependent:
            return ()
        return tuple(p.place(settled[p.name]) if p.name in settled else None for p in self.categories)

    def fit(self, situation: Situation, settled: Hyperparameters) -> SingleTaskGP | None:
        """Fit the rows with the same choices."""
        from metapbt.surrogates.time_varying import fit_time_varying_gp

        which = self.model_for(settled)
        rows = [row for row in situation.rows if self.model_for(row.hyperparameters) == which]
        return fit_time_varying_gp(*self.table(situation, rows)) if rows else None

    def unknown(self, parent: Record, settled: Hyperparameters, rng: np.random.Generator) -> Suggestion:
        """Random numbers, or what the parent had."""
        if self.without_rows == "parent":
            return Suggestion(parent.hyperparameters, "parent")
        return super().unknown(parent, settled, rng)
