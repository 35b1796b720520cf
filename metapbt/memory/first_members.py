"""The first generation: members that memory finds promising."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from metapbt.memory.candidates import CLOSER, NEAR, around, best_together, distinct, filling
from metapbt.memory.encoder import Array
from metapbt.memory.experts import Ensemble
from metapbt.memory.lookahead import KEPT
from metapbt.memory.points import legal_points
from metapbt.space import Space

FILL = 256  # configurations, at least, of which the first generation is chosen
DRAWS = 256  # of functions, by which the first generation is judged


#: What configurations ``n x d`` are forecast to bring if the coming change comes out by so much higher than forecast,
#: both in units of the ensemble's changes: ``n``.
Worth = Callable[[Array, float], Array]


def promising(
    space: Space,
    worth: Worth,
    ensemble: Ensemble,
    noise: float,
    inputs: Callable[[Array], Array],
    hints: Array,
    count: int,
    rng: np.random.Generator,
) -> Array:
    """The legal points, ``count x d``, of which the best is expected to be worth most; some again if there are no more.

    What is uncertain are changes, and they count by what they are worth: where all catch up, little.

    Args:
        space: of the configurations.
        worth: what they are forecast to bring.
        ensemble: knows the sources' rows.
        noise: variance of a change.
        inputs: of the ensemble, for configurations.
        hints: configurations ``k x d`` that others trained with, near which it looks; without any, anywhere.
        count: how many.
        rng: draws what else is looked at, and functions.
    """
    width, looked_at = len(space), max(FILL, 4 * count)
    if len(hints):
        found = around(hints[rng.integers(len(hints), size=looked_at)], NEAR, space.categories, rng)
    else:
        found = filling(looked_at, width, rng)
    points = legal_points(np.concatenate([hints, found]), space)
    for radius in CLOSER:
        best = points[np.argsort(-worth(points, 0.0), kind="stable")[:8]]
        near = around(np.repeat(best, 8, axis=0), radius, space.categories, rng)
        points = np.concatenate([points, legal_points(near, space)])
        points = points[distinct(points)]
    x = inputs(points)
    wrong = ensemble.draws(x, DRAWS, rng) - ensemble.moments(x)[0]
    # What a member reaches is noisy as well, the less the longer it lasts: two in a good region are more than one.
    wrong += math.sqrt(noise / KEPT) * rng.standard_normal(wrong.shape)
    slope = (worth(points, 1.0) - worth(points, -1.0)) / 2
    chosen = points[best_together(worth(points, 0.0) + slope * wrong, min(count, len(points)))]
    return np.resize(chosen, (count, width))


def unlike(space: Space, points: Array, count: int, rng: np.random.Generator) -> Array:
    """Legal points that fill the space evenly and are none of ``points``, ``count x d``; some again if need be.

    Args:
        space: of the configurations.
        points: in the unit cube, legal, ``n x d``.
        count: how many.
        rng: draws the sequence.
    """
    drawn = filling(max(FILL, 4 * count), len(space), rng)
    found = np.concatenate([points, [space.to_unit(space.spread(point)) for point in drawn]])
    others = found[[place for place in distinct(found) if place >= len(points)]]
    return np.resize(others if len(others) else points, (count, len(space)))
