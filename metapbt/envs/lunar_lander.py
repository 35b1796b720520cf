"""Lunar lander with another body, engines, gravity or landscape, and with discrete or continuous actions.

| feature            | unit | default  | legal range          | Gymnasium          | what it is                       |
| ------------------ | ---- | -------- | -------------------- | ------------------ | -------------------------------- |
| leg_height         | px   | 8        | [0.5, 40]            | LEG_H              | half the height of a leg         |
| leg_width          | px   | 2        | [0.1, 20]            | LEG_W              | half the width of a leg          |
| leg_spread         | px   | 20       | [0, 60]              | LEG_AWAY           | from hull's middle out to a leg  |
| leg_drop           | px   | 18       | [0, 60]              | LEG_DOWN           | from hull's middle down to a leg |
| leg_spring_torque  | N m  | 40       | [0, 400]             | LEG_SPRING_TORQUE  | torque that holds a leg out      |
| main_engine_power  | 1    | 13       | [0, 50]              | MAIN_ENGINE_POWER  | thrust of the main engine        |
| side_engine_power  | 1    | 0.6      | [0, 5]               | SIDE_ENGINE_POWER  | thrust of a side engine          |
| side_engine_height | px   | 14       | [0, 60]              | SIDE_ENGINE_HEIGHT | side engines above the middle    |
| side_engine_away   | px   | 12       | [0, 60]              | SIDE_ENGINE_AWAY   | side engines beside the middle   |
| gravity_x          | m/s² | 0        | [-22, 22]            | -                  | gravity to the right             |
| gravity_y          | m/s² | -10      | [-30, -0.5]          | -                  | gravity upwards, so negative     |
| viewport_height    | px   | 400      | [20, 2000]           | VIEWPORT_H         | height of the landscape          |
| viewport_width     | px   | 600      | [30, 3000]           | VIEWPORT_W         | width of the landscape           |
| initial_random     | N    | 1000     | [0, 5000]            | INITIAL_RANDOM     | largest random push at start     |
| fps                | 1/s  | 50       | [10, 200]            | FPS                | steps in a second                |
| scale              | px/m | 30       | [10, 90]             | SCALE              | pixels in a metre                |
| actions            | 1    | discrete | discrete, continuous | -                  | which engine, or two throttles   |

Lengths are in pixels, ``scale`` of which make a metre of the physics. The viewport sizes the landscape, the
picture and the units of the observation. ``side_engine_height`` acts on the vertical place of the thrust; for
the horizontal one Gymnasium writes out 17 px, which stays. An episode is truncated after 1000 steps.

With continuous ``actions`` an agent commands two throttles from -1 to 1, as in Gymnasium's ``continuous=True``: the
main engine fires above 0, with half of its power or more; a side engine below -0.5 or above 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metapbt.envs.base import Category, Environment, Feature
from metapbt.envs.box2d import build_box2d, changed_constants

if TYPE_CHECKING:
    import gymnasium

NUMBERS = (
    Feature("leg_height", "px", 8.0, 0.5, 40.0, "LEG_H", "half the height of a leg"),
    Feature("leg_width", "px", 2.0, 0.1, 20.0, "LEG_W", "half the width of a leg"),
    Feature("leg_spread", "px", 20.0, 0.0, 60.0, "LEG_AWAY", "from hull's middle out to a leg"),
    Feature("leg_drop", "px", 18.0, 0.0, 60.0, "LEG_DOWN", "from hull's middle down to a leg"),
    Feature("leg_spring_torque", "N m", 40.0, 0.0, 400.0, "LEG_SPRING_TORQUE", "torque that holds a leg out"),
    Feature("main_engine_power", "1", 13.0, 0.0, 50.0, "MAIN_ENGINE_POWER", "thrust of the main engine"),
    Feature("side_engine_power", "1", 0.6, 0.0, 5.0, "SIDE_ENGINE_POWER", "thrust of a side engine"),
    Feature("side_engine_height", "px", 14.0, 0.0, 60.0, "SIDE_ENGINE_HEIGHT", "side engines above the middle"),
    Feature("side_engine_away", "px", 12.0, 0.0, 60.0, "SIDE_ENGINE_AWAY", "side engines beside the middle"),
    Feature("gravity_x", "m/s²", 0.0, -22.0, 22.0, None, "gravity to the right"),
    Feature("gravity_y", "m/s²", -10.0, -30.0, -0.5, None, "gravity upwards, so negative"),
    Feature("viewport_height", "px", 400.0, 20.0, 2000.0, "VIEWPORT_H", "height of the landscape"),
    Feature("viewport_width", "px", 600.0, 30.0, 3000.0, "VIEWPORT_W", "width of the landscape"),
    Feature("initial_random", "N", 1000.0, 0.0, 5000.0, "INITIAL_RANDOM", "largest random push at start"),
    Feature("fps", "1/s", 50.0, 10.0, 200.0, "FPS", "steps in a second"),
    Feature("scale", "px/m", 30.0, 10.0, 90.0, "SCALE", "pixels in a metre"),
)
ACTIONS = Category("actions", ("discrete", "continuous"), "discrete", "which engine, or two throttles")


def _build(context: Mapping[str, Any], render_mode: str | None) -> gymnasium.Env[Any, Any]:
    return build_box2d(
        "gymnasium.envs.box2d.lunar_lander",
        "LunarLander",
        changed_constants(NUMBERS, context),
        (context["gravity_x"], context["gravity_y"]),
        render_mode,
        continuous=context["actions"] == "continuous",
    )


LUNAR_LANDER = Environment(
    name="lunar_lander",
    features=(*NUMBERS, ACTIONS),
    gym_id="metapbt/LunarLander-v0",
    build=_build,
    max_episode_steps=1000,
)
