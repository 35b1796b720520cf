"""An environment of one's own, as a user would write it, for tests: numbers, a category, and an id in Gymnasium."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium

from metapbt.envs import Category, Environment, Feature

GRAVITY = {"earth": 10.0, "mars": 3.71, "moon": 1.62}


def build(context: Mapping[str, Any], render_mode: str | None) -> gymnasium.Env[Any, Any]:
    from gymnasium.envs.classic_control import PendulumEnv

    env = PendulumEnv(render_mode=render_mode, g=GRAVITY[context["planet"]])
    env.l = context["length"]
    return env


PENDULUM = Environment(
    name="pendulum",
    features=(
        Feature("length", unit="m", default=1.0, low=0.2, high=3.0, description="of the rod"),
        Category("planet", choices=tuple(GRAVITY), default="earth", description="whose gravity pulls"),
    ),
    build=build,
    max_episode_steps=20,
)

gymnasium.register("Swing-v0", "gymnasium.envs.classic_control:PendulumEnv", max_episode_steps=7)
