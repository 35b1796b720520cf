"""Environments that metapbt does not bring: Gymnasium's by their ids, and one's own with numbers and categories."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from env_trajectories import trajectory

from metapbt.envs import Category, Environment, Feature, get_environment, make_context, make_env
from metapbt.envs.batches import make_batch
from metapbt.errors import MetapbtError

OWN = "my_env_package:PENDULUM"


@pytest.fixture(autouse=True)
def _fresh_module() -> Iterator[None]:
    yield
    sys.modules.pop("my_env_package", None)
    gymnasium.registry.pop("Swing-v0", None)


def complaint(name: str, **features: object) -> str:
    with pytest.raises(MetapbtError) as error:
        make_env(name, **features)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


# ---- by an id of Gymnasium's


@pytest.mark.parametrize(("name", "steps"), [("Pendulum-v1", 200), ("Acrobot-v1", 500), ("my_env_package:Swing-v0", 7)])
def test_any_id_is_an_environment_without_features_and_with_its_time_limit(name: str, steps: int) -> None:
    environment = get_environment(name)
    assert (environment.features, environment.max_episode_steps) == ((), steps)
    env = make_env(name)
    env.reset(seed=0)
    ends = [any(env.step(env.action_space.sample())[2:4]) for _ in range(steps)]
    assert ends == [False] * (steps - 1) + [True]


def test_an_id_makes_what_gymnasium_makes() -> None:
    assert trajectory(make_env("Acrobot-v1"), 0) == trajectory(gymnasium.make("Acrobot-v1"), 0)
    ours = make_env("Acrobot-v1", render_mode="rgb_array")
    ours.reset(seed=0)
    assert isinstance(ours.render(), np.ndarray)


def test_the_context_of_an_id_is_empty() -> None:
    context = make_context("Pendulum-v1", {})
    assert dict(context) == {}
    assert context.label == "default"
    assert complaint("Pendulum-v1", length=2).startswith("Pendulum-v1 has no features, got 'length'")


@pytest.mark.parametrize("name", ["Pendulum-v1", OWN, "my_env_package:Swing-v0"])
def test_any_environment_is_stepped_in_batches(name: str) -> None:
    batch = make_batch(name, {}, num_envs=2)
    assert batch.reset(lambda place, count: place).shape == (2, 3)
    assert batch.step(np.zeros((2, 1), np.float32)).rewards.shape == (2,)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("pendulum", "Pendulum-v1"),
        ("Pendulum-v7", "Pendulum-v1"),
        ("Acrobat-v1", "Acrobot-v1"),
        ("HalfCheetah", "HalfCheetah-v5"),  # without a version the same name would mean another task tomorrow
        ("cartpole", "cart_pole"),
        ("lunar_landr", "lunar_lander"),
    ],
)
def test_an_unknown_name_comes_with_the_nearest_one_of_ours_or_gymnasiums(name: str, meant: str) -> None:
    line = complaint(name)
    assert line.startswith(f"unknown env '{name}'; did you mean '{meant}'? (known: bipedal_walker, cart_pole, ")


def test_a_name_like_nothing_comes_with_what_there_is() -> None:
    assert "any id of Gymnasium's, one's own as package.module:NAME" in complaint("xyzzy")


def test_what_gymnasium_cannot_make_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = gymnasium.envs.registration.EnvSpec("Missing-v0", entry_point="no_such_package:Env")
    monkeypatch.setitem(gymnasium.registry, "Missing-v0", missing)
    assert complaint("Missing-v0") == "env 'Missing-v0' cannot be made: No module named 'no_such_package'"


def test_our_own_environments_have_one_name() -> None:
    assert complaint("metapbt/CartPole-v0") == "env 'metapbt/CartPole-v0' is called cart_pole here"


# ---- of one's own


def test_ones_own_environment_is_made_with_its_features_and_time_limit() -> None:
    env = make_env(OWN, length=2, planet="moon")
    pendulum: object = env.unwrapped
    assert (pendulum.l, pendulum.g) == (2.0, 1.62)  # type: ignore[attr-defined]
    assert env.spec is not None
    assert env.spec.max_episode_steps == 20
    assert trajectory(pickle.loads(pickle.dumps(env)), 0) == trajectory(env, 0)


def test_its_context_holds_floats_and_words_in_declared_order() -> None:
    context = make_context(OWN, {"planet": "mars", "length": np.float32(2)})
    assert list(context.items()) == [("length", 2.0), ("planet", "mars")]
    assert [type(value) for value in context.values()] == [float, str]
    assert context.label == "length=2,planet=mars"
    assert make_context(OWN, {"planet": "earth", "length": 1}).changed == {}


def test_an_environment_object_wins_over_an_id_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(gymnasium.registry, "PENDULUM", gymnasium.spec("Acrobot-v1"))
    assert get_environment(OWN).name == "pendulum"


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"planet": "mon"}, "pendulum.planet must be one of earth, mars, moon, got 'mon'; did you mean 'moon'?"),
        ({"planet": 1.5}, "pendulum.planet must be one of earth, mars, moon, got 1.5"),
        ({"planet": None}, "pendulum.planet must be one of earth, mars, moon, got None"),
        ({"planet": True}, "pendulum.planet must be one of earth, mars, moon, got True"),
        ({"length": "long"}, "pendulum.length must be a number, got 'long'"),
        ({"length": 4}, "pendulum.length must be in [0.2, 3], got 4"),
        ({"planed": "moon"}, "unknown feature of pendulum 'planed'; did you mean 'planet'? (known: length, planet)"),
    ],
)
def test_illegal_values_are_refused_in_one_line(features: dict[str, object], message: str) -> None:
    assert complaint(OWN, **features) == message


def test_choices_that_are_digits_may_be_written_as_numbers() -> None:
    robots = Environment("robots", (Category("robot", choices=("1", "2"), default="1"),))
    assert robots.context({"robot": 2}).changed == {"robot": "2"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "my_env_package:PENDULM",
            "unknown env of my_env_package 'PENDULM'; did you mean 'PENDULUM'? (known: PENDULUM)",
        ),
        ("my_env_package:GRAVITY", "env 'my_env_package:GRAVITY' must be a metapbt.envs.Environment, got dict"),
        ("no_such_package:CAR", "env 'no_such_package:CAR' cannot be loaded: No module named 'no_such_package'"),
        ("json:CAR", "env 'json:CAR': json has no metapbt.envs.Environment and registers no such id"),
    ],
)
def test_a_wrong_name_of_ones_own_is_one_line(name: str, message: str) -> None:
    assert complaint(name) == message


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("undefined", "NameError: name 'undefined' is not defined"),
        ("def f(:", "SyntaxError: invalid syntax (broken_env.py, line 1)"),
        (
            "from metapbt.envs import Feature\nFeature('x', '1', 5.0, 0.0, 1.0)",
            "the default of feature 'x' must be in [0, 1], got 5",
        ),
    ],
)
def test_a_mistake_in_ones_own_module_is_one_line(
    code: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_env.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert complaint("broken_env:CAR").removeprefix("env 'broken_env:CAR' cannot be loaded: ") == message


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (
            lambda: Category("planet", ("earth",), "mars"),
            "the default of feature 'planet' must be one of earth, got 'mars'",
        ),
        (lambda: Category("a", ("x y",), "x y"), "choices of feature 'a' must be words without spaces, got 'x y'"),
        (lambda: Category("a", ("x", "x"), "x"), "choices of feature 'a' must differ, got 'x' 2 times"),
        (lambda: Category("a b", ("x",), "x"), "a feature cannot be called 'a b'"),
        (
            lambda: Feature("render_mode", "1", 0.5, 0, 1),
            "a feature cannot be called 'render_mode': take a Python name",
        ),
        (lambda: Environment("e", (Feature("a", "1", 0, 0, 1),) * 2), "env e has 2 features 'a'"),
    ],
)
def test_what_cannot_be_a_feature_is_said_where_it_is_declared(declare: object, message: str) -> None:
    with pytest.raises(MetapbtError) as error:
        declare()  # type: ignore[operator]
    assert str(error.value).startswith(message)
