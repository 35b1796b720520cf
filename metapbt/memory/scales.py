"""Two scales of rows: by what a run has seen itself, as PB2 has it, and by what the source contexts have seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from metapbt.memory.encoder import Array, Description, Samples

STEEPEST = 300.0  # of a logarithm: numbers end soon beyond its exponential
TAIL = 0.05  # share of the returns beyond which, on either side, they count by their logarithm
SMALLEST = 1e-100  # range of returns
FAR = 30.0  # ten times the longest lengthscale that is fitted


@dataclass(frozen=True)
class HistoryScale:
    """PB2's: time in generations, the return before an interval from 0 to 1 over the run; changes are slopes.

    Attributes:
        low: the lowest return before an interval.
        span: how far the highest is above it.
    """

    low: float
    span: float

    @classmethod
    def of(cls, returns_before: Array) -> HistoryScale:
        """That of a run with at least one interval."""
        return cls(float(returns_before.min()), max(float(np.ptp(returns_before)), SMALLEST))

    def start(self, generations: Any, env_steps: Any, returns: Any) -> Array:
        """Generation and return: ``... x 2``."""
        return np.stack([np.asarray(generations, dtype=np.float64), self.scaled(returns)], axis=-1)

    def scaled(self, returns: Any) -> Array:
        """Returns on this scale. What is ``FAR`` beyond the run's is as unlike them as can be, and stays a number that
        distances can be computed with."""
        u = (np.asarray(returns, dtype=np.float64) - self.low) / self.span
        return np.asarray(np.clip(u, -FAR, 1 + FAR))

    def context(self, description: Description) -> list[float]:
        """No columns: a run is on one context."""
        return []

    def changes(self, samples: Samples) -> Array:
        """Slopes, ``n``."""
        return samples.slopes


@dataclass(frozen=True)
class SourceScale:
    """Memory's: times, returns and descriptions become numbers of about unit size, comparable over contexts.

    The range that most returns of the sources lie in (the 5% to the 95% quantile, every context weighing the same)
    becomes 0 to 1. Beyond it a return counts by its logarithm, continued smoothly: a crash to -600 is bad, but not
    worth ten good intervals. All contexts share this range, since the target's own cannot be known at its start: a
    context where learning is slow looks slow, and what was reached elsewhere may be reached here.

    Attributes:
        low: the return that becomes 0.
        span: how many units of return become 1.
        longest: environment steps that become time 1; later is 1 too.
        interval: environment steps of a usual interval.
        unit: deviation of the scaled change over a usual interval.
        untrained: the scaled return of an untrained agent.
        features: of each number that differs between the sources' descriptions: name, mean and deviation over them.
    """

    low: float = 0.0
    span: float = 1.0
    longest: float = 1.0
    interval: float = 1.0
    unit: float = 1.0
    untrained: float = 0.0
    features: tuple[tuple[str, float, float], ...] = ()

    @classmethod
    def of(cls, samples: Samples, descriptions: Sequence[Description], outcomes: Samples | None = None) -> SourceScale:
        """That of sources with at least one sample.

        The target has no part in it, so that targets with the same sources share one trained model.

        Args:
            samples: of all sources.
            descriptions: of the contexts, as the samples count them; those without a sample have no part.
            outcomes: the samples with the changes that the unit is of, where these are others.
        """
        weights = 1 / np.bincount(samples.contexts)[samples.contexts]
        low, high = _quantiles(samples.returns_after, weights, (TAIL, 1 - TAIL))
        plain = cls(
            low,
            (high - low) or 1.0,
            float((samples.steps_before + samples.steps).max()),
            float(np.median(samples.steps)),
        )
        starts = plain.scaled(samples.returns_before[samples.steps_before == 0])
        return replace(
            plain,
            unit=float(plain.changes(samples if outcomes is None else outcomes).std()) or 1.0,
            untrained=float(np.median(starts)) if len(starts) else 0.0,
            features=_varying([descriptions[context] for context in np.unique(samples.contexts)]),
        )

    def scaled(self, returns: Any) -> Array:
        """Returns on this scale."""
        u = (np.asarray(returns, dtype=np.float64) - self.low) / self.span
        below, above = np.minimum(u, 0.0), np.maximum(u - 1, 0.0)
        return np.asarray(np.clip(u, 0.0, 1.0) - np.log1p(-below) + np.log1p(above), dtype=np.float64)

    def unscaled(self, scaled: Any) -> Array:
        """The returns that ``scaled`` takes to these numbers."""
        u = np.asarray(scaled, dtype=np.float64)
        below, above = np.clip(u, -STEEPEST, 0.0), np.clip(u - 1, 0.0, STEEPEST)
        return np.asarray(self.low + self.span * (np.clip(u, 0.0, 1.0) - np.expm1(-below) + np.expm1(above)))

    def steepness(self, returns: Any) -> Array:
        """The derivative of ``scaled``."""
        u = (np.asarray(returns, dtype=np.float64) - self.low) / self.span
        return np.asarray(1 / self.span / (1 + np.maximum(np.maximum(-u, u - 1), 0.0)))

    def slope(self, value: float) -> float:
        """The change of return for each environment step that a change of 1 on this scale is, at a return."""
        return float(self.unit / self.interval / self.steepness(value))

    def start(self, generations: Any, env_steps: Any, returns: Any) -> Array:
        """Time and scaled return: ``... x 2``."""
        time = np.minimum(np.asarray(env_steps, dtype=np.float64) / self.longest, 1.0)
        return np.stack([time, self.scaled(returns)], axis=-1)

    def context(self, description: Description) -> list[float]:
        """What differs between the sources, standardised."""
        return [(description[name] - mean) / deviation for name, mean, deviation in self.features]

    def changes(self, samples: Samples) -> Array:
        """Changes of the scaled return for a usual interval, with unit deviation over the sources, ``n``."""
        difference = self.scaled(samples.returns_after) - self.scaled(samples.returns_before)
        return np.asarray(difference * self.interval / samples.steps / self.unit)


def _quantiles(values: Array, weights: Array, shares: Sequence[float]) -> list[float]:
    order = np.argsort(values, kind="stable")
    cumulated = np.cumsum(weights[order])
    places = np.searchsorted(cumulated, np.array(shares) * cumulated[-1])
    return [float(values[order][min(place, len(values) - 1)]) for place in places]


def _varying(descriptions: Sequence[Description]) -> tuple[tuple[str, float, float], ...]:
    values = {name: np.array([each[name] for each in descriptions]) for name in descriptions[0]}
    return tuple((name, float(v.mean()), float(v.std())) for name, v in values.items() if differ(v.min(), v.max()))


def differ(one: float, other: float) -> bool:
    """Whether two numbers of contexts differ by more than the last bits, of which a sum that is 0 may have some."""
    return not math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-15)
