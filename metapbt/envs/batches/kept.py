"""Batches kept in the midst of their episodes: who goes on with just these need not play them again."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b

import numpy as np

from metapbt.envs.batches.base import EnvBatch, Episodes

MOST = 16  # the members that a process trains in turn, of usual populations


class KeptBatches:
    """The last few batches by the episodes that they are in the midst of.

    Whether a batch is found here changes nothing but time: to be in the midst of episodes and to have played them again
    is the same, bit by bit.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, EnvBatch] = OrderedDict()

    def take(self, episodes: Episodes) -> EnvBatch | None:
        """The batch in the midst of these episodes, which is kept no longer; None where there is none."""
        return self._kept.pop(_key(episodes), None)

    def keep(self, batch: EnvBatch, episodes: Episodes) -> None:
        """Keep a batch in the midst of ``episodes``; the oldest of too many is closed."""
        self._kept[_key(episodes)] = batch
        while len(self._kept) > MOST:
            self._kept.popitem(last=False)[1].close()


def _key(episodes: Episodes) -> bytes:
    digest = blake2b(digest_size=16)
    for name in sorted(episodes):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(episodes[name]).tobytes())
    return digest.digest()
