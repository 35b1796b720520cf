"""PB2-Mix: categories by a bandit, numbers by one Gaussian process over numbers and categories together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metapbt.errors import unknown_name
from metapbt.history import Record
from metapbt.population.explorers.pb2 import PB2Explorer, Situation
from metapbt.population.explorers.pb2_mult import PB2MultExplorer
from metapbt.space import Hyperparameters, Space

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP

CONDITIONS = ("chosen", "parent")


class PB2MixExplorer(PB2MultExplorer):
    """PB2-Mix (Parker-Holder et al., 2021, section 4.2).

    The bandit of PB2-Mult chooses the categories. One time-varying GP, whose kernel mixes numbers with the share of
    equal categories (CoCaBO, Ru et al., 2020), learns from every row, so what one choice taught helps the others.
    Numbers are chosen for the categories that the bandit chose.
    """

    def __init__(
        self, space: Space, rounds: int = 50, condition_on: str = "chosen", learn_from: str = "eval_return"
    ) -> None:
        """Check the settings.

        Args:
            space: the search space.
            rounds: about how many generations the run has; sets how much the bandit explores.
            condition_on: the categories for which numbers are chosen: those ``chosen`` by the bandit, as in the paper,
                or the ``parent``'s, as in the published code, whose numbers then come with other categories than they
                were chosen for.
            learn_from: as of `PB2Explorer`.

        Raises:
            MetapbtError: a setting is unknown or out of its range.
        """
        super().__init__(space, rounds, learn_from=learn_from)
        if condition_on not in CONDITIONS:
            raise unknown_name("method.condition_on", condition_on, CONDITIONS)
        self.condition_on = condition_on

    @property
    def kind(self) -> str:
        """Numbers and categories."""
        return "mixed kernel" if self.categories else super().kind

    def model_for(self, settled: Hyperparameters) -> tuple[object, ...]:
        """One model for all choices."""
        return ()

    def fit(self, situation: Situation, settled: Hyperparameters) -> SingleTaskGP | None:
        """Fit all rows."""
        from metapbt.surrogates.time_varying import fit_mixed_gp

        if not self.categories:
            return PB2Explorer.fit(self, situation, settled)
        return fit_mixed_gp(*self.table(situation, situation.rows), categories=len(self.categories))

    def conditions(self, parent: Record, settled: Hyperparameters) -> Hyperparameters:
        """None but the settled ones, or the parent's categories."""
        if self.condition_on == "chosen":
            return {}
        return {p.name: parent.hyperparameters[p.name] for p in self.chosen if p.name in parent.hyperparameters}

    def columns(self, hyperparameters: Hyperparameters) -> list[float]:
        """The numbers in the unit cube, then a code for each category; one that does not exist has its own."""
        codes = [
            float(p.place(hyperparameters[p.name])) if p.name in hyperparameters else -1.0 for p in self.categories
        ]
        return [*super().columns(hyperparameters), *codes]
