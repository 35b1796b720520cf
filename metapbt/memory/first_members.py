"""The first generation: members that memory finds promising."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from metapbt.memory.candidates import best_together, distinct, filling
from metapbt.memory.encoder import Array, Encoder
from metapbt.memory.experts import Ensemble
from metapbt.memory.points import legal_points
from metapbt.memory.scales import SourceScale
from metapbt.space import Space

FILL = 256  # configurations, at least, that fill the space and of which the first generation is chosen
LASTING = 3  # intervals for which first members keep what they begin with, more or less
DRAWS = 256  # of functions, by which the first generation is judged


#: What configurations ``n x d`` are forecast to bring if the changes that their errors are about come out by so much
#: higher than forecast, both in units of the ensemble's changes: ``n``. That is the coming change where memory looks
#: ahead, as all that comes later follows from it, and each of the changes that are added up.
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
        hints: points ``k x d`` worth looking at.
        count: how many.
        rng: draws what else is looked at, and functions.
    """
    width = len(space)
    points = legal_points(np.concatenate([hints, filling(max(FILL, 4 * count), width, rng)]), space)
    for radius in (0.1, 0.05):  # closer, where it looks good
        best = points[np.argsort(-worth(points, 0.0), kind="stable")[:8]]
        near = np.clip(best[:, None] + radius * rng.standard_normal((len(best), 8, width)), 0, 1)
        points = np.concatenate([points, legal_points(near.reshape(-1, width), space)])
        points = points[distinct(points)]
    x = inputs(points)
    wrong = ensemble.draws(x, DRAWS, rng) - ensemble.moments(x)[0]
    # What a member reaches is noisy as well, the less the longer it lasts: two in a good region are more than one.
    wrong += math.sqrt(noise / LASTING) * rng.standard_normal(wrong.shape)
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
