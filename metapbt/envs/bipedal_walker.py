"""Bipedal walker (without the hardcore obstacles) with another body, motors, gravity or terrain.

| feature        | unit  | default | legal range | Gymnasium      | what it is                            |
| -------------- | ----- | ------- | ----------- | -------------- | ------------------------------------- |
| gravity        | m/s²  | -10     | [-30, -0.5] | -              | gravity upwards, so negative          |
| friction       | 1     | 2.5     | [0, 10]     | FRICTION       | friction of the ground                |
| terrain_step   | m     | 0.4667  | [0.04, 2]   | TERRAIN_STEP   | length of one piece of ground         |
| terrain_length | 1     | 200     | [20, 2000]  | TERRAIN_LENGTH | pieces of ground                      |
| terrain_height | m     | 3.333   | [0.3, 10]   | TERRAIN_HEIGHT | height of level ground                |
| motors_torque  | N m   | 80      | [1, 800]    | MOTORS_TORQUE  | largest torque of a joint             |
| speed_hip      | rad/s | 4       | [0.4, 40]   | SPEED_HIP      | speed of the hips' motors             |
| speed_knee     | rad/s | 6       | [0.6, 60]   | SPEED_KNEE     | speed of the knees' motors            |
| leg_width      | m     | 0.2667  | [0.02, 1]   | LEG_W          | width of an upper leg                 |
| leg_height     | m     | 1.133   | [0.2, 3]    | LEG_H          | length of an upper or lower leg       |
| leg_drop       | m     | -0.2667 | [-1, 0]     | LEG_DOWN       | hips above hull's middle, so negative |
| lidar_range    | m     | 5.333   | [0.5, 50]   | LIDAR_RANGE    | how far the lidar sees                |

Gymnasium draws 30 px to a metre: its ``14 / SCALE`` is the 0.4667 m above. ``terrain_length`` counts pieces
of ``terrain_step``, so it is rounded to the nearest whole number. The walker starts 10 pieces from the left
end and has finished 10 before the right end: with 20 it starts on the line. An episode is truncated after
1600 steps.

Gymnasium's walker keeps its Box2D world from one episode to the next, so that what follows ``reset(seed=...)`` depends
on the episodes before it. Here every episode begins in a new world and depends on its seed and actions alone: it is,
bit by bit, the first episode of a new environment of Gymnasium's with that seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metapbt.envs.base import Environment, Feature
from metapbt.envs.box2d import build_box2d, changed_constants

if TYPE_CHECKING:
    import gymnasium

_SCALE = 30.0  # Gymnasium's pixels in a metre

FEATURES = (
    Feature("gravity", "m/s²", -10.0, -30.0, -0.5, None, "gravity upwards, so negative"),
    Feature("friction", "1", 2.5, 0.0, 10.0, "FRICTION", "friction of the ground"),
    Feature("terrain_step", "m", 14 / _SCALE, 0.04, 2.0, "TERRAIN_STEP", "length of one piece of ground"),
    Feature("terrain_length", "1", 200.0, 20.0, 2000.0, "TERRAIN_LENGTH", "pieces of ground", whole=True),
    Feature("terrain_height", "m", 400 / _SCALE / 4, 0.3, 10.0, "TERRAIN_HEIGHT", "height of level ground"),
    Feature("motors_torque", "N m", 80.0, 1.0, 800.0, "MOTORS_TORQUE", "largest torque of a joint"),
    Feature("speed_hip", "rad/s", 4.0, 0.4, 40.0, "SPEED_HIP", "speed of the hips' motors"),
    Feature("speed_knee", "rad/s", 6.0, 0.6, 60.0, "SPEED_KNEE", "speed of the knees' motors"),
    Feature("leg_width", "m", 8 / _SCALE, 0.02, 1.0, "LEG_W", "width of an upper leg"),
    Feature("leg_height", "m", 34 / _SCALE, 0.2, 3.0, "LEG_H", "length of an upper or lower leg"),
    Feature("leg_drop", "m", -8 / _SCALE, -1.0, 0.0, "LEG_DOWN", "hips above hull's middle, so negative"),
    Feature("lidar_range", "m", 160 / _SCALE, 0.5, 50.0, "LIDAR_RANGE", "how far the lidar sees"),
)


def _build(context: Mapping[str, float], render_mode: str | None) -> gymnasium.Env[Any, Any]:
    return build_box2d(
        "gymnasium.envs.box2d.bipedal_walker",
        "BipedalWalker",
        changed_constants(FEATURES, context),
        (0.0, context["gravity"]),
        render_mode,
    )


BIPEDAL_WALKER = Environment(
    name="bipedal_walker",
    features=FEATURES,
    gym_id="metapbt/BipedalWalker-v0",
    build=_build,
    max_episode_steps=1600,
)
