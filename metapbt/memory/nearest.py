"""Which of many rows can matter to a decision: those nearest to it in what is given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from metapbt.memory.encoder import Array

SOURCE_ROWS = 600  # of the sources, that a forecast is conditioned on: of fewer, too few are of any one stage


class Nearest:
    """Finds the rows nearest to any of several places, each column weighing as much as a kernel says.

    With the first columns given, a row's covariance is bounded by its distance there.
    """

    def __init__(self, inputs: Array, relevance: Array) -> None:
        """Sort the rows.

        Args:
            inputs: ``n x d``, of which the first ``g`` columns count.
            relevance: inverse lengthscales of these, ``g``.
        """
        self._relevance = relevance
        self._count = len(inputs)
        self._tree = cKDTree(inputs[:, : len(relevance)] * relevance)

    def __call__(self, anchors: Array, count: int) -> NDArray[np.int_]:
        """Positions of the ``count`` rows, or of all, that are nearest to any of ``anchors`` (``k x g``), in order."""
        if count >= self._count:
            return np.arange(self._count)
        # Whoever is among the nearest to any anchor is among the nearest to its own.
        gaps, places = self._tree.query(anchors * self._relevance, k=count)
        order = np.argsort(gaps, axis=None, kind="stable")
        found, first = np.unique(np.ravel(places)[order], return_index=True)
        return np.asarray(np.sort(found[np.argsort(first)[:count]]))
