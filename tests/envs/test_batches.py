"""A batch is make_env, stepped for many environments at once: the same observations and rewards, bit by bit."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

import metapbt.envs
from metapbt.envs import get_environment, make_env
from metapbt.envs.base import Environment
from metapbt.envs.batches import BATCHES, EnvBatch, Seeds, make_batch
from metapbt.errors import MetapbtError
from metapbt.seeding import episode_seed

Actions = NDArray[Any]
Policy = Callable[[NDArray[np.float32], np.random.Generator], Actions]

#: test_procgen_env.py has the batch of pictures.
VECTORS = [name for name in BATCHES if name not in metapbt.envs.PICTURES]

CHANGED: dict[str, Sequence[Mapping[str, Any]]] = {
    "cart_pole": [
        {"pole_length": 1.3, "pole_mass": 0.37},
        {"cart_mass": 3.3, "gravity": 17.1},
        {"force": 7.7, "time_step": 0.031},
    ],
    "mountain_car": [{"gravity": 0.0031, "force": 0.0017}, {"max_speed": 0.043}, {"goal_position": 0.31}],
    "lunar_lander": [
        {"leg_height": 3.2, "leg_width": 5, "leg_spread": 31.5, "leg_drop": 10, "leg_spring_torque": 7.5},
        {"main_engine_power": 6.5, "side_engine_power": 2.1, "side_engine_height": 30, "side_engine_away": 3},
        {"gravity_x": 1.7, "gravity_y": -14.3, "viewport_height": 333.3, "viewport_width": 777.7},
        {"initial_random": 333, "fps": 30, "scale": 45},
    ],
    "bipedal_walker": [
        {"gravity": -7.7, "friction": 0.7, "terrain_step": 0.39, "terrain_height": 5.1},
        {"motors_torque": 77.7, "speed_hip": 3.3, "speed_knee": 7.1, "lidar_range": 3.7},
        {"leg_width": 0.35, "leg_height": 0.9, "leg_drop": -0.4, "terrain_length": 61},
    ],
}


def at_random(name: str, **context: Any) -> Policy:
    space = make_env(name, **context).action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        count = int(space.n)
        return lambda observations, rng: rng.integers(count, size=len(observations))
    assert isinstance(space, gymnasium.spaces.Box)
    shape = space.shape
    return lambda observations, rng: rng.uniform(-1, 1, (len(observations), *shape)).astype(np.float32)


def balancing(observations: NDArray[np.float32], rng: np.random.Generator) -> Actions:
    chosen = (observations[:, 2] + observations[:, 3] > 0).astype(int)
    return np.where(rng.random(len(chosen)) < 0.9, chosen, 1 - chosen)


def swinging(observations: NDArray[np.float32], rng: np.random.Generator) -> Actions:
    return np.where(rng.random(len(observations)) < 0.95, np.where(observations[:, 1] >= 0, 2, 0), 1)


def landing(observations: NDArray[np.float32], rng: np.random.Generator) -> Actions:
    from gymnasium.envs.box2d.lunar_lander import heuristic

    lander: Any = make_env("lunar_lander").unwrapped
    return np.array([heuristic(lander, observation) for observation in observations])


def seeded(seed: int) -> Seeds:
    return partial(episode_seed, seed)


class Reference:
    """What a batch promises, written with make_env and Gymnasium's own words for an episode's end."""

    def __init__(self, name: str, contexts: Sequence[Mapping[str, Any]], seeds: Seeds) -> None:
        self.envs = [make_env(name, render_mode=None, **context) for context in contexts]
        self.seeds = seeds
        self.begun = [0] * len(self.envs)
        self.observations = np.array([self.begin(place) for place in range(len(self.envs))])

    def begin(self, place: int) -> NDArray[Any]:
        self.begun[place] += 1
        observation: NDArray[Any] = self.envs[place].reset(seed=self.seeds(place, self.begun[place] - 1))[0]
        return observation

    def step(self, actions: Actions) -> tuple[NDArray[Any], ...]:
        outcomes = [env.step(action) for env, action in zip(self.envs, actions, strict=True)]
        final, rewards, terminated, truncated, _ = zip(*outcomes, strict=True)
        self.observations = np.array(
            [
                self.begin(place) if over or out_of_time else observation
                for place, (observation, over, out_of_time) in enumerate(zip(final, terminated, truncated, strict=True))
            ]
        )
        return self.observations, np.array(rewards), np.array(terminated), np.array(truncated), np.array(final)


def compare(
    name: str, contexts: Sequence[Mapping[str, Any]], count: int, policy: Policy, seed: int = 0
) -> list[tuple[NDArray[Any], ...]]:
    """Step a batch and its reference; return what the reference said."""
    rng = np.random.default_rng(seed)
    batch, reference = make_batch(name, contexts, len(contexts)), Reference(name, contexts, seeded(seed))
    first = batch.reset(seeded(seed))
    assert (first.dtype, first.tobytes()) == (np.float32, reference.observations.tobytes())
    steps = []
    for t in range(count):
        actions = policy(reference.observations, rng)
        step, expected = batch.step(actions), reference.step(actions)
        steps.append(expected)
        for field, is_, should in zip(step._fields, step, expected, strict=True):
            where = f"{field} after {t + 1} steps of {name} in {contexts}"
            if field == "rewards":
                assert [float(r).hex() for r in is_] == [float(r).hex() for r in should], where
            else:
                assert (is_.dtype, is_.shape, is_.tobytes()) == (should.dtype, should.shape, should.tobytes()), where
    batch.close()
    return steps


def ends(steps: list[tuple[NDArray[Any], ...]]) -> tuple[int, int]:
    """How many episodes terminated, and how many were truncated."""
    return sum(int(step[2].sum()) for step in steps), sum(int(step[3].sum()) for step in steps)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "count"), [("cart_pole", 200), ("mountain_car", 420), ("lunar_lander", 350)])
def test_random_actions_in_default_contexts(name: str, count: int, seed: int) -> None:
    terminated, truncated = ends(compare(name, [{}] * 4, count, at_random(name), seed))
    assert terminated + truncated >= 8


@pytest.mark.parametrize(("name", "count"), [("cart_pole", 200), ("mountain_car", 420), ("lunar_lander", 500)])
def test_random_actions_where_every_environment_has_its_own_context(name: str, count: int) -> None:
    contexts = [*CHANGED[name], {}]
    terminated, truncated = ends(compare(name, contexts, count, at_random(name)))
    assert terminated + truncated >= 2 * len(contexts)


@pytest.mark.parametrize(("name", "policy"), [("cart_pole", balancing), ("mountain_car", swinging)])
def test_classic_control_is_identical_in_float64(name: str, policy: Policy) -> None:
    contexts = [*CHANGED[name], {}]
    batch: Any = make_batch(name, contexts, len(contexts))
    observations = batch.reset(seeded(0))
    envs: list[Any] = [make_env(name, render_mode=None, **context).unwrapped for context in contexts]
    begun = [0] * len(envs)
    for place, env in enumerate(envs):
        env.reset(seed=episode_seed(0, place, 0))
    rng = np.random.default_rng(0)
    for _ in range(100):  # fewer than the time limits, which the bare environments do not have
        actions = policy(observations, rng)
        observations = batch.step(actions).observations
        for i, (env, action) in enumerate(zip(envs, actions, strict=True)):
            if env.step(action)[2]:
                begun[i] += 1
                env.reset(seed=episode_seed(0, i, begun[i]))
            state = batch._state[[0, 2, 1, 3], i] if name == "cart_pole" else [batch._position[i], batch._velocity[i]]
            assert list(state) == list(env.state)


@pytest.mark.parametrize("seed", range(2))
def test_walkers(seed: int) -> None:
    terminated, _ = ends(
        compare("bipedal_walker", [{}, *CHANGED["bipedal_walker"]], 700, at_random("bipedal_walker"), seed)
    )
    assert terminated >= 4


def test_good_policies_reach_the_goal_and_the_time_limit() -> None:
    assert ends(compare("cart_pole", [{}, {}, {"pole_length": 0.8}], 1600, balancing))[1] >= 2
    terminated, truncated = ends(compare("mountain_car", [{}, {}, {"goal_position": 0.3}], 500, swinging))
    assert terminated >= 6
    steps = compare("lunar_lander", [{}, {}, {"leg_height": 14.4}], 900, landing)
    assert sum(int((step[1] == 100).sum()) for step in steps) >= 3  # came to rest


def throttling(observations: NDArray[np.float32], rng: np.random.Generator) -> Actions:
    from gymnasium.envs.box2d.lunar_lander import heuristic

    lander: Any = make_env("lunar_lander", actions="continuous").unwrapped
    chosen = np.array([heuristic(lander, observation) for observation in observations])
    return (chosen + rng.normal(0.0, 0.1, chosen.shape)).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("policy", [at_random("lunar_lander", actions="continuous"), throttling])
def test_landers_with_two_throttles(policy: Policy) -> None:
    contexts = [{}, {}, *CHANGED["lunar_lander"]]
    terminated, _ = ends(compare("lunar_lander", [{**c, "actions": "continuous"} for c in contexts], 600, policy))
    assert terminated >= 6


def test_throttles_at_their_edges() -> None:
    """Both engines off, at half power and at full power, where Gymnasium's comparisons are strict and where not."""
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    edges = np.array([zero, np.nextafter(zero, one), half, np.nextafter(half, one), one])

    def at_edges(observations: NDArray[np.float32], rng: np.random.Generator) -> Actions:
        return rng.choice(np.concatenate([edges, -edges]), (len(observations), 2))

    compare("lunar_lander", [{"actions": "continuous", "side_engine_power": 2.1}] * 3, 300, at_edges)


@pytest.mark.parametrize("name", VECTORS)
def test_time_limit_is_the_environments(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, attribute = metapbt.envs.ENVIRONMENTS[name].split(":")
    short = dataclasses.replace(get_environment(name), max_episode_steps=7)
    monkeypatch.setattr(importlib.import_module(module), attribute, short)
    steps = compare(name, [{}] * 3, 40, at_random(name))
    assert ends(steps)[1] >= 15
    # The last observation of an episode is not the first of the next.
    assert not np.array_equal(steps[6][0], steps[6][4])


@pytest.mark.parametrize("name", VECTORS)
def test_reset_begins_anew_from_seeds(name: str) -> None:
    batch = make_batch(name, {}, 2)
    first = batch.reset(seeded(3)).copy()
    policy, rng = at_random(name), np.random.default_rng(0)
    for _ in range(130):
        batch.step(policy(first, rng))
    again = batch.reset(seeded(3))
    assert not np.array_equal(first[0], first[1])
    assert np.array_equal(again, first)


@pytest.mark.parametrize("name", VECTORS)
def test_spaces_are_the_environments(name: str) -> None:
    context = CHANGED[name][0]
    batch, env = make_batch(name, context, 3), make_env(name, render_mode=None, **context)
    assert (batch.num_envs, batch.observation_space, batch.action_space) == (3, env.observation_space, env.action_space)


class Corridor(gymnasium.Env[NDArray[np.float64], np.int64]):
    """Walk to the end; observations in float64 and of two dimensions, actions from 1."""

    def __init__(self, length: float) -> None:
        self.length = length
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1, 2), np.float64)
        self.action_space = gymnasium.spaces.Discrete(2, start=1)

    def _observation(self) -> NDArray[np.float64]:
        return np.array([[self.place, self.length]])

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float64], dict[str, Any]]:
        super().reset(seed=seed)
        self.place = self.np_random.uniform()
        return self._observation(), {}

    def step(self, action: np.int64) -> tuple[NDArray[np.float64], float, bool, bool, dict[str, Any]]:
        self.place += float(action)
        return self._observation(), self.place / 3, self.place > self.length, False, {}


CORRIDOR = Environment(
    name="corridor",
    features=(metapbt.envs.Feature("length", "m", 4.0, 1.0, 9.0, None, "how far the end is"),),
    gym_id="tests/Corridor-v0",
    build=lambda context, render_mode: Corridor(context["length"]),
    max_episode_steps=6,
)


def test_an_environment_of_ones_own_is_stepped_in_a_loop() -> None:
    name = f"{__name__}:CORRIDOR"
    batch = make_batch(name, [{}, {"length": 9.0}], 2)
    envs = [make_env(name), make_env(name, length=9.0)]
    seeds = seeded(5)
    expected = np.array([env.reset(seed=seeds(place, 0))[0] for place, env in enumerate(envs)], np.float32)
    assert np.array_equal(batch.reset(seeds), expected)
    begun = [1, 1]
    for t in range(1, 20):
        step = batch.step(np.array([2, 1]))
        for i, (env, action) in enumerate(zip(envs, [2, 1], strict=True)):
            final, reward, terminated, truncated, _ = env.step(action)
            assert (step.rewards[i], step.terminated[i], step.truncated[i]) == (reward, terminated, truncated)
            assert np.array_equal(step.final_observations[i], final.astype(np.float32))
            following = final
            if terminated or truncated:
                following, _ = env.reset(seed=seeds(i, begun[i]))
                begun[i] += 1
            assert np.array_equal(step.observations[i], following.astype(np.float32))
        assert step.truncated[1] == (t % 6 == 0)
    batch.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lunar_landr", {}, 2), "did you mean 'lunar_lander'"),
        (("cart_pole", {"pole_lenght": 1.0}, 2), "did you mean 'pole_length'"),
        (("cart_pole", {"gravity": 99.0}, 2), r"cart_pole.gravity must be in \[0.5, 50\]"),
        (("cart_pole", [{}, {}], 3), "3 environments need as many contexts, got 2"),
        (
            ("lunar_lander", [{}, {"actions": "continuous"}], 2),
            r"needs the same actions in all contexts, got Discrete\(4\) and",
        ),
        (("cart_pole", {}, 0), "num_envs must be at least 1, got 0"),
        (("quadratic", {}, 2), "toy without a Gymnasium environment"),
        (("cart_pole", {}, 2, "pyhton"), "unknown engine 'pyhton'; did you mean 'python'"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments: Any, message: str) -> None:
    with pytest.raises(MetapbtError, match=message):
        make_batch(*arguments)


def test_importing_needs_no_gymnasium() -> None:
    # A bare package stands in for metapbt's own __init__, which is free to import more.
    script = f"""
import sys, types
package = types.ModuleType("metapbt")
package.__path__ = [{str(Path(metapbt.envs.__file__).parent.parent)!r}]
sys.modules["metapbt"] = package
import metapbt.envs.batches
print(sorted(sys.modules.keys() & {{"gymnasium", "Box2D", "torch", "envpool"}}))
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_batches_are_env_batches() -> None:
    batch: EnvBatch = make_batch("cart_pole", {}, 1)
    assert batch.reset(seeded(0)).shape == (1, 4)


@pytest.mark.parametrize("name", ["lunar_lander", "cart_pole", "tests_own"])
def test_environments_that_rest_change_nothing_for_the_others_and_wake_at_a_reset(name: str) -> None:
    if name == "tests_own":
        name = "metapbt.envs.mountain_car:MOUNTAIN_CAR"  # by its module: the batch that loops over make_env
    batch, other = make_batch(name, {}, 3), make_batch(name, {}, 3)
    resting = np.array([False, True, False])
    for _ in range(2):
        np.testing.assert_array_equal(batch.reset(seeded(0)), other.reset(seeded(0)))
        rng = np.random.default_rng(0)
        for number in range(150):
            if number == 20:
                batch.rest(resting)
            actions = rng.integers(2, size=3)
            ours, theirs = batch.step(actions), other.step(actions)
            for mine, others in zip(ours, theirs, strict=True):
                rows = ~resting if number >= 20 else slice(None)
                np.testing.assert_array_equal(mine[rows], others[rows])
