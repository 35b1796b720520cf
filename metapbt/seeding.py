"""Where every random draw of a run comes from.

A draw's state derives from (seed, generation, member, purpose) alone. So it depends neither on the order in which
members train nor on what was drawn before, and a run that was stopped goes on as if it had not been.
"""

from __future__ import annotations

import zlib

import numpy as np

_HALF_RANGE = 2**30


def generator(seed: int, generation: int, member: int, purpose: str) -> np.random.Generator:
    """Return the random generator for one purpose of one member in one generation.

    Draws that belong to the whole population use member -1; draws before the first generation, generation -1.
    """
    # SeedSequence takes non-negative words, hence the shift by one.
    words = [seed, generation + 1, member + 1, zlib.crc32(purpose.encode())]
    return np.random.default_rng(np.random.SeedSequence(words))


def training_seed(seed: int, generation: int, member: int) -> int:
    """The seed, below 2**30, from which a member's environments and network noise start in a generation."""
    return int(generator(seed, generation, member, "train").integers(_HALF_RANGE - 2**20))


def evaluation_seed(seed: int) -> int:
    """The seed of a run's evaluation episodes: fixed for all generations and members, and at least 2**30.

    Training seeds are below 2**30 (with room for the environments counted up from them), so training never sees
    an evaluation's episodes.
    """
    return _HALF_RANGE + int(generator(seed, -1, -1, "evaluate").integers(_HALF_RANGE - 2**20))
