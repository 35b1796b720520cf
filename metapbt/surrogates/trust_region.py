"""The trust region: how large it is after what happened, and where it lies around a centre."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """When a trust region grows, shrinks and starts anew.

    Source: TuRBO (Eriksson et al., 2019) and, for categories, Casmopolitan (Wan et al., 2021).

    Attributes:
        length: where its edge begins, in the unit cube.
        longest: what its edge never exceeds.
        shortest: what its edge never falls below; once it is there, the region starts anew.
        categorical: where the share of categories that may differ from the centre's begins, in [0, 1].
        categorical_shortest: what this share never falls below; it never exceeds 1.
        factor: by which both are multiplied after successes, and divided after failures; > 1.
        successes: so many in a row, and it grows.
        failures: so many in a row, and it shrinks.
    """

    length: float = 0.4
    longest: float = 1.0
    shortest: float = 0.15
    categorical: float = 1.0
    categorical_shortest: float = 0.1
    factor: float = 1.5
    successes: int = 3
    failures: int = 10

    def begin(self) -> TrustRegion:
        """The region before anything was tried in it."""
        return TrustRegion(self.length, self.categorical)

    def after(self, region: TrustRegion, success: bool) -> TrustRegion:
        """The region after a generation in which it made a suggestion.

        Args:
            region: as it was.
            success: whether what it suggested was the best of the generation.
        """
        if success:
            counted = replace(region, successes=region.successes + 1, failures=0)
            if counted.successes < self.successes:
                return counted
            length = min(region.length * self.factor, self.longest)
            return TrustRegion(length, min(region.categorical * self.factor, 1.0))
        counted = replace(region, failures=region.failures + 1, successes=0)
        if counted.failures < self.failures:
            return counted
        length = max(region.length / self.factor, self.shortest)
        return TrustRegion(length, max(region.categorical / self.factor, self.categorical_shortest))

    def exhausted(self, region: TrustRegion) -> bool:
        """Whether the region has become so small that it is to start anew, elsewhere."""
        return region.length <= self.shortest


@dataclass(frozen=True)
class TrustRegion:
    """How far from its centre a suggestion may be.

    Attributes:
        length: of its edge, in the unit cube.
        categorical: the share of categories that may differ from the centre's.
        successes: in a row, since it changed.
        failures: in a row, since it changed.
    """

    length: float
    categorical: float
    successes: int = 0
    failures: int = 0

    def box(self, centre: Array, lengthscales: Array) -> Array:
        r"""Where the numbers of a suggestion may lie: ``2 x d``.

        $$x_i \pm \frac{L}{2} \frac{\ell_i}{(\prod_j \ell_j)^{1/d}}, \text{ within } [0, 1]$$

        Args:
            centre: shape ``d``, in the unit cube.
            lengthscales: shape ``d``, or one for all numbers; their region is a cube then.
        """
        if not len(centre):
            return np.empty((2, 0))
        weights = lengthscales / np.exp(np.mean(np.log(lengthscales)))
        reach = np.broadcast_to(weights * self.length / 2, centre.shape)
        return np.clip(np.stack([centre - reach, centre + reach]), 0.0, 1.0)

    def changeable(self, categories: int) -> int:
        """How many of so many categories may differ from the centre's: one at least, where there is one.

        The published code computes this bound and never enforces it.
        """
        return min(categories, max(1, math.floor(self.categorical * categories + 1e-9)))
