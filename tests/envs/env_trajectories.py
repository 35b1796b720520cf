"""Trajectories to compare bit by bit, for the tests of this folder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np

GYMNASIUM_IDS = {
    "bipedal_walker": "BipedalWalker-v3",
    "cart_pole": "CartPole-v1",
    "lunar_lander": "LunarLander-v3",
    "mountain_car": "MountainCar-v0",
}


#: An environment, or what makes a new one for every episode.
Source = gymnasium.Env[Any, Any] | Callable[[], gymnasium.Env[Any, Any]]


def steps(source: Source, seed: int, count: int) -> Iterator[tuple[bytes, str, bool, bool]]:
    """``count`` random steps over as many episodes as they take, each from its own seed, down to the last bit."""
    rng = np.random.default_rng(seed)

    def begin() -> tuple[gymnasium.Env[Any, Any], tuple[bytes, str, bool, bool]]:
        env = source if isinstance(source, gymnasium.Env) else source()
        observation, _ = env.reset(seed=int(rng.integers(2**31)))
        return env, (observation.tobytes(), "reset", False, False)

    env, first = begin()
    yield first
    for _ in range(count):
        if isinstance(env.action_space, gymnasium.spaces.Discrete):
            action: Any = int(rng.integers(env.action_space.n))
        else:
            action = rng.uniform(-1, 1, env.action_space.shape).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        yield observation.tobytes(), float(reward).hex(), terminated, truncated
        if terminated or truncated:
            env, first = begin()
            yield first


def trajectory(source: Source, seed: int, count: int = 300) -> list[tuple[bytes, str, bool, bool]]:
    return list(steps(source, seed, count))


def gymnasiums(name: str, **arguments: Any) -> Source:
    """Gymnasium's own; its walker anew for every episode, for it keeps its world."""
    make = functools.partial(gymnasium.make, GYMNASIUM_IDS[name], **arguments)
    return make if name == "bipedal_walker" else make()
