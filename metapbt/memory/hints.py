"""What good members of the sources trained with at a stage like a given one."""

from __future__ import annotations

import numpy as np

from metapbt.memory.encoder import Array
from metapbt.memory.nearest import Nearest

HINTS = 32  # configurations, at most
SHARE = 1 / 4  # of the rows, that are of a stage
FEWEST, MOST = 128, 1200  # of these; to look through more takes longer than a decision may


class Hints:
    """Configurations of which much came elsewhere, at a stage like the one that is asked about.

    Of those that the nearest rows trained with they have the highest merits (`Tasks.merits`), in the mean over these
    rows: an agent that went on from a good interval counts, not the interval's own change of return, which is noisy.
    """

    def __init__(self, nearest: Nearest, points: Array, merits: Array) -> None:
        """Take the sources' rows.

        Args:
            nearest: finds those of a stage.
            points: the configurations of the rows, ``n x width``.
            merits: of the rows, ``n``.
        """
        self._nearest, self._points, self._merits = nearest, points, merits

    def __call__(self, given: Array) -> Array:
        """At these columns (``g``): configurations ``k x width``, each once, those with the highest merits first."""
        near = self._nearest(given[None], int(np.clip(SHARE * len(self._points), FEWEST, MOST)))
        points, which = np.unique(self._points[near], axis=0, return_inverse=True)
        merits = np.bincount(which.ravel(), self._merits[near]) / np.bincount(which.ravel())
        return np.asarray(points[np.argsort(-merits, kind="stable")[:HINTS]])
