"""What a context may hold: names, defaults, ranges, the tables that document them, and the errors."""

from __future__ import annotations

import importlib
import math
from fractions import Fraction

import numpy as np
import pytest
from env_trajectories import GYMNASIUM_IDS

from metapbt.envs import (
    ENVIRONMENTS,
    get_environment,
    make_context,
    make_env,
)
from metapbt.envs.base import Category, Feature
from metapbt.errors import MetapbtError

FEATURES = [(name, feature) for name in ENVIRONMENTS for feature in get_environment(name).features]

STUDIED = {
    "lunar_lander": ["leg_height", "gravity_y", "viewport_height", "viewport_width"],
    "cart_pole": ["pole_length", "gravity", "time_step"],
    "mountain_car": ["gravity"],
    "bipedal_walker": ["terrain_length", "terrain_step"],
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_table_in_the_docstring_is_what_the_environment_declares(name: str) -> None:
    module = importlib.import_module(ENVIRONMENTS[name].partition(":")[0])
    lines = [line for line in (module.__doc__ or "").splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert header == ["feature", "unit", "default", "legal range", "Gymnasium", "what it is"]
    assert rows == [[f.name, f.unit, *numbers_or_words(f), f.description] for f in get_environment(name).features]


def numbers_or_words(feature: Feature | Category) -> list[str]:
    if isinstance(feature, Category):
        return [feature.default, ", ".join(feature.choices), "-"]
    return [f"{feature.default:.4g}", f"[{feature.low:g}, {feature.high:g}]", feature.constant or "-"]


def ends(feature: Feature | Category) -> list[float | str]:
    return list(feature.choices) if isinstance(feature, Category) else [feature.low, feature.high]


@pytest.mark.parametrize(("name", "feature"), [(n, f) for n, features in STUDIED.items() for f in features])
@pytest.mark.parametrize("factor", [0.1, 0.37, 1.0, 2.2])
def test_study_features_admit_a_tenth_to_more_than_twice_their_default(name: str, feature: str, factor: float) -> None:
    default = make_context(name, {})[feature]
    env = make_env(name, **{feature: factor * default})
    env.reset(seed=0)
    assert env.step(env.action_space.sample())


@pytest.mark.parametrize(
    ("name", "feature", "value"),
    [
        pytest.param(n, f.name, value, id=f"{n}-{f.name}-{value}")
        for n, f in FEATURES
        if n in GYMNASIUM_IDS
        for value in ends(f)
    ],
)
def test_environment_works_at_both_ends_of_every_range(name: str, feature: str, value: float | str) -> None:
    env = make_env(name, **{feature: value})
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    episodes = 1
    for _ in range(200):
        assert np.isfinite(observation).all()
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert math.isfinite(float(reward))
        if terminated or truncated:
            episodes += 1
            observation, _ = env.reset()
    assert episodes < 100, "episodes of one or two steps teach nothing"


def test_make_context_holds_every_feature_as_a_float_in_declared_order() -> None:
    context = make_context("cart_pole", {"time_step": 0.01, "gravity": np.float32(5)})
    assert list(context) == ["pole_length", "pole_mass", "cart_mass", "gravity", "force", "time_step"]
    assert context["gravity"] == 5.0
    assert context["pole_length"] == 0.5
    assert all(type(value) is float for value in context.values())


def test_changed_features_are_those_that_differ_from_their_default_in_declared_order() -> None:
    context = {"gravity": 9.8, "time_step": 0.01, "pole_length": 1}
    assert list(make_context("cart_pole", context).changed.items()) == [("pole_length", 1.0), ("time_step", 0.01)]
    assert make_context("cart_pole", make_context("cart_pole", {})).changed == {}


@pytest.mark.parametrize(
    ("asked", "held"), [(2.2 * 200, 440.0), (74.4, 74.0), (74.5, 74.0), (75.5, 76.0), (19.6, 20.0)]
)
def test_counted_features_are_rounded_to_the_nearest_whole_number(asked: float, held: float) -> None:
    assert make_context("bipedal_walker", {"terrain_length": asked})["terrain_length"] == held


def test_rounding_to_the_default_changes_nothing() -> None:
    assert make_context("bipedal_walker", {"terrain_length": 200.2}).changed == {}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"pole_length": -1}, "cart_pole.pole_length must be in [0.05, 5], got -1"),
        ({"gravity": 50.0000001}, "cart_pole.gravity must be in [0.5, 50], got 50.0000001"),
        ({"gravity": math.nan}, "cart_pole.gravity must be in [0.5, 50], got nan"),
        ({"pole_length": "abc"}, "cart_pole.pole_length must be a number, got 'abc'"),
        ({"pole_length": None}, "cart_pole.pole_length must be a number, got None"),
        ({"pole_length": True}, "cart_pole.pole_length must be a number, got True"),
        (
            {"pole_lenght": 1},
            "unknown feature of cart_pole 'pole_lenght'; did you mean 'pole_length'? "
            "(known: cart_mass, force, gravity, pole_length, pole_mass, time_step)",
        ),
    ],
)
def test_illegal_feature_is_refused_in_one_line(features: dict[str, float], message: str) -> None:
    for refuse in (make_context, lambda name, changed: make_env(name, **changed)):
        with pytest.raises(MetapbtError) as error:
            refuse("cart_pole", features)
        assert str(error.value) == message


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_counted_feature_must_be_finite(value: float) -> None:
    with pytest.raises(MetapbtError, match=r"terrain_length must be in \[20, 2000\], got "):
        make_context("bipedal_walker", {"terrain_length": value})


def test_options_of_gymnasium_make_are_no_features() -> None:
    with pytest.raises(MetapbtError, match="unknown feature of cart_pole 'max_episode_steps'"):
        make_env("cart_pole", max_episode_steps=3)


def test_unknown_environment_comes_with_the_nearest_one() -> None:
    with pytest.raises(MetapbtError, match=r"unknown env 'lunar_landr'; did you mean 'lunar_lander'\?"):
        make_env("lunar_landr")


def test_quadratic_has_a_context_but_no_gymnasium_environment() -> None:
    assert make_context("quadratic", {"optimum_shift": 0.5}) == {"optimum_shift": 0.5}
    with pytest.raises(MetapbtError, match="quadratic is a toy without a Gymnasium environment"):
        make_env("quadratic")


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 10**400, 1e300, True, np.True_, None, "x", "1.0", [1.0], {}, 1j, np.ones(1)],
)
def test_a_value_that_no_context_can_have_is_one_line(value):
    with pytest.raises(MetapbtError, match="^cart_pole.pole_length must be ") as refused:
        make_context("cart_pole", {"pole_length": value})
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("one", [1, np.int64(1), np.float32(1.0), np.array(1.0), Fraction(1)])
def test_contexts_with_equal_numbers_are_one_context_with_one_path(one):
    first, second = (make_context("cart_pole", {"pole_length": value}) for value in (1.0, one))
    assert (first, hash(first), first.label, type(second["pole_length"])) == (second, hash(second), second.label, float)


def test_minus_nothing_is_nothing():
    shift = Feature("shift", "1", default=1.0, low=-1.0, high=1.0)
    assert str(shift.checked(-0.0, "shift")) == "0.0"
