"""Any environment as a batch: a loop over ``make_env``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs import make_env
from metapbt.envs.batches.base import BatchStep, Episodes, Observations, Seeds, shared_action_space
from metapbt.envs.batches.episodes import SeededEpisodes, resume, same_episodes, under_way
from metapbt.errors import MetapbtError


class GenericBatch:
    """Steps environments made by ``make_env`` one after another.

    Args:
        name: as for ``make_env``.
        contexts: the changed features of each environment.

    Raises:
        MetapbtError: as for ``make_env`` and ``shared_action_space``; or observations are no box.
    """

    def __init__(self, name: str, contexts: Sequence[Mapping[str, Any]]) -> None:
        self.num_envs = len(contexts)
        envs = [make_env(name, render_mode=None, **context) for context in contexts]
        self._envs = [SeededEpisodes(env, lambda count: count) for env in envs]  # each reset brings its seeds
        observation_space = self._envs[0].observation_space
        if not isinstance(observation_space, spaces.Box):
            raise MetapbtError(f"a batch of env '{name}' needs Box observations, got {observation_space}")
        self.observation_space, self.action_space = observation_space, shared_action_space(name, envs)
        shape = (self.num_envs, *observation_space.shape)
        dtype = np.uint8 if observation_space.dtype == np.uint8 else np.float32
        self._resting = np.zeros(self.num_envs, np.bool_)
        self._begun = False  # all of them, and none rests
        self._observations: NDArray[Any] = np.empty(shape, dtype)
        self._final_observations: NDArray[Any] = np.empty(shape, dtype)
        self._rewards = np.empty(self.num_envs)
        self._terminated = np.empty(self.num_envs, np.bool_)
        self._truncated = np.empty(self.num_envs, np.bool_)

    def reset(self, seeds: Seeds, under_way: Episodes | None = None) -> Observations:
        """Begin an episode in every environment, or play those under way again, unless it is in their midst."""
        if under_way is not None and self._begun and same_episodes(self.under_way(), under_way):
            for place, env in enumerate(self._envs):
                env.go_on(partial(seeds, place))
            return self._observations
        self._begun = True
        self._envs = [SeededEpisodes(env.env, partial(seeds, place)) for place, env in enumerate(self._envs)]
        if under_way is not None:
            resume(self._envs, under_way)
        self._resting[:] = False
        for i, env in enumerate(self._envs):
            self._observations[i], _ = env.reset()
        return self._observations

    def step(self, actions: NDArray[Any]) -> BatchStep:
        """Step every environment once."""
        for i, env in enumerate(self._envs):
            if self._resting[i]:
                continue
            observation, reward, terminated, truncated, _ = env.step(actions[i])
            self._final_observations[i] = observation
            if terminated or truncated:
                observation, _ = env.reset()
            self._observations[i] = observation
            self._rewards[i], self._terminated[i], self._truncated[i] = reward, terminated, truncated
        return BatchStep(self._observations, self._rewards, self._terminated, self._truncated, self._final_observations)

    def under_way(self) -> dict[str, NDArray[Any]]:
        """The episodes under way: their seeds and actions."""
        return under_way(self._envs)

    def rest(self, which: NDArray[np.bool_]) -> None:
        """Step these environments no more until the next reset."""
        self._begun = False
        self._resting |= which
        self._rewards[which], self._terminated[which], self._truncated[which] = 0, False, False

    def close(self) -> None:
        """Close every environment."""
        for env in self._envs:
            env.close()
