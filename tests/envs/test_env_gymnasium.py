"""The environments as Gymnasium sees them: ids, time limits, its checker, pictures, pickles and imports."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from env_trajectories import GYMNASIUM_IDS, trajectory
from gymnasium.utils.env_checker import check_env

import metapbt.envs
from metapbt.envs import box2d, get_environment, make_env, register_envs
from metapbt.envs.procgen import GAMES
from metapbt.errors import MetapbtError

CHANGED = {
    "cart_pole": {"pole_length": 1.1},
    "mountain_car": {"max_speed": 0.2},
    "lunar_lander": {"leg_height": 3.2, "gravity_y": -22.0, "viewport_height": 180.5},
    "bipedal_walker": {"terrain_step": 0.3, "leg_height": 0.8},
}
CONTEXTS: list[tuple[str, dict[str, Any]]] = [
    *((name, context) for name in CHANGED for context in ({}, CHANGED[name])),
    ("lunar_lander", {"leg_height": 3.2, "actions": "continuous"}),
]


@pytest.mark.parametrize("name", GYMNASIUM_IDS)
def test_registered_id_makes_the_same_environment_as_make_env(name: str) -> None:
    register_envs()
    by_id = gymnasium.make(get_environment(name).gym_id or "", **CHANGED[name])
    ours = make_env(name, **CHANGED[name])
    assert trajectory(by_id, 0) == trajectory(ours, 0)
    assert by_id.spec is not None
    assert ours.spec is not None
    assert by_id.spec.id == ours.spec.id


@pytest.mark.parametrize("name", GYMNASIUM_IDS)
def test_episodes_are_as_long_as_gymnasiums(name: str) -> None:
    env = make_env(name)
    assert env.spec is not None
    assert env.spec.max_episode_steps == gymnasium.spec(GYMNASIUM_IDS[name]).max_episode_steps


def test_ids_are_registered_once_and_silently() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        register_envs()
        register_envs()
    ids = {f"metapbt/{name}-v0" for name in ("BipedalWalker", "CartPole", "LunarLander", "MountainCar")}
    bodies = {get_environment(name).gym_id for name in metapbt.envs.BODIES}
    games = {f"metapbt/Procgen{game.capitalize()}-v0" for game in GAMES}
    assert {id_ for id_ in gymnasium.registry if id_.startswith("metapbt/")} == ids | bodies | games


def test_gymnasium_make_refuses_illegal_features_in_our_words() -> None:
    register_envs()
    with pytest.raises(MetapbtError, match=r"^lunar_lander\.leg_height must be in \[0\.5, 40\], got -1$"):
        gymnasium.make("metapbt/LunarLander-v0", leg_height=-1)


@pytest.mark.parametrize(("name", "context"), CONTEXTS)
def test_gymnasiums_checker_passes(name: str, context: dict[str, float]) -> None:
    check_env(make_env(name, **context).unwrapped, skip_render_check=True)


@pytest.mark.parametrize(("name", "context"), CONTEXTS)
def test_rendering_draws_a_picture(name: str, context: dict[str, float]) -> None:
    env = make_env(name, render_mode="rgb_array", **context)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    picture = env.render()
    assert isinstance(picture, np.ndarray)
    assert picture.dtype == np.uint8
    assert picture.shape == (int(context.get("viewport_height", 400)), 600, 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2
    env.close()


def test_gymnasium_can_collect_the_frames() -> None:
    env = make_env("lunar_lander", render_mode="rgb_array_list", leg_height=3.2)
    env.reset(seed=0)
    env.step(0)
    frames = env.render()
    assert isinstance(frames, list)
    assert len(frames) == 2


@pytest.mark.parametrize("name", CHANGED)
def test_environment_survives_pickling_with_its_context(name: str) -> None:
    env = make_env(name, **CHANGED[name])
    copy = pickle.loads(pickle.dumps(env))
    assert trajectory(copy, 0) == trajectory(env, 0)


def test_vector_environments_take_the_features() -> None:
    register_envs()
    envs = gymnasium.make_vec("metapbt/CartPole-v0", num_envs=2, pole_length=1.1)
    observations, _ = envs.reset(seed=0)
    assert observations.shape == (2, 4)
    envs.close()


def test_constant_that_gymnasium_no_longer_has_is_named() -> None:
    with pytest.raises(MetapbtError, match=r"this version of Gymnasium has no WINGS in gymnasium\.envs"):
        box2d.build_box2d("gymnasium.envs.box2d.lunar_lander", "LunarLander", (("WINGS", 2.0),), (0.0, -10.0), None)


def test_feature_tables_are_read_without_importing_gymnasium() -> None:
    # A bare package stands in for metapbt's own __init__, which is free to import more.
    script = f"""
import sys, types
package = types.ModuleType("metapbt")
package.__path__ = [{str(Path(metapbt.envs.__file__).parent.parent)!r}]
sys.modules["metapbt"] = package
import metapbt.envs
for name in metapbt.envs.ENVIRONMENTS:
    metapbt.envs.make_context(name, {{}})
print(sorted(sys.modules.keys() & {{"gymnasium", "Box2D", "numpy", "pygame"}}))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
