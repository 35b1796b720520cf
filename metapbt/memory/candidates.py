"""Which configurations to try: the best together, those that fill the space, the best of a search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from metapbt.memory.encoder import Array

LOOKED_AT = 64  # points near these, and as many near the parent's
NEAR = 0.2  # of the cube's edge: the deviation of points from what they are near to,
CLOSER = (0.1, 0.05)  # and where it looks good
ANEW = 0.25  # share of the choices that are drawn anew, as PBT resamples


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


def around(points: Array, radius: float, categories: Iterable[int], rng: np.random.Generator) -> Array:
    """Points near ``points``, one for each, ``n x width``.

    Numbers are normally distributed and mirrored at the bounds of the cube, so that no more of them lie there than did
    before. Choices of a category have no order: one in four is drawn anew.

    Args:
        points: ``n x width``.
        radius: the deviation of numbers, of the cube's edge.
        categories: columns of these, counted from 0.
        rng: draws the points.
    """
    near = 1 - np.abs(1 - np.abs(points + radius * rng.standard_normal(points.shape)))
    for column in categories:
        anew = rng.random(len(points)) < ANEW
        near[:, column] = np.where(anew, rng.random(len(points)), points[:, column])
    return np.asarray(near.clip(0, 1))


def search(
    score: Callable[[Array], Array],
    legal: Callable[[Array], Array],
    hints: Array,
    categories: Iterable[int],
    rng: np.random.Generator,
) -> Array:
    """Find the point with the largest score near what was trained with, by evaluations alone.

    Where a model knows little about hyperparameters, a confidence bound is largest in a corner of the cube, for that is
    where least is known; so nobody goes farther from what others trained with than a few steps at a time.

    Args:
        score: of points ``n x width``, gives ``n``.
        legal: the nearest points that may be chosen.
        hints: configurations that others trained with, ``k x width``; the last is the parent's, which counts as much as
            all of them together.
        categories: columns of these, counted from 0.
        rng: draws what is looked at.

    Returns:
        The point, shape ``width``.
    """
    others = hints[rng.integers(len(hints), size=LOOKED_AT)]
    near = around(np.concatenate([others, np.repeat(hints[-1:], LOOKED_AT, axis=0)]), NEAR, categories, rng)
    points = legal(np.concatenate([hints, near]))
    scores = score(points)
    for radius in CLOSER:
        best = points[np.argsort(-scores, kind="stable")[:4]]
        near = legal(around(np.repeat(best, 8, axis=0), radius, categories, rng))
        points, scores = np.concatenate([points, near]), np.concatenate([scores, score(near)])
    return np.asarray(points[int(np.argmax(scores))], dtype=np.float64)
