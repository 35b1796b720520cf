"""Which architectures did well in related contexts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metapbt.memory.encoder import Array, Samples


def ranked_networks(samples: Samples, columns: Sequence[int]) -> Array:
    """The architectures that the sources tried, ``k x columns``, the most promising first.

    In each context an architecture is worth its rank by the best return that it reached there, from 0 to 1; returns of
    several contexts cannot be compared otherwise. Over contexts it is worth the mean of its ranks, with one rank of a
    half added: what did best in several contexts comes before what did best in one.

    Args:
        samples: of all sources.
        columns: of their points, those that are the architecture.
    """
    networks, which = np.unique(samples.points[:, list(columns)], axis=0, return_inverse=True)
    which = which.reshape(-1)
    total, count = np.full(len(networks), 0.5), np.ones(len(networks))
    for context in np.unique(samples.contexts):
        own = samples.contexts == context
        best = np.full(len(networks), -np.inf)
        np.maximum.at(best, which[own], samples.returns_after[own])
        there = np.flatnonzero(np.isfinite(best))
        ranks = np.argsort(np.argsort(best[there], kind="stable"), kind="stable")
        total[there] += (ranks + 0.5) / len(there)
        count[there] += 1
    return np.asarray(networks[np.argsort(-total / count, kind="stable")])
