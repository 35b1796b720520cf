"""Cart-pole with other masses, lengths, forces and time steps.

| feature     | unit | default | legal range  | Gymnasium | what it is                  |
| ----------- | ---- | ------- | ------------ | --------- | --------------------------- |
| pole_length | m    | 0.5     | [0.05, 5]    | length    | half the length of the pole |
| pole_mass   | kg   | 0.1     | [0.01, 5]    | masspole  | mass of the pole            |
| cart_mass   | kg   | 1       | [0.1, 20]    | masscart  | mass of the cart            |
| gravity     | m/s² | 9.8     | [0.5, 50]    | gravity   | gravity, downwards          |
| force       | N    | 10      | [0.5, 100]   | force_mag | push of either action       |
| time_step   | s    | 0.02    | [0.001, 0.1] | tau       | time between two steps      |

Gymnasium's ``length``, and so ``pole_length``, is half the length of the pole: from its hinge to its centre
of mass. The picture shows all of it. An episode is truncated after 500 steps, whatever the time step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metapbt.envs.base import Environment, Feature

if TYPE_CHECKING:
    import gymnasium

FEATURES = (
    Feature("pole_length", "m", 0.5, 0.05, 5.0, "length", "half the length of the pole"),
    Feature("pole_mass", "kg", 0.1, 0.01, 5.0, "masspole", "mass of the pole"),
    Feature("cart_mass", "kg", 1.0, 0.1, 20.0, "masscart", "mass of the cart"),
    Feature("gravity", "m/s²", 9.8, 0.5, 50.0, "gravity", "gravity, downwards"),
    Feature("force", "N", 10.0, 0.5, 100.0, "force_mag", "push of either action"),
    Feature("time_step", "s", 0.02, 0.001, 0.1, "tau", "time between two steps"),
)


def _build(context: Mapping[str, float], render_mode: str | None) -> gymnasium.Env[Any, Any]:
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    env = CartPoleEnv(render_mode=render_mode)
    env.length = context["pole_length"]
    env.masspole = context["pole_mass"]
    env.masscart = context["cart_mass"]
    env.gravity = context["gravity"]
    env.force_mag = context["force"]
    env.tau = context["time_step"]
    # Gymnasium derives these two in its constructor.
    env.total_mass = env.masspole + env.masscart
    env.polemass_length = env.masspole * env.length
    return env


CART_POLE = Environment(
    name="cart_pole",
    features=FEATURES,
    gym_id="metapbt/CartPole-v0",
    build=_build,
    max_episode_steps=500,
)
