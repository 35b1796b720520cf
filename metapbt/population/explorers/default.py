"""No tuning: the default hyperparameters for everyone, to the end."""

from __future__ import annotations

import numpy as np

from metapbt.population.explorers.base import Explorer, Suggestion


class DefaultExplorer(Explorer):
    """Every member trains with the space's defaults; members differ by their seeds only."""

    copies = False

    def start(self, size: int, rng: np.random.Generator) -> list[Suggestion]:
        """Return the defaults for everyone."""
        return [Suggestion(self.space.default(), "default") for _ in range(size)]
