"""Episodes go on: in another batch, after any way through files, they are those that nobody interrupted."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from metapbt.envs import make_env
from metapbt.envs.base import Environment
from metapbt.envs.batches import ANEW, BATCHES, EnvBatch, make_batch, why_anew
from metapbt.envs.batches.episodes import played
from metapbt.envs.batches.generic import GenericBatch
from metapbt.seeding import episode_seed

PLACES = 3
GOING_ON = [name for name in BATCHES if name not in ANEW]
CONTEXTS: dict[str, dict[str, Any]] = {
    "cart_pole": {"pole_length": 0.8},
    "mountain_car": {"force": 0.002},
    "lunar_lander": {"leg_height": 3.2},
    "bipedal_walker": {"leg_height": 0.9},
}
PLAYED = {
    **{name: (name, CONTEXTS[name]) for name in GOING_ON},
    "lunar_lander with throttles": ("lunar_lander", {"actions": "continuous"}),
}
LOOP = " in a loop"
KINDS: dict[str, Callable[[], EnvBatch]] = {
    **{kind: partial(make_batch, *which, PLACES) for kind, which in PLAYED.items()},
    **{f"{kind}{LOOP}": partial(GenericBatch, name, [context] * PLACES) for kind, (name, context) in PLAYED.items()},
}


def chosen(batch: EnvBatch, rng: np.random.Generator) -> NDArray[Any]:
    space = batch.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return rng.integers(space.n, size=PLACES)
    return rng.uniform(-1, 1, (PLACES, *space.shape)).astype(np.float32)


def through_a_file(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as saved:
        return dict(saved)


@pytest.mark.parametrize("steps", [0, 1, 45, 260])
@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_on_is_what_nobody_interrupted(kind: str, steps: int) -> None:
    one, rng = KINDS[kind](), np.random.default_rng(steps)
    last = one.reset(partial(episode_seed, 5)).copy()
    for _ in range(steps):
        last = one.step(chosen(one, rng)).observations.copy()
    saved = one.under_way()
    if steps == 45:
        assert saved["age"].max() >= 12  # there is something to go on with
    other = KINDS[kind]()
    # Seeds of episodes that begin from now on are of one's own; from here both are told the same.
    resumed = other.reset(partial(episode_seed, 6), through_a_file(saved))
    assert resumed.tobytes() == last.tobytes()
    again = other.under_way()
    assert saved.keys() == again.keys()
    assert all(np.array_equal(saved[key], again[key]) and saved[key].dtype == again[key].dtype for key in saved)
    going = np.ones(PLACES, np.bool_)
    for _ in range(120):
        actions = chosen(one, rng)
        step, expected = other.step(actions), one.step(actions)
        for is_, should in zip(step[1:], expected[1:], strict=True):
            assert is_[going].tobytes() == should[going].tobytes()
        going &= ~(step.terminated | step.truncated)
        assert step.observations[going].tobytes() == expected.observations[going].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_is_its_seed_and_its_actions(kind: str) -> None:
    batch, rng = KINDS[kind](), np.random.default_rng(1)
    batch.reset(partial(episode_seed, 7))
    begun = [0] * PLACES
    history: list[list[Any]] = [[] for _ in range(PLACES)]
    for _ in range(150):
        actions = chosen(batch, rng)
        step = batch.step(actions)
        for place in range(PLACES):
            history[place].append(actions[place])
            if step.terminated[place] or step.truncated[place]:
                begun[place] += 1
                history[place] = []
    saved = batch.under_way()
    name, context = PLAYED[kind.removesuffix(LOOP)]
    for place in range(PLACES):
        assert saved["seed"][place] == episode_seed(7, place, begun[place])
        assert saved["age"][place] == len(history[place])
        if "actions" in saved:
            assert np.array_equal(played(saved, place), np.array(history[place]).reshape(played(saved, place).shape))
        env = make_env(name, render_mode=None, **context)
        observation, _ = env.reset(seed=int(saved["seed"][place]))
        for action in history[place]:
            observation, *_ = env.step(action)
        assert np.asarray(observation, np.float32).tobytes() == step.observations[place].tobytes()
    if name != "mountain_car":
        assert sum(begun) > 0


def test_saved_episodes_are_copies() -> None:
    for kind in KINDS:
        batch, rng = KINDS[kind](), np.random.default_rng(0)
        batch.reset(partial(episode_seed, 1))
        for _ in range(10):
            batch.step(chosen(batch, rng))
        saved = batch.under_way()
        before = {key: value.copy() for key, value in saved.items()}
        KINDS[kind]().reset(partial(episode_seed, 2), saved)
        batch.step(chosen(batch, rng))
        assert all(np.array_equal(saved[key], before[key]) for key in saved)


class Coins(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Shows coins: fair ones of its own seed, or with a fault."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, fault: str) -> None:
        self.fault, self.episodes = fault, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed if self.fault != "ignores its seed" else None)
        self.episodes += 1
        return self.observation(), {}

    def observation(self) -> NDArray[np.float32]:
        kept = self.episodes if self.fault == "remembers episodes" else 0
        return np.array([kept + self.np_random.random()], np.float32)

    def step(self, action: np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        return self.observation(), 1.0, False, False, {}


def coins(fault: str, limit: int | None = 30) -> Environment:
    build: Any = lambda context, render_mode: Coins(fault)  # noqa: E731
    return Environment("coins", (), gym_id=f"tests/Coins{len(fault)}-v0", build=build, max_episode_steps=limit)


SOUND, UNLIMITED = coins("none"), coins("none", None)
UNSEEDED, REMEMBERING = coins("ignores its seed"), coins("remembers episodes")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("SOUND", None),
        ("UNLIMITED", "it has no time limit"),
        ("UNSEEDED", "the same seed and actions do not repeat an episode"),
        ("REMEMBERING", "the same seed and actions do not repeat an episode"),
    ],
)
def test_episodes_that_do_not_repeat_are_found(name: str, why: str | None) -> None:
    assert why_anew(f"{__name__}:{name}", {}) == why


@pytest.mark.parametrize("name", GOING_ON)
def test_ours_can_all_go_on(name: str) -> None:
    from metapbt.envs.batches import episodes

    assert episodes.why_anew(name, CONTEXTS[name]) is None
    assert why_anew(name, CONTEXTS[name]) is None
