"""Trajectories to compare bit by bit, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

GYMNASIUM_IDS = {
    "bipedal_walker": "BipedalWalker-v3",
    "cart_pole": "CartPole-v1",
    "lunar_lander": "LunarLander-v3",
    "mountain_car": "MountainCar-v0",
}


def steps(env: gymnasium.Env[Any, Any], seed: int, count: int) -> Iterator[tuple[bytes, str, bool, bool]]:
    """``count`` random steps over as many episodes as they take, down to the last bit."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    yield observation.tobytes(), "reset", False, False
    for _ in range(count):
        if isinstance(env.action_space, gymnasium.spaces.Discrete):
            action: Any = int(rng.integers(env.action_space.n))
        else:
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        yield observation.tobytes(), float(reward).hex(), terminated, truncated
        if terminated or truncated:
            observation, _ = env.reset()
            yield observation.tobytes(), "reset", False, False


def trajectory(env: gymnasium.Env[Any, Any], seed: int, count: int = 300) -> list[tuple[bytes, str, bool, bool]]:
    return list(steps(env, seed, count))
