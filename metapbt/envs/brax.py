"""Brax's bodies (``env=brax/ant``), with other gravity, friction, masses, joints, and physics.

Needs the extra ``metapbt[brax]``. docs/bodies.md has the table of features. How they change Brax's system, and what
runs inside compiled JAX, is in ``metapbt.envs.jax.brax``; whoever needs a Gymnasium environment gets a view of that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from metapbt.envs.base import Category, Environment, Feature
from metapbt.envs.bodies import FRICTION, features

if TYPE_CHECKING:
    import gymnasium

#: Brax's ways to calculate. ``spring`` is the quickest to compile and to run, and the one that a CPU bears.
BACKENDS = ("spring", "positional", "generalized", "mjx")
#: Those that touch something, and so slide and bounce.
_TOUCHING = ("ant", "halfcheetah", "hopper", "humanoid", "walker2d", "pusher")

_ELASTICITY = Feature("elasticity", "1", 0.0, 0.0, 1.0, "elasticity", "share of the speed that a bounce gives back")
_REPEAT = Feature("action_repeat", "1", 1.0, 1.0, 10.0, None, "steps that each action is taken for", whole=True)
#: In 1/s, as Brax's model files say.
_VEL_DAMPING = {"hopper": 1.0, "walker2d": 1.0, "pusher": -1.0}
_ANG_DAMPING = {"halfcheetah": -0.01, "hopper": -0.05, "humanoid": -0.05, "walker2d": -0.05}


def _features(body: str) -> tuple[Feature | Category, ...]:
    # With lighter parts the springs that hold them together explode; the reacher's hardly bear its own.
    limb, all_parts = (1.0, 1.0) if body == "reacher" else (0.5, 0.7)
    shared = [
        replace(f, low=all_parts if f.name == "mass" else limb) if f.name.endswith("mass") else f
        for f in features(body)
    ]
    if body in _TOUCHING and FRICTION not in shared:
        shared.insert(1, FRICTION)  # MuJoCo's pusher has none
    if body == "swimmer":
        return (*shared, _REPEAT, Category("backend", ("generalized",), "generalized", "Brax's physics"))
    damping = (
        Feature(
            "vel_damping", "1/s", _VEL_DAMPING.get(body, 0.0), -5.0, 1.0, "vel_damping", "growth of all velocities"
        ),
        Feature(
            "ang_damping", "1/s", _ANG_DAMPING.get(body, 0.0), -5.0, 1.0, "ang_damping", "growth of angular velocities"
        ),
    )
    backend = Category("backend", BACKENDS, "spring", "Brax's physics")
    return (*shared, *([_ELASTICITY] if body in _TOUCHING else []), *damping, _REPEAT, backend)


def _environment(body: str) -> Environment:
    def build(context: Mapping[str, Any], render_mode: str | None) -> gymnasium.Env[Any, Any]:
        from metapbt.envs.jax import make_jax_env
        from metapbt.envs.jax.view import GymnasiumView

        return GymnasiumView(make_jax_env(environment.name, context))

    name = "".join(part.capitalize() for part in body.split("_"))
    environment = Environment(
        f"brax/{body}",
        features=_features(body),
        gym_id=f"metapbt/Brax{name}-v0",
        build=build,
        max_episode_steps=1000,
        render_modes=(),
    )
    return environment


ANT, HALFCHEETAH, HOPPER, HUMANOID, WALKER2D = map(
    _environment, ("ant", "halfcheetah", "hopper", "humanoid", "walker2d")
)
REACHER, SWIMMER, PUSHER = map(_environment, ("reacher", "swimmer", "pusher"))
INVERTED_PENDULUM = _environment("inverted_pendulum")
INVERTED_DOUBLE_PENDULUM = _environment("inverted_double_pendulum")
