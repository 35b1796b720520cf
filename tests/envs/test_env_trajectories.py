"""A context steps as Gymnasium's own environment does with that constant replaced, and touches nothing else.

The reference is Gymnasium's real module with its globals set by hand for one test, which is what metapbt must
never do: none of the code under test is in it.
"""

from __future__ import annotations

import importlib
import itertools
from types import SimpleNamespace
from typing import Any

import Box2D
import gymnasium
import numpy as np
import pytest
from Box2D.b2 import fixtureDef, polygonShape
from env_trajectories import GYMNASIUM_IDS, gymnasiums, steps, trajectory

from metapbt.envs import get_environment, make_env
from metapbt.envs.base import Feature

LANDER = importlib.import_module("gymnasium.envs.box2d.lunar_lander")
WALKER = importlib.import_module("gymnasium.envs.box2d.bipedal_walker")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", GYMNASIUM_IDS)
def test_defaults_are_gymnasiums_own_environment(name: str, seed: int) -> None:
    ours, theirs = make_env(name), gymnasium.make(GYMNASIUM_IDS[name])
    assert trajectory(ours, seed, 700) == trajectory(gymnasiums(name), seed, 700)
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space


LANDER_CONSTANTS = [
    ("leg_height", "LEG_H", 3.2),
    ("leg_height", "LEG_H", 0.1 * 8),
    ("leg_height", "LEG_H", 2.2 * 8),
    ("leg_width", "LEG_W", 5),
    ("leg_spread", "LEG_AWAY", 31.5),
    ("leg_drop", "LEG_DOWN", 10),
    ("leg_spring_torque", "LEG_SPRING_TORQUE", 7.5),
    ("main_engine_power", "MAIN_ENGINE_POWER", 6.5),
    ("side_engine_power", "SIDE_ENGINE_POWER", 2.1),
    ("side_engine_height", "SIDE_ENGINE_HEIGHT", 30),
    ("side_engine_away", "SIDE_ENGINE_AWAY", 3),
    ("viewport_height", "VIEWPORT_H", 0.1 * 400),
    ("viewport_height", "VIEWPORT_H", 2.2 * 400),
    ("viewport_width", "VIEWPORT_W", 777.7),
    ("initial_random", "INITIAL_RANDOM", 100),
    ("fps", "FPS", 30),
    ("scale", "SCALE", 45),
]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("feature", "constant", "value"), LANDER_CONSTANTS)
def test_lander_is_gymnasiums_with_the_constant_replaced(
    feature: str, constant: str, value: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = trajectory(make_env("lunar_lander", **{feature: value}), seed)
    default = trajectory(make_env("lunar_lander"), seed)
    monkeypatch.setattr(LANDER, constant, value)
    assert ours == trajectory(gymnasium.make("LunarLander-v3"), seed)
    assert ours != default


@pytest.mark.parametrize("gravity_y", [-1.0, -5.5, -11.5])
def test_lander_gravity_is_gymnasiums_argument(gravity_y: float) -> None:
    theirs = gymnasium.make("LunarLander-v3", gravity=gravity_y)
    assert trajectory(make_env("lunar_lander", gravity_y=gravity_y), 0) == trajectory(theirs, 0)


def test_lander_with_continuous_actions_is_gymnasiums() -> None:
    theirs = gymnasium.make("LunarLander-v3", continuous=True)
    ours = make_env("lunar_lander", actions="continuous")
    assert ours.action_space == theirs.action_space
    assert trajectory(ours, 0) == trajectory(theirs, 0)


@pytest.mark.parametrize(("gravity_x", "gravity_y"), [(0.0, -22.0), (3.0, -10.0), (-6.0, -4.0)])
def test_lander_gravity_holds_from_the_first_step_of_every_episode(
    gravity_x: float, gravity_y: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = trajectory(make_env("lunar_lander", gravity_x=gravity_x, gravity_y=gravity_y), 0)

    def world_with_both_gravities(gravity: tuple[float, float]) -> Box2D.b2World:
        return Box2D.b2World(gravity=(gravity_x, gravity_y))

    monkeypatch.setattr(LANDER, "Box2D", SimpleNamespace(b2World=world_with_both_gravities))
    assert ours == trajectory(gymnasium.make("LunarLander-v3"), 0)


def set_walker_legs(monkeypatch: pytest.MonkeyPatch, width: float, height: float) -> None:
    """The walker's leg sizes, and by hand the fixtures that Gymnasium derives from them."""
    monkeypatch.setattr(WALKER, "LEG_W", width)
    monkeypatch.setattr(WALKER, "LEG_H", height)
    for name, thickness in (("LEG_FD", width), ("LOWER_FD", 0.8 * width)):
        shape = polygonShape(box=(thickness / 2, height / 2))
        fixture = fixtureDef(shape=shape, density=1.0, restitution=0.0, categoryBits=0x0020, maskBits=0x001)
        monkeypatch.setattr(WALKER, name, fixture)


WALKER_CONSTANTS = [
    ("friction", "FRICTION", 0.4),
    ("terrain_step", "TERRAIN_STEP", 0.1 * 14 / 30),
    ("terrain_step", "TERRAIN_STEP", 2.2 * 14 / 30),
    ("terrain_length", "TERRAIN_LENGTH", 20),
    ("terrain_length", "TERRAIN_LENGTH", 440),
    ("terrain_height", "TERRAIN_HEIGHT", 5.0),
    ("motors_torque", "MOTORS_TORQUE", 150),
    ("speed_hip", "SPEED_HIP", 7.3),
    ("speed_knee", "SPEED_KNEE", 2),
    ("leg_drop", "LEG_DOWN", -0.5),
    ("lidar_range", "LIDAR_RANGE", 9.0),
]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("feature", "constant", "value"), WALKER_CONSTANTS)
def test_walker_is_gymnasiums_with_the_constant_replaced(
    feature: str, constant: str, value: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = trajectory(make_env("bipedal_walker", **{feature: value}), seed)
    default = trajectory(make_env("bipedal_walker"), seed)
    monkeypatch.setattr(WALKER, constant, value)
    assert ours == trajectory(gymnasiums("bipedal_walker"), seed)
    assert ours != default


@pytest.mark.parametrize(("width", "height"), [(0.5, 34 / 30), (8 / 30, 0.7), (0.1, 1.5)])
def test_walker_legs_bring_their_fixtures_with_them(
    width: float, height: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = trajectory(make_env("bipedal_walker", leg_width=width, leg_height=height), 0)
    set_walker_legs(monkeypatch, width, height)
    assert ours == trajectory(gymnasiums("bipedal_walker"), 0)


@pytest.mark.parametrize("gravity", [-3.0, -22.0])
def test_walker_gravity_is_that_of_its_world(gravity: float) -> None:
    def theirs() -> gymnasium.Env[Any, Any]:
        env: Any = gymnasium.make("BipedalWalker-v3")
        env.unwrapped.world.gravity = (0, gravity)
        return env

    assert trajectory(make_env("bipedal_walker", gravity=gravity), 0) == trajectory(theirs, 0)


CART_POLE_ATTRIBUTES = [
    ({"pole_length": 0.05}, {"length": 0.05, "polemass_length": 0.1 * 0.05}),
    ({"pole_length": 2.2 * 0.5}, {"length": 2.2 * 0.5, "polemass_length": 0.1 * (2.2 * 0.5)}),
    ({"pole_mass": 0.4}, {"masspole": 0.4, "total_mass": 0.4 + 1.0, "polemass_length": 0.4 * 0.5}),
    ({"cart_mass": 3.0}, {"masscart": 3.0, "total_mass": 0.1 + 3.0}),
    ({"gravity": 0.1 * 9.8}, {"gravity": 0.1 * 9.8}),
    ({"force": 25.0}, {"force_mag": 25.0}),
    ({"time_step": 2.2 * 0.02}, {"tau": 2.2 * 0.02}),
]
MOUNTAIN_CAR_ATTRIBUTES = [
    ({"gravity": 0.1 * 0.0025}, {"gravity": 0.1 * 0.0025}),
    ({"gravity": 2.2 * 0.0025}, {"gravity": 2.2 * 0.0025}),
    ({"force": 0.004}, {"force": 0.004}),
    ({"max_speed": 0.02, "force": 0.004}, {"max_speed": 0.02, "force": 0.004}),
    ({"goal_position": 0.1, "force": 0.004}, {"goal_position": 0.1, "force": 0.004}),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("name", "features", "attributes"),
    [("cart_pole", *case) for case in CART_POLE_ATTRIBUTES]
    + [("mountain_car", *case) for case in MOUNTAIN_CAR_ATTRIBUTES],
)
def test_classic_control_is_gymnasiums_with_the_attributes_replaced(
    name: str, features: dict[str, float], attributes: dict[str, float], seed: int
) -> None:
    theirs = gymnasium.make(GYMNASIUM_IDS[name])
    for attribute, value in attributes.items():
        assert hasattr(theirs.unwrapped, attribute)
        setattr(theirs.unwrapped, attribute, value)
    ours = trajectory(make_env(name, **features), seed, 1000)
    assert ours == trajectory(theirs, seed, 1000)
    assert ours != trajectory(make_env(name), seed, 1000)


def test_mountain_car_observes_speeds_up_to_its_top_speed() -> None:
    space = make_env("mountain_car", max_speed=0.2).observation_space
    assert isinstance(space, gymnasium.spaces.Box)
    np.testing.assert_array_equal(space.high, np.array([0.6, 0.2], np.float32))
    np.testing.assert_array_equal(space.low, np.array([-1.2, -0.2], np.float32))


def test_lander_frames_follow_the_frames_per_second() -> None:
    assert make_env("lunar_lander", fps=25).metadata["render_fps"] == 25


PAIRS = {
    "cart_pole": ({"pole_length": 0.2}, {"pole_length": 1.1}),
    "mountain_car": ({"gravity": 0.001}, {"gravity": 0.005}),
    "lunar_lander": ({"leg_height": 3.2, "gravity_x": 1.0}, {"scale": 45}),
    "bipedal_walker": ({"terrain_step": 0.2}, {"leg_height": 0.7, "gravity": -5}),
}


@pytest.mark.parametrize("name", PAIRS)
def test_contexts_stepped_in_turn_equal_the_same_contexts_alone(name: str) -> None:
    contexts: list[dict[str, Any]] = [*PAIRS[name], {}]
    alone = [trajectory(make_env(name, **context), 3) for context in contexts]
    in_turn = [steps(make_env(name, **context), 3, 300) for context in contexts]
    rows = list(itertools.zip_longest(*in_turn))
    together = [[step for step in column if step is not None] for column in zip(*rows, strict=True)]
    assert together == alone


@pytest.mark.parametrize("module", [LANDER, WALKER], ids=["lander", "walker"])
def test_gymnasiums_own_modules_stay_as_they_are(module: Any) -> None:
    before = dict(vars(module))
    # Values that no other test uses, so that this context is certainly built here.
    for name in ("lunar_lander", "bipedal_walker"):
        numbers = [feature for feature in get_environment(name).features if isinstance(feature, Feature)]
        everything = {feature.name: 1.0625 * feature.default for feature in numbers}
        make_env(name, **everything).reset(seed=0)
    assert vars(module) == before
