"""Running normalisation inside compiled code: ``normalise``'s formulas as pure functions, in single precision."""

from __future__ import annotations

from typing import Any, NamedTuple

from metapbt.jax_backend import jnp
from metapbt.learners.normalise import EPSILON, LARGEST

Array = Any


class Moments(NamedTuple):
    """Mean and variance, (*shape), of all that was seen so far, and how many were."""

    mean: Array
    variance: Array
    count: Array


def seen(moments: Moments, batch: Array) -> Moments:
    """The moments after a batch, (batch, *shape), too (Chan et al. 1979)."""
    total = moments.count + len(batch)
    before, new = moments.count / total, len(batch) / total  # shares; not one from the other, which would cancel
    difference = batch.mean(axis=0) - moments.mean
    variance = moments.variance * before + batch.var(axis=0) * new + difference**2 * (before * new)
    return Moments(moments.mean + difference * new, variance, total)


def deviation(moments: Moments) -> Array:
    """What to divide by."""
    return jnp.sqrt(moments.variance + EPSILON)


def normalised(moments: Moments, batch: Array) -> Array:
    """A batch centred, scaled and clipped."""
    return jnp.clip((batch - moments.mean) / deviation(moments), -LARGEST, LARGEST)
