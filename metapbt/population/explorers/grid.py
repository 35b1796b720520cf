"""Grid search: the points of a regular grid, each trained to the end."""

from __future__ import annotations

import itertools
import math

import numpy as np

from metapbt.errors import MetapbtError
from metapbt.plain import identity
from metapbt.population.explorers.base import Explorer, Suggestion
from metapbt.space import Space

MOST_LEVELS = 1000
MOST_POINTS = 100_000


class GridExplorer(Explorer):
    """Every member keeps one point of the grid: ``levels`` values of each number, every choice of each category.

    The levels of a number lie evenly on its scale, its bounds included.
    """

    copies = False

    def __init__(self, space: Space, levels: int = 2) -> None:
        """Check the settings.

        Raises:
            MetapbtError: ``levels`` is below 2.
        """
        super().__init__(space)
        if not isinstance(levels, int) or not 2 <= levels <= MOST_LEVELS:
            raise MetapbtError(f"method.levels must be an integer from 2 to {MOST_LEVELS}, got {levels}")
        self.levels = levels

    def start(self, size: int, rng: np.random.Generator) -> list[Suggestion]:
        """Return the grid's points, in the order of the space's hyperparameters.

        Raises:
            MetapbtError: there are more or fewer points than members.
        """
        axes = [
            (np.arange(len(p.choices)) + 0.5) / len(p.choices) if p.choices else np.linspace(0.0, 1.0, self.levels)
            for p in self.space.parameters
        ]
        if math.prod(map(len, axes)) > MOST_POINTS:
            raise MetapbtError(f"the grid has {math.prod(map(len, axes))} points, more than {MOST_POINTS}")
        points = [self.space.from_unit(point) for point in itertools.product(*axes)]
        unlike = list({identity(point): point for point in points}.values())
        if len(unlike) != size:
            raise MetapbtError(
                f"the grid has {len(unlike)} points, so population.size must be {len(unlike)}, got {size}"
            )
        return [Suggestion(point, "grid") for point in unlike]
