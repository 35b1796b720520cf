"""Bodies that move, as far as they need neither Brax nor MuJoCo: names, features, the page about them, and errors."""

import re
import sys
from pathlib import Path

import gymnasium
import pytest

import metapbt
from metapbt.config import compose
from metapbt.envs import BODIES, get_environment, make_context, make_env
from metapbt.envs.bodies import LIMBS, MUJOCO_IDS, mass_factors
from metapbt.envs.jax import JAX_ENVIRONMENTS, make_jax_env
from metapbt.errors import MetapbtError
from metapbt.store.run_directory import path_name

PAGE = (Path(metapbt.__file__).parents[1] / "docs" / "bodies.md").read_text(encoding="utf-8")
SIMULATORS = {"Brax": {body: f"brax/{body}" for body in LIMBS}, "MuJoCo": MUJOCO_IDS}


def complaint(call, *arguments, **named):
    with pytest.raises(MetapbtError) as error:
        call(*arguments, **named)
    assert "\n" not in str(error.value)
    return str(error.value)


def table(title):
    """The table below a heading of the page: its header, and its rows by their first cell."""
    section = PAGE.split(f"### {title}\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return header, {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_the_page_lists_the_features_of_every_body(simulator):
    header, rows = table(simulator)
    assert header == ["feature", "unit", "default", "legal range", "bodies", "what it is"]
    names = {}
    for name, cells in rows.items():
        unit, _, _, bodies, what = cells
        for line, of in enumerate(bodies.split("<br>")):
            for body in LIMBS if of == "all" else of.split(", "):
                names.setdefault(body, {})[name] = (
                    unit, cells[1].split("<br>")[line], cells[2].split("<br>")[line], what
                )  # fmt: skip
    for body, name in SIMULATORS[simulator].items():
        assert names[body] == {feature.name: shown(feature) for feature in get_environment(name).features}


def shown(feature):
    if hasattr(feature, "choices"):
        return feature.unit, feature.default, ", ".join(feature.choices), feature.description
    legal = f"[{feature.low:g}, {feature.high:g}]"
    return feature.unit, f"{feature.default:g}", legal, feature.description


def test_every_body_is_named_on_the_page():
    assert set(re.findall(r"`(brax/\w+|\w+-v5)`", PAGE)) >= set(BODIES)


@pytest.mark.parametrize("name", BODIES)
def test_a_body_is_chosen_by_its_name(name):
    config = compose([f"env={name}", "context.mass=1.5"])
    assert config.env == name
    assert make_context(config.env, config.context).label == "mass=1.5"
    assert "/" not in path_name(name)


def test_both_simulators_know_the_same_bodies_by_the_same_features():
    for body in LIMBS:
        brax, mujoco = ({f.name for f in get_environment(names[body]).features} for names in SIMULATORS.values())
        assert brax >= mujoco
        assert mujoco >= {"mass", "joint_strength", *LIMBS[body]}


def test_bodies_have_ids_in_gymnasium():
    metapbt.register_envs()
    assert gymnasium.spec("metapbt/Hopper-v5").max_episode_steps == 1000
    assert gymnasium.spec("metapbt/BraxInvertedDoublePendulum-v0").max_episode_steps == 1000
    assert gymnasium.spec("Hopper-v5").entry_point == "gymnasium.envs.mujoco.hopper_v5:HopperEnv"


def test_jax_steps_every_body_of_brax():
    assert {name for name in JAX_ENVIRONMENTS if name.startswith("brax/")} == set(SIMULATORS["Brax"].values())


def test_factors_of_parts_are_that_of_all_times_that_of_the_limb():
    parts = ["torso", "right_thigh", "left_shin", "right_upper_arm", "floor"]
    assert mass_factors("humanoid", {"mass": 2.0, "leg_mass": 3.0}, parts) == [2, 6, 6, 2, 1]
    assert mass_factors("humanoid", {"gravity": -5.0}, parts) is None
    assert mass_factors("ant", {"leg_mass": 3.0}, ["torso", "front_left_leg", "aux_1", ""]) == [1, 3, 3, 3]


@pytest.mark.parametrize("name", ["fetch", "ur5e", "grasp", "brax/fetch", "brax/ur5e"])
def test_bodies_of_the_first_brax_are_said_to_be_gone(name):
    body = name.removeprefix("brax/")
    assert complaint(get_environment, name).startswith(
        f"env '{name}': no Brax that can be installed has {body} any more (docs/bodies.md"
    )
    assert body in PAGE


@pytest.mark.parametrize(
    ("name", "meant"), [("ant", "Ant-v5"), ("brax/halfcheeta", "brax/halfcheetah"), ("Hopper", "Hopper-v5")]
)
def test_a_name_that_is_nearly_a_bodys_comes_with_it(name, meant):
    assert f"unknown env '{name}'; did you mean '{meant}'?" in complaint(get_environment, name)


@pytest.mark.parametrize(("name", "module", "extra"), [("brax/ant", "brax", "brax"), ("Ant-v5", "mujoco", "mujoco")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(name, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    made_before(monkeypatch)
    assert f"pip install 'metapbt[{extra}]'" in complaint(make_env, name, mass=1.5)
    if extra == "brax":
        assert f"pip install 'metapbt[{extra}]'" in complaint(make_jax_env, name, {})


def made_before(monkeypatch):
    """Forget what other tests made with the packages."""
    from metapbt.envs import mujoco
    from metapbt.envs.jax import brax

    monkeypatch.setattr(brax, "_brax_env", brax._brax_env.__wrapped__)
    monkeypatch.setattr(mujoco, "_contextual_class", mujoco._contextual_class.__wrapped__)


@pytest.mark.parametrize(
    ("name", "feature", "value", "line"),
    [
        ("Hopper-v5", "gravity", 9.81, "Hopper-v5.gravity must be in [-30, -0.5], got 9.81"),
        ("brax/ant", "backend", "sprng", "brax/ant.backend must be one of spring, positional, generalized, mjx, "),
        ("brax/swimmer", "backend", "spring", "brax/swimmer.backend must be one of generalized, got 'spring'"),
        ("brax/ant", "action_repeat", 0, "brax/ant.action_repeat must be in [1, 10], got 0"),
    ],
)
def test_what_a_body_cannot_be_is_one_line(name, feature, value, line):
    assert complaint(make_context, name, {feature: value}).startswith(line)
