"""How learners that act in batches of environments evaluate their agents, and let them act for people."""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs.batches import EnvBatch, Observations
from metapbt.learners.intervals import environment_actions
from metapbt.learners.observed import in_a_batch

if TYPE_CHECKING:
    from metapbt.learners.portable import Portable

#: Episodes that are stepped side by side: more would take memory and save no time.
EVALUATED_TOGETHER = 32

#: Seeds are those of episodes as well, whose own draws actions must not repeat.
_ACTIONS = zlib.crc32(b"actions")


class BatchPolicy(ABC):
    """A trained agent that acts for many observations at once.

    Args:
        observation_space: of the environment's observations.
        space: of its actions.
    """

    def __init__(self, observation_space: spaces.Box, space: spaces.Discrete | spaces.Box) -> None:
        self.observation_space, self.space = observation_space, space
        self._to_env = environment_actions(space)

    @abstractmethod
    def outputs(self, observations: Observations, rngs: Sequence[np.random.Generator] | None) -> NDArray[Any]:
        """The network's actions for observations (batch, *observation): (batch,) integers from 0, or (batch, outputs).

        Args:
            observations: as environments give them.
            rngs: one for each observation, that draws its action; None for the most likely ones.
        """

    def actions(self, observations: Observations, rngs: Sequence[np.random.Generator] | None = None) -> NDArray[Any]:
        """The same as the environment takes them: (batch,) integers, or (batch, *shape) in the box."""
        actions: NDArray[Any] = self._to_env(self.outputs(observations, rngs))
        return actions

    def act(self, observation: Any, rng: np.random.Generator | None = None) -> NDArray[Any] | int:
        """The most likely action, or one drawn by ``rng``; see ``metapbt.learners.base.Policy``."""
        batch, alone = in_a_batch(self.observation_space, observation)
        actions = self.actions(batch, None if rng is None else [rng] * len(batch))
        if not alone:
            return actions
        return actions[0] if actions.ndim > 1 else int(actions[0])

    @abstractmethod
    def portable(self) -> Portable:
        """The agent as one PyTorch module."""


def mean_return(
    make: Callable[[int], EnvBatch], policy: BatchPolicy, seed: int, episodes: int, sampled: bool = False
) -> float:
    """The mean return of episodes; NaN of none. How many are stepped together changes last bits of products at most.

    Args:
        make: makes so many environments.
        policy: who acts.
        seed: of the first episode, the others counted up from it.
        episodes: how many.
        sampled: whether actions are drawn; else they are the most likely ones.
    """
    returns: list[float] = []
    for first in range(0, episodes, EVALUATED_TOGETHER):
        envs = make(min(EVALUATED_TOGETHER, episodes - first))
        returns += episode_returns(envs, policy, seed + first, sampled).tolist()
        envs.close()
    return float(np.mean(returns)) if returns else math.nan


def episode_returns(envs: EnvBatch, policy: BatchPolicy, seed: int, sampled: bool = False) -> NDArray[np.float64]:
    """The return of one episode in each environment, (num_envs,).

    Args:
        envs: the environments.
        policy: who acts.
        seed: of the first environment's episode, the others counted up from it; of what is drawn in each as well.
        sampled: whether actions are drawn; else they are the most likely ones.
    """
    rngs = [np.random.default_rng([seed + place, _ACTIONS]) for place in range(envs.num_envs)]
    observations = envs.reset(lambda place, count: seed + place)
    returns, running = np.zeros(envs.num_envs), np.ones(envs.num_envs, np.bool_)
    shape = () if isinstance(policy.space, spaces.Discrete) else policy.space.shape
    actions = np.zeros((envs.num_envs, *shape), policy.space.dtype)
    while running.any():
        places = running.nonzero()[0]  # the network sees no others
        actions[places] = policy.actions(observations[places], [rngs[each] for each in places] if sampled else None)
        step = envs.step(actions)
        observations = step.observations
        returns[places] += step.rewards[places]
        ended = running & (step.terminated | step.truncated)
        if ended.any():
            running &= ~ended
            envs.rest(ended)
    return returns
