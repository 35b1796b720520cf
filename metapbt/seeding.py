"""Where every random draw of a run comes from.

A draw's state derives from (seed, generation, member, purpose) alone, where a population's seed is of the run and its
context. So it depends neither on the order in which members train nor on what was drawn before, and a run that was
stopped goes on as if it had not been.
"""

from __future__ import annotations

import zlib

import numpy as np

# Where episodes' seeds lie, so that training, validation and test never share one.
_VALIDATION, _TEST, _END = 2**30, 3 * 2**29, 2**31
_EPISODES = 2**20  # room for as many to be counted up from the first
_MASK = 2**64 - 1


def generator(seed: int, generation: int, member: int, purpose: str) -> np.random.Generator:
    """Return the random generator for one purpose of one member in one generation.

    Draws that belong to the whole population use member -1; draws before the first generation, generation -1.
    """
    # SeedSequence takes non-negative words, hence the shift by one.
    words = [seed, generation + 1, member + 1, zlib.crc32(purpose.encode())]
    return np.random.default_rng(np.random.SeedSequence(words))


def population_seed(seed: int, context: str) -> int:
    """The seed of all that a run's population draws: first members, who copies whom, where hyperparameters move to.

    Each context has its own, which all methods there share; the usual one's is the run's. With one seed for all
    contexts first members would be the same on each of them: their luck would be no matter of chance over contexts, and
    a memory of many contexts would know but a handful of first members.

    Args:
        seed: of the run.
        context: its label; the usual context's is ``default``.
    """
    if context == "default":
        return seed
    return int(generator(seed, -1, -1, f"population on {context}").integers(2**31))


def training_seed(seed: int, generation: int, member: int) -> int:
    """The seed, below 2**30, of everything random in the interval of a member in a generation."""
    return int(generator(seed, generation, member, "train").integers(_VALIDATION))


def episode_seed(seed: int, place: int, count: int) -> int:
    """The seed, below 2**30, of an episode of training.

    A few multiplications (Steele et al., 2014, "Fast splittable pseudorandom number generators"): some environments
    end an episode in every other step.

    Args:
        seed: of the interval in which the episode begins.
        place: of its environment among those stepped together.
        count: of the episodes that began there in the interval before it.
    """
    word = _mixed(_mixed(seed + 0x9E3779B97F4A7C15) + (place << 32) + count)
    return word >> 34


def evaluation_seed(seed: int) -> int:
    """The seed of a run's first validation episode, the others counted up from it: in [2**30, 3 * 2**29).

    Fixed for all generations and members.
    """
    return _VALIDATION + int(generator(seed, -1, -1, "evaluate").integers(_TEST - _VALIDATION - _EPISODES))


def test_seed(seed: int) -> int:
    """The seed of a run's first test episode, the others counted up from it: in [3 * 2**29, 2**31)."""
    return _TEST + int(generator(seed, -1, -1, "test").integers(_END - _TEST - _EPISODES))


def _mixed(word: int) -> int:
    """SplitMix64's finaliser."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
