"""An environment of one's own with levels, whose rewards say which level was played; and a learner that says more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs import Category, Environment, Feature
from metapbt.learners.base import Training

ALL = 10_000.0  # what the first of "all levels" is called here


class Levelled(gymnasium.Env[NDArray[np.float32], np.int64]):
    """One step, worth the level's number, and half a point more for action 1."""

    def __init__(self, num_levels: float, start_level: float) -> None:
        self.observation_space = spaces.Box(0.0, 2 * ALL, (1,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.first, self.number = (start_level, num_levels) if num_levels else (ALL, 1000.0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self.level = self.first + float(self.np_random.integers(int(self.number)))
        return self._seen(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        return self._seen(), self.level + 0.5 * float(action), True, False, {}

    def _seen(self) -> NDArray[np.float32]:
        return np.zeros(1, np.float32)


def build(context: Mapping[str, Any], render_mode: str | None) -> Levelled:
    return Levelled(context["num_levels"], context["start_level"])


ENV = Environment(
    name="levelled",
    features=(
        Feature("num_levels", "1", 10.0, 0.0, 1e6, whole=True),
        Feature("start_level", "1", 0.0, 0.0, 1e6, whole=True),
        Category("colour", ("red", "blue"), "red"),
    ),
    build=build,
    max_episode_steps=5,
)


class Telling:
    """Returns as evaluation what it was asked, and where."""

    def __init__(self, env: str, context: Any, budget: Any, settings: Mapping[str, Any]) -> None:
        self.context = context

    def check(self, space: Any) -> None:
        pass

    def train(self, interval: Any, start: Any, teacher: Any = None) -> Training:
        state = {"asked": np.array(interval.evaluation_episodes), "steps": np.array(interval.until_steps)}
        return Training(state, interval.until_steps, (1.0,), 2.0)

    def evaluate(self, state: Any, hyperparameters: Any, seed: int, episodes: int) -> float:
        if state["asked"].flags.writeable:
            raise ValueError("the state could be changed")
        return 1000.0 * episodes + 100.0 * float(state["asked"]) + float(self.context["start_level"])
