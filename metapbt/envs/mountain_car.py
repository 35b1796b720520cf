"""Mountain car with another gravity, engine, top speed or goal.

| feature       | unit    | default | legal range    | Gymnasium     | what it is                     |
| ------------- | ------- | ------- | -------------- | ------------- | ------------------------------ |
| gravity       | 1/step² | 0.0025  | [0.0001, 0.01] | gravity       | pull along the slope           |
| force         | 1/step² | 0.001   | [0.0001, 0.01] | force         | push of the engine             |
| max_speed     | 1/step  | 0.07    | [0.01, 0.5]    | max_speed     | speed at which the car is held |
| goal_position | 1       | 0.5     | [0, 0.6]       | goal_position | where the flag stands          |

Positions run from -1.2 to 0.6 with the valley's floor near -0.52; one step is the unit of time. An episode is
truncated after 200 steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metapbt.envs.base import Environment, Feature

if TYPE_CHECKING:
    import gymnasium

FEATURES = (
    Feature("gravity", "1/step²", 0.0025, 0.0001, 0.01, "gravity", "pull along the slope"),
    Feature("force", "1/step²", 0.001, 0.0001, 0.01, "force", "push of the engine"),
    Feature("max_speed", "1/step", 0.07, 0.01, 0.5, "max_speed", "speed at which the car is held"),
    Feature("goal_position", "1", 0.5, 0.0, 0.6, "goal_position", "where the flag stands"),
)


def _build(context: Mapping[str, float], render_mode: str | None) -> gymnasium.Env[Any, Any]:
    import numpy as np
    from gymnasium import spaces
    from gymnasium.envs.classic_control.mountain_car import MountainCarEnv

    env = MountainCarEnv(render_mode=render_mode)
    env.gravity = context["gravity"]
    env.force = context["force"]
    env.max_speed = context["max_speed"]
    env.goal_position = context["goal_position"]
    # Gymnasium derives these in its constructor.
    env.low = np.array([env.min_position, -env.max_speed], dtype=np.float32)
    env.high = np.array([env.max_position, env.max_speed], dtype=np.float32)
    env.observation_space = spaces.Box(env.low, env.high, dtype=np.float32)
    return env


MOUNTAIN_CAR = Environment(
    name="mountain_car",
    features=FEATURES,
    gym_id="metapbt/MountainCar-v0",
    build=_build,
    max_episode_steps=200,
)
