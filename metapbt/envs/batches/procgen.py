"""Procgen through EnvPool, as a batch: the original's levels, rewards and ends.

A seed begins a sequence of levels, as in the original: the first episode's level, and those of all after it, are drawn
with it. So an episode cannot be begun in the midst of that sequence, nor go on in another process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.envs import make_context
from metapbt.envs.batches import ANEW
from metapbt.envs.batches.base import BatchStep, Episodes, Seeds
from metapbt.envs.procgen_game import ACTIONS, OBSERVATIONS, Pictures, check_installed, procgen_pool
from metapbt.errors import MetapbtError


class ProcgenBatch:
    """Steps one of Procgen's games in many environments, with one thread.

    Args:
        contexts: the changed features of each environment, which must be the same in all.

    Raises:
        MetapbtError: EnvPool or Qt is not installed, or a feature is illegal.
    """

    def __init__(self, contexts: Sequence[Mapping[str, Any]]) -> None:
        each = [make_context("procgen", context) for context in contexts]
        if any(context != each[0] for context in each):
            raise MetapbtError("a batch of env 'procgen' has one context for all of its environments")
        check_installed()
        self.num_envs = len(each)
        self.observation_space, self.action_space = OBSERVATIONS, ACTIONS
        self._context = each[0]
        self._pool: Any = None
        self._running: NDArray[np.int32] | None = None  # all of them, where None
        self._final = np.empty((self.num_envs, *OBSERVATIONS.shape), np.uint8)
        self._never = np.zeros(self.num_envs, np.bool_)

    def reset(self, seeds: Seeds, under_way: Episodes | None = None) -> Pictures:
        """Begin a sequence of levels in every environment, each from its own seed."""
        if under_way is not None:
            raise MetapbtError(f"env 'procgen' cannot go on with an episode: {ANEW['procgen']}")
        self.close()
        self._running = None
        self._pool = procgen_pool(self._context, [seeds(place, 0) for place in range(self.num_envs)])
        observations: Pictures = self._pool.reset()[0]
        return observations

    def step(self, actions: NDArray[Any]) -> BatchStep:
        """Step every environment once; of those that rest there are zeros."""
        if self._running is None:
            final, rewards, terminated, truncated, _ = self._pool.step(actions)
            ended = terminated | truncated
        else:
            final = np.zeros((self.num_envs, *OBSERVATIONS.shape), np.uint8)
            rewards, ended = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, np.bool_)
            if len(self._running):
                seen, reward, terminated, truncated, info = self._pool.step(actions[self._running], self._running)
                stepped = info["env_id"]
                final[stepped], rewards[stepped], ended[stepped] = seen, reward, terminated | truncated
        observations = final
        places = ended.nonzero()[0]
        if len(places):
            # EnvPool would spend the next step on it.
            first, info = self._pool.reset(places.astype(np.int32))
            self._final[places] = final[places]  # nobody asks for the others, and to copy all takes 3% of a step
            observations[info["env_id"]] = first
            final = self._final
        return BatchStep(observations, rewards, ended, self._never, final)

    def under_way(self) -> dict[str, NDArray[Any]]:
        """They cannot go on."""
        raise MetapbtError(f"env 'procgen' cannot go on with an episode: {ANEW['procgen']}")

    def rest(self, which: NDArray[np.bool_]) -> None:
        """Step these environments no more until the next reset."""
        running = ~which
        if self._running is not None:
            running &= np.isin(np.arange(self.num_envs), self._running)
        self._running = running.nonzero()[0].astype(np.int32)

    def close(self) -> None:
        """Let go of EnvPool's thread and environments."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
