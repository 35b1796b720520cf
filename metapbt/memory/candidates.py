"""Which configurations to try: the best together, those that fill the space, the best of a search."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from metapbt.memory.encoder import Array


def best_together(draws: Array, given: Sequence[int], count: int) -> list[int]:
    """Choose ``count`` points so that the best of them is as good as can be expected.

    Greedily: each is the one that raises the expected maximum most, which comes within 1 - 1/e of the best choice, for
    the expected maximum is submodular (Nemhauser et al., 1978). So points are promising, and unlike each other as
    far as it is uncertain which will be good.

    Args:
        draws: what functions drawn from the surrogate are at the points, ``draws x points``.
        given: points that are chosen already.
        count: how many more; no more than there are.
    """
    best = draws[:, list(given)].max(axis=1) if given else np.full(len(draws), draws.min())
    chosen: list[int] = []
    for _ in range(count):
        expected = np.maximum(draws, best[:, None]).mean(axis=0)
        expected[[*given, *chosen]] = -np.inf  # once is enough, even where nothing raises the maximum any more
        chosen.append(int(np.argmax(expected)))
        best = np.maximum(best, draws[:, chosen[-1]])
    return chosen


def filling(count: int, width: int, rng: np.random.Generator) -> Array:
    """Points that fill the unit cube evenly, ``count x width``: a scrambled Sobol sequence."""
    sobol = torch.quasirandom.SobolEngine(width, scramble=True, seed=int(rng.integers(2**31)))
    return np.asarray(sobol.draw(count, dtype=torch.float64).numpy(), dtype=np.float64)


def search(
    score: Callable[[Array], Array], width: int, hints: Array, rng: np.random.Generator, points: int = 512
) -> Array:
    """Find the point of the unit cube with the largest score, by evaluations alone.

    Args:
        score: of points ``n x width``, gives ``n``.
        width: of the cube.
        hints: points ``k x width`` worth looking at, beside those that fill the cube evenly.
        rng: draws the rest.
        points: how many fill the cube.

    Returns:
        The point, shape ``width``.
    """
    found = np.concatenate([filling(points, width, rng), hints])
    values = score(found)
    for radius in (0.1, 0.04, 0.015):
        order = np.argsort(-values, kind="stable")[:4]
        best = found[order]
        near = np.clip(best[:, None] + radius * rng.standard_normal((len(best), 32, width)), 0, 1).reshape(-1, width)
        found, values = np.concatenate([best, near]), np.concatenate([values[order], score(near)])
    return np.asarray(found[int(np.argmax(values))], dtype=np.float64)
