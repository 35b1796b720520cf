"""Any JAX environment as one of Gymnasium's, for people and for learners that know no JAX."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs.jax.base import JaxEnv
from metapbt.jax_backend import jax


class GymnasiumView(gymnasium.Env[NDArray[np.float32], Any]):
    """Steps a JAX environment, one compiled call a step.

    An episode's key is drawn from the generator that ``reset`` seeds, so the same seed begins the same episode.

    Args:
        env: which one; its time limit is this environment's too.
    """

    def __init__(self, env: JaxEnv) -> None:
        self.env = env
        self.observation_space = spaces.Box(-np.inf, np.inf, (env.observation_size,), np.float32)
        self.action_space = env.action_space
        self._state: Any = None
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed, options=options)
        key = jax.random.key(int(self.np_random.integers(2**31)))
        self._state, observation = _reset(self.env, key, self.env.context)
        self._steps = 0
        return np.asarray(observation), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Step once."""
        self._state, observation, reward, terminated = _step(self.env, self._state, action, self.env.context)
        self._steps += 1
        truncated = self._steps >= self.env.max_episode_steps
        return np.asarray(observation), float(reward), bool(terminated), truncated, {}


@functools.partial(jax.jit, static_argnums=0)
def _reset(env: JaxEnv, key: Any, context: Any) -> Any:
    return env.reset(key, context)


@functools.partial(jax.jit, static_argnums=0)
def _step(env: JaxEnv, state: Any, action: Any, context: Any) -> Any:
    return env.step(state, action, context)
