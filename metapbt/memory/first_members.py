"""The first generation: members that memory finds promising."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from metapbt.memory.candidates import best_together, distinct, filling
from metapbt.memory.encoder import Array, Encoder
from metapbt.memory.experts import Ensemble
from metapbt.memory.scales import SourceScale

FILL = 256  # configurations, at least, that fill the space and of which the first generation is chosen
LASTING = 3  # intervals for which first members keep what they begin with, more or less
DRAWS = 256  # of functions, by which the first generation is judged


#: What configurations ``n x d`` are forecast to bring if each of their changes comes out by so much higher than
#: forecast, both in units of the ensemble's changes: ``n``.
Worth = Callable[[Array, float], Array]


def added_up(
    ensemble: Ensemble, encoder: Encoder, scale: SourceScale, given: Array, points: Array, higher: float
) -> Array:
    """The mean gain over ``LASTING`` intervals with each of ``points``, in units of the ensemble's changes: ``n``.

    Args:
        ensemble: asked for changes.
        encoder: of its columns.
        scale: of these.
        given: the columns of the first interval that are not to be chosen.
        points: configurations in the unit cube, ``n x d``.
        higher: by how much every change comes out higher than forecast, in the ensemble's units.
    """
    x = np.concatenate([np.tile(given, (len(points), 1)), encoder.own(points, points)], axis=1)
    total = np.zeros(len(points))
    for left in range(LASTING, 0, -1):
        gain = ensemble.moments(x)[0] + higher
        total += left * gain
        x[:, 0] = np.minimum(x[:, 0] + scale.interval / scale.longest, 1.0)
        x[:, 1] += gain * scale.unit
    return total / LASTING


def promising(
    worth: Worth,
    ensemble: Ensemble,
    noise: float,
    inputs: Callable[[Array], Array],
    hints: Array,
    count: int,
    rng: np.random.Generator,
) -> Array:
    """The points, ``count x d``, of which the best is expected to be worth most.

    What is uncertain is the coming change, and it counts by what it is worth: where all catch up, little.

    Args:
        worth: what they are forecast to bring.
        ensemble: knows the sources' rows.
        noise: variance of a change.
        inputs: of the ensemble, for configurations.
        hints: points ``k x d`` worth looking at.
        count: how many.
        rng: draws what else is looked at, and functions.
    """
    width = hints.shape[1]
    points = np.concatenate([hints, filling(max(FILL, 4 * count), width, rng)])
    for radius in (0.1, 0.05):  # closer, where it looks good
        best = points[np.argsort(-worth(points, 0.0), kind="stable")[:8]]
        near = np.clip(best[:, None] + radius * rng.standard_normal((len(best), 8, width)), 0, 1)
        points = np.concatenate([points, near.reshape(-1, width)])
        points = points[distinct(points)]
    x = inputs(points)
    wrong = ensemble.draws(x, DRAWS, rng) - ensemble.moments(x)[0]
    # What a member reaches is noisy as well, the less the longer it lasts: two in a good region are more than one.
    wrong += math.sqrt(noise / LASTING) * rng.standard_normal(wrong.shape)
    slope = (worth(points, 1.0) - worth(points, -1.0)) / 2
    return points[best_together(worth(points, 0.0) + slope * wrong, (), count)]
