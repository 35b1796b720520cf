"""Intervals end in the middle of episodes, and these go on as if they did not."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from learner_intervals import made, train

from metapbt.envs import make_env
from metapbt.envs.base import Environment
from metapbt.learners.ppo import PPOLearner, learner
from metapbt.learners.ppo.network import Actor
from metapbt.learners.sb3 import SB3Learner
from metapbt.learners.sb3 import learner as sb3_learner
from metapbt.seeding import episode_seed
from metapbt.space import Space

N_ENVS, STEPS = 4, 75  # in an interval, STEPS of each of N_ENVS environments
LENGTH = N_ENVS * STEPS

Array = np.ndarray[Any, Any]


class Noisy(gymnasium.Env[Array, np.int64]):
    """Shows and pays what it draws, and ends at random: an environment of one's own."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,))
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.random(2, np.float32), {}

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        reward = self.np_random.normal() + float(action)
        return self.np_random.random(2, np.float32), reward, self.np_random.random() < 0.02, False, {}


class Forgetful(Noisy):
    """Does not listen to its seed, so that no episode can be played again."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Array, dict[str, Any]]:
        return super().reset(seed=None)


NOISY = Environment("noisy", (), gym_id="tests/Noisy-v0", build=lambda *_: Noisy(), max_episode_steps=90)
FORGETFUL = Environment(
    "forgetful", (), gym_id="tests/Forgetful-v0", build=lambda *_: Forgetful(), max_episode_steps=90
)
ENVS = ["cart_pole", "mountain_car", "lunar_lander", "bipedal_walker", f"{__name__}:NOISY"]

_SMALL = {"layers": 1, "width": 8}
PPO = {"network": {"policy": _SMALL, "value": _SMALL}, "hyperparameters": {"n_steps": 25, "n_epochs": 1}}
NORMALISING = {**PPO, "normalise_observations": True, "normalise_returns": True}
#: Off-policy algorithms act without chance if asked.
GREEDY = {"learning_starts": 0, "buffer_size": 5000, "batch_size": 8, "train_freq": 5}
DQN = {**GREEDY, "exploration_initial_eps": 0.0, "exploration_final_eps": 0.0}


def ppo(env: str, settings: dict[str, Any] = PPO) -> Any:
    return made(PPOLearner, env, {**settings, "n_envs": N_ENVS}, budget=10_000, length=LENGTH)


def stable_baselines3(env: str, algorithm: str, **fixed: Any) -> Any:
    settings = {"algorithm": algorithm, "policy": "MlpPolicy", "n_envs": N_ENVS, "hyperparameters": {algorithm: fixed}}
    return made(SB3Learner, env, settings, budget=10_000, length=LENGTH)


def learning(name: str, env: str) -> Any:
    if name == "ppo":
        return ppo(env)
    return stable_baselines3(env, "PPO", n_steps=25, batch_size=50, n_epochs=1)


def is_part_of_episodes(name: str) -> bool:
    return name.startswith(("episodes/", "observations/", "returns/"))


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("kind", ["ppo", "ppo that normalises", "sb3"])
def test_an_interval_that_ends_changes_no_episode(kind: str, env: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing learned, no chance in actions and one seed for each environment, nothing tells intervals apart."""
    for module in (learner, sb3_learner):
        monkeypatch.setattr(module, "episode_seed", lambda seed, place, count: place)
    monkeypatch.setattr(
        Actor, "noise", lambda actor, rng, *shape: np.zeros((*shape, actor.network.outputs), np.float32)
    )
    if kind == "sb3":
        algorithm, fixed = ("TD3", GREEDY) if env == "bipedal_walker" else ("DQN", DQN)
        one = stable_baselines3(env, algorithm, **fixed)
    else:
        one = ppo(env, NORMALISING if "normalises" in kind else PPO)
    still = {"learning_rate": 0.0}
    first = train(one, None, still, LENGTH, seed=1)
    second = train(one, first, still, LENGTH, seed=2)
    third = train(one, second, still, LENGTH, seed=3)
    whole = train(one, None, still, 3 * LENGTH, seed=1)
    assert first.returns + second.returns + third.returns == whole.returns
    assert whole.returns
    assert (first.state["episodes/age"] > 0).any()
    names = [name for name in whole.state if is_part_of_episodes(name)]
    assert names
    for name in names:
        assert np.array_equal(third.state[name], whole.state[name]), name


def same_training(one: Any, other: Any) -> bool:
    same_state = one.state.keys() == other.state.keys() and all(
        np.array_equal(one.state[name], other.state[name]) for name in one.state
    )
    return same_state and (one.returns, one.eval_return) == (other.returns, other.eval_return)


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("settings", [PPO, NORMALISING], ids=["plain", "normalising"])
def test_whoever_is_in_the_midst_of_episodes_gets_what_playing_them_again_gives(
    env: str, settings: dict[str, Any]
) -> None:
    here, here_before, elsewhere = ppo(env, settings), None, None
    for interval in range(3):
        here_after = train(here, here_before, {"learning_rate": 1e-3}, LENGTH, seed=interval)
        elsewhere = train(ppo(env, settings), elsewhere, {"learning_rate": 1e-3}, LENGTH, seed=interval)
        assert same_training(here_after, elsewhere)
        # A copy finds the batch taken, and plays again.
        if here_before is not None:
            again = train(here, here_before, {"learning_rate": 1e-3}, LENGTH, seed=interval)
            assert same_training(again, here_after)
        here_before = here_after


def test_who_goes_on_where_it_was_plays_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    one = ppo("lunar_lander")
    training = train(one, None, {}, LENGTH, seed=0)
    monkeypatch.setattr("metapbt.envs.batches.box2d.played", None)  # would be called
    training = train(one, training, {}, LENGTH, seed=1)
    with pytest.raises(TypeError):
        train(ppo("lunar_lander"), training, {}, LENGTH, seed=2)


@pytest.mark.parametrize("name", ["ppo", "sb3"])
def test_every_step_of_training_is_in_one_episode(name: str) -> None:
    one, training, counted = learning(name, "cart_pole"), None, 0.0
    for interval in range(4):
        training = train(one, training, {"learning_rate": 1e-3}, LENGTH, seed=interval)
        counted += sum(training.returns)  # a cart-pole's return is its number of steps
        assert counted + training.state["episodes/age"].sum() == training.env_steps == (interval + 1) * LENGTH


@pytest.mark.parametrize("env", ENVS)
@pytest.mark.parametrize("name", ["ppo", "sb3"])
def test_what_is_under_way_can_be_played_again(name: str, env: str) -> None:
    one, training = learning(name, env), None
    for interval in range(3):
        training = train(one, training, {"learning_rate": 1e-3}, LENGTH, seed=interval)
    assert training is not None
    episodes = {key.removeprefix("episodes/"): array for key, array in training.state.items() if "episodes/" in key}
    if "actions" not in episodes:
        assert env in ("cart_pole", "mountain_car")
        assert episodes["state"].shape == (4 if env == "cart_pole" else 2, N_ENVS)
        return
    for place, (seed, age) in enumerate(zip(episodes["seed"], episodes["age"], strict=True)):
        single, total = make_env(env), 0.0
        single.reset(seed=int(seed))
        for action in episodes["actions"][len(episodes["actions"]) - age :, place]:
            _, reward, terminated, truncated, _ = single.step(action)
            total += float(reward)
            assert not terminated
            assert not truncated
        if name == "ppo":
            assert total == pytest.approx(episodes["return"][place], abs=1e-9)


@pytest.mark.parametrize("name", ["ppo", "sb3"])
def test_copies_go_on_with_their_parents_episodes_and_new_agents_with_none(name: str) -> None:
    one = learning(name, "mountain_car")  # whose episodes are 200 steps long
    parent = train(one, None, {"learning_rate": 1e-3}, LENGTH, seed=1)
    fresh = train(one, None, {"learning_rate": 1e-3}, LENGTH, seed=2)
    for hyperparameters, seed in (({"learning_rate": 1e-4}, 3), ({"gamma": 0.9}, 4)):
        copy = train(one, parent, hyperparameters, LENGTH, seed=seed)
        assert np.array_equal(copy.state["episodes/seed"], parent.state["episodes/seed"])
        assert (copy.state["episodes/age"] == 2 * STEPS).all()
        ended = train(one, copy, hyperparameters, LENGTH, seed=seed)
        assert ended.returns == (-200.0,) * N_ENVS
        assert (ended.state["episodes/age"] == 3 * STEPS - 200).all()
        assert ended.state["episodes/seed"].tolist() == [episode_seed(seed, place, 0) for place in range(N_ENVS)]
    assert fresh.state["episodes/seed"].tolist() == [episode_seed(2, place, 0) for place in range(N_ENVS)]
    assert (fresh.state["episodes/age"] == STEPS).all()


def test_episodes_of_500_steps_are_seen_whole_at_intervals_of_125_for_each_environment() -> None:
    one = made(PPOLearner, "cart_pole", {}, budget=50_000, length=2000)
    training, returns = None, []
    for interval in range(25):
        training = train(one, training, {"learning_rate": 1e-3}, 2000, seed=interval)
        returns.append(training.returns)
    assert max(map(max, filter(None, returns))) == 500
    assert all(returns[:5])


@pytest.mark.parametrize("name", ["ppo", "sb3"])
def test_episodes_that_cannot_go_on_begin_anew_and_that_is_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    one = learning(name, f"{__name__}:FORGETFUL")
    one.check(Space({"gamma": {"type": "float", "low": 0.9, "high": 0.99}}))
    (record,) = caplog.records
    assert record.getMessage() == (
        f"env={__name__}:FORGETFUL: each interval begins new episodes, because the old ones cannot be continued: "
        "the same seed and actions do not repeat an episode"
    )
    first = train(one, None, {}, LENGTH)
    second = train(one, first, {}, LENGTH)
    assert not any(key.startswith("episodes/") for key in second.state)
    assert math.isfinite(second.eval_return)
    caplog.clear()
    learning(name, f"{__name__}:NOISY").check(Space({"gamma": {"type": "float", "low": 0.9, "high": 0.99}}))
    assert not caplog.records
