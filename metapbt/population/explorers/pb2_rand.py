"""PB2-Rand: categories at random, numbers by the Gaussian process."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metapbt.history import History, Record
from metapbt.population.explorers.pb2 import PB2Explorer
from metapbt.space import Hyperparameters, Parameter, Space, Value


class PB2RandExplorer(PB2Explorer):
    """PB2 as it treats categories by itself (Parker-Holder et al., 2021, section 4): at random.

    A copy keeps each of its parent's categories half of the time and draws it anew otherwise, as in the published code
    (where the first and the last choice are drawn half as often as the others, for it rounds a uniform number; here all
    are drawn equally often). The GP sees the numbers alone.
    """

    def __init__(self, space: Space, learn_from: str = "eval_return") -> None:
        """Check the settings, which are those of `PB2Explorer`."""
        super().__init__(space, learn_from)
        self.categories: tuple[Parameter, ...] = tuple(p for p in space.parameters if p.kind == "categorical")
        #: Those chosen for a copy; the others are of the parent's architecture.
        self.chosen: tuple[Parameter, ...] = tuple(p for p in self.categories if p.role is None)
        self.seen = tuple(i for i, p in enumerate(space.parameters) if p.kind != "categorical")

    @property
    def kind(self) -> str:
        """It sees no categories."""
        return "GP of the numbers" if self.categories else super().kind

    def settle(self, parents: Sequence[Record], history: History, rng: np.random.Generator) -> list[Hyperparameters]:
        """Keep or draw each category."""
        return [{p.name: self._kept_or_drawn(p, parent, rng) for p in self.chosen} for parent in parents]

    def _kept_or_drawn(self, parameter: Parameter, parent: Record, rng: np.random.Generator) -> Value:
        drawn = parameter.choices[int(rng.integers(len(parameter.choices)))]
        keeps = rng.random() < 0.5
        return parent.hyperparameters.get(parameter.name, drawn) if keeps else drawn
