"""PB2-Mix: categories by a bandit, numbers by one Gaussian process over numbers and categories together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metapbt.population.explorers.pb2 import PB2Explorer, Situation
from metapbt.population.explorers.pb2_mult import PB2MultExplorer
from metapbt.space import Hyperparameters

if TYPE_CHECKING:
    from botorch.models import SingleTaskGP


class PB2MixExplorer(PB2MultExplorer):
    """PB2-Mix (Parker-Holder et al., 2021, section 4.2).

    The bandit of PB2-Mult chooses the categories. One time-varying GP, whose kernel mixes numbers with the share of
    equal categories (CoCaBO, Ru et al., 2020), learns from every row, so what one choice taught helps the others.
    Numbers are chosen for the categories that the bandit chose; the published code chooses them for the parent's.
    """

    def model_for(self, settled: Hyperparameters) -> tuple[object, ...]:
        """One model for all choices."""
        return ()

    def fit(self, situation: Situation, settled: Hyperparameters) -> SingleTaskGP | None:
        """Fit all rows."""
        from metapbt.surrogates.time_varying import fit_mixed_gp

        if not self.categories:
            return PB2Explorer.fit(self, situation, settled)
        return fit_mixed_gp(*self.table(situation, situation.rows), categories=len(self.categories))

    def columns(self, hyperparameters: Hyperparameters) -> list[float]:
        """The numbers in the unit cube, then a code for each category; one that does not exist has its own."""
        codes = [
            float(p.place(hyperparameters[p.name])) if p.name in hyperparameters else -1.0 for p in self.categories
        ]
        return [*super().columns(hyperparameters), *codes]
