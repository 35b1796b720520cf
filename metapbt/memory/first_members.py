"""The first generation: members that memory finds promising, and a hedge in case it misleads."""

from __future__ import annotations

import math

import numpy as np

from metapbt.memory.candidates import best_together, filling
from metapbt.memory.encoder import Array, Rows
from metapbt.memory.experts import Ensemble
from metapbt.memory.model import MetaModel
from metapbt.memory.scales import SourceScale

FILL = 256  # configurations, at least, that fill the space and of which the first generation is chosen
UNLIKE = (0.0, 0.5)  # how alike sources and target are where memory misleads
DRAWS = 256  # of functions, by which the first generation is judged


def added_up(ensemble: Ensemble, scale: SourceScale, given: Array, points: Array, horizon: int, beta: float) -> Array:
    """The return, added up over ``horizon`` intervals, that each of ``points`` brings: ``n``.

    Forecast optimistically: each interval changes the return by its upper confidence bound.

    Args:
        ensemble: asked for changes.
        scale: of its columns.
        given: the columns of the first interval that are not to be chosen.
        points: configurations in the unit cube, ``n x d``.
        horizon: at least 1.
        beta: the variance's weight in the bound.
    """
    x = np.concatenate([np.tile(given, (len(points), 1)), points], axis=1)
    total = np.zeros(len(points))
    for left in range(horizon, 0, -1):
        mean, variance = ensemble.moments(x)
        gain = mean + math.sqrt(beta) * np.sqrt(variance)
        total += left * gain
        x[:, 0] = np.minimum(x[:, 0] + scale.interval / scale.longest, 1.0)
        x[:, 1] += gain * scale.unit
    return total


def promising(
    ensemble: Ensemble,
    model: MetaModel,
    scale: SourceScale,
    given: Array,
    hints: Array,
    horizon: int,
    count: int,
    rng: np.random.Generator,
) -> Array:
    """The points, ``count x d``, with the best expected best member over ``horizon`` intervals.

    Args:
        ensemble: knows the sources' rows.
        model: says how noisy changes are.
        scale: of their columns.
        given: the columns of a first interval that are not to be chosen.
        hints: points ``k x d`` worth looking at.
        horizon: at least 1.
        count: how many.
        rng: draws what else is looked at, and functions.
    """
    width = hints.shape[1]
    points = np.concatenate([hints, filling(max(FILL, 4 * count), width, rng)])
    for radius in (0.1, 0.05):  # closer, where it looks good
        values = added_up(ensemble, scale, given, points, horizon, 0.0)
        best = points[np.argsort(-values, kind="stable")[:8]]
        near = np.clip(best[:, None] + radius * rng.standard_normal((len(best), 8, width)), 0, 1)
        points = np.concatenate([points, near.reshape(-1, width)])
    forecast = added_up(ensemble, scale, given, points, horizon, 0.0)
    x = np.concatenate([np.tile(given, (len(points), 1)), points], axis=1)
    first = ensemble.draws(x, DRAWS, rng)
    draws = forecast + (first - ensemble.moments(x)[0]) * horizon * (horizon + 1) / 2
    # What a member reaches is noisy as well: two in a good region are more than one.
    noise = math.sqrt(float(model.noise(given[None])[0]) * sum(left**2 for left in range(1, horizon + 1)))
    draws = draws + noise * rng.standard_normal(draws.shape)
    return points[best_together(draws, (), count)]


def hedge(model: MetaModel, source: Rows, given: Array, points: Array, count: int, rng: np.random.Generator) -> Array:
    """A hedge in case memory misleads: members, ``count x d``, that are to be good then.

    Its own ``points`` have disappointed then, and sources and target are little alike or not at all.
    """
    places = np.concatenate([points, filling(max(FILL, 4 * count), points.shape[1], rng)])
    x = np.concatenate([np.tile(given, (len(places), 1)), places], axis=1)
    same = np.zeros(len(points), dtype=int)
    disappointing = Rows(x[: len(points)], np.full(len(points), -1.0), same, same)
    experts = [model.expert(source, disappointing, relatedness) for relatedness in UNLIKE]
    draws = Ensemble(tuple(experts)).draws(x, DRAWS, rng)
    return places[best_together(draws, range(len(points)), count)]
