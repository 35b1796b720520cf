"""PB2-Rand: categories at random, numbers by the Gaussian process."""

from __future__ import annotations

import numpy as np

from metapbt.history import History
from metapbt.population.explorers.pb2 import PB2Explorer
from metapbt.space import Hyperparameters, Parameter, Space


class PB2RandExplorer(PB2Explorer):
    """PB2 as it treats categories by itself (Parker-Holder et al., 2021, section 4): drawn at random for each copy.

    The GP sees the numbers alone.
    """

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self.categories: tuple[Parameter, ...] = tuple(p for p in space.parameters if p.kind == "categorical")
        self.free = tuple(i for i, p in enumerate(space.parameters) if p.kind != "categorical")

    def settle(self, count: int, history: History, rng: np.random.Generator) -> list[Hyperparameters]:
        """Draw every category anew."""
        return [{p.name: p.choices[int(rng.integers(len(p.choices)))] for p in self.categories} for _ in range(count)]
