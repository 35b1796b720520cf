"""Which configurations to try: the best together, those that fill the space, the best of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from metapbt.memory.encoder import Array


def best_together(draws: Array, count: int) -> list[int]:
    """Choose ``count`` points so that the best of them is as good as can be expected.

    Greedily: each is the one that raises the expected maximum most, which comes within 1 - 1/e of the best choice, for
    the expected maximum is submodular (Nemhauser et al., 1978). So points are promising, and unlike each other as
    far as it is uncertain which will be good. Of those that raise it alike, as where it is certain which is best, the
    one with the higher mean is taken.

    Args:
        draws: what functions drawn from the surrogate are at the points, ``draws x points``.
        count: how many; no more than there are.
    """
    best = np.full(len(draws), draws.min())
    means = draws.mean(axis=0)
    chosen: list[int] = []
    for _ in range(count):
        expected = np.maximum(draws, best[:, None]).mean(axis=0)
        expected[chosen] = -np.inf  # once is enough, even where nothing raises the maximum any more
        chosen.append(int(np.lexsort((means, expected))[-1]))
        best = np.maximum(best, draws[:, chosen[-1]])
    return chosen


def distinct(points: Array) -> NDArray[np.int_]:
    """Positions of those of the points (``n x width``) that are like none before them."""
    return np.sort(np.unique(points, axis=0, return_index=True)[1])


def filling(count: int, width: int, rng: np.random.Generator) -> Array:
    """Points that fill the unit cube evenly, ``count x width``: a scrambled Sobol sequence."""
    if not count:  # the engine cannot draw none
        return np.empty((0, width))
    sobol = torch.quasirandom.SobolEngine(width, scramble=True, seed=int(rng.integers(2**31)))
    return np.asarray(sobol.draw(count, dtype=torch.float64).numpy(), dtype=np.float64)


@dataclass(frozen=True)
class Bounds:
    """Where in the unit cube points may lie.

    Attributes:
        centre: ``width``; lies within.
        low: ``width``; what is fixed has the centre's coordinate.
        high: ``width``.
        categories: of each column of a category that may change, how many choices share it.
        changes: how many of these may differ from the centre's.
    """

    centre: Array
    low: Array
    high: Array
    categories: Mapping[int, int]
    changes: int

    def spread(self, points: Array, rng: np.random.Generator) -> Array:
        """Points that fill the cube, ``n x width``, made to fill what is allowed."""
        return self.kept(self.low + points * (self.high - self.low), rng)

    def kept(self, points: Array, rng: np.random.Generator) -> Array:
        """The nearest points that are allowed, ``n x width``; of too many changes, some at random are taken back."""
        within = np.clip(points, self.low, self.high)
        if self.changes < len(self.categories):
            columns, choices = np.array([*self.categories]), np.array([*self.categories.values()])
            codes, own = (np.minimum(x[..., columns] * choices // 1, choices - 1) for x in (within, self.centre))
            changed = codes != own
            order = np.argsort(np.argsort(np.where(changed, rng.random(changed.shape), np.inf), axis=1), axis=1)
            back = changed & (order >= self.changes)
            within[:, columns] = np.where(back, self.centre[columns], within[:, columns])
        return np.asarray(within)


def search(
    score: Callable[[Array], Array],
    width: int,
    hints: Array,
    rng: np.random.Generator,
    points: int = 256,
    bounds: Bounds | None = None,
) -> Array:
    """Find the point of the unit cube with the largest score, by evaluations alone.

    Args:
        score: of points ``n x width``, gives ``n``.
        width: of the cube.
        hints: points ``k x width`` worth looking at, beside those that fill the cube evenly.
        rng: draws the rest.
        points: how many fill the cube.
        bounds: where in the cube; None for anywhere.

    Returns:
        The point, shape ``width``.
    """
    found = filling(points, width, rng)
    if bounds is not None:
        found, hints = bounds.spread(found, rng), bounds.kept(hints, rng)
    found = np.concatenate([found, hints])
    values = score(found)
    for radius in (0.1, 0.04, 0.015):
        order = np.argsort(-values, kind="stable")
        order = order[distinct(found[order])[:4]]
        best = found[order]
        near = np.clip(best[:, None] + radius * rng.standard_normal((len(best), 32, width)), 0, 1).reshape(-1, width)
        near = near if bounds is None else bounds.kept(near, rng)
        found, values = np.concatenate([best, near]), np.concatenate([values[order], score(near)])
    return np.asarray(found[int(np.argmax(values))], dtype=np.float64)
