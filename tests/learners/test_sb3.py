"""The Stable-Baselines3 learner against Stable-Baselines3 left to itself."""

import math

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.env_util import make_vec_env

from metapbt.envs import make_env
from metapbt.errors import MetapbtError
from metapbt.learners import sb3 as module
from metapbt.learners.sb3 import SB3Learner
from metapbt.space import Space

SETTINGS = {
    "algorithm": "PPO",
    "policy": "MlpPolicy",
    "n_envs": 2,
    "eval_episodes": 3,
    "hyperparameters": {"PPO": {"n_steps": 50, "batch_size": 50}},
}


def learner(budget=1000, **changes):
    return SB3Learner("cart_pole", {}, budget, {**SETTINGS, **changes})


def test_the_first_interval_equals_stable_baselines3_on_its_own():
    hyperparameters = {
        "learning_rate": 1e-3,
        "n_epochs": 3,
        "gae_lambda": 0.9,
        "clip_range": 0.3,
        "gamma": 0.98,
    }
    training = learner().train(None, hyperparameters, 300, seed=7, evaluation_seed=1)
    envs = make_vec_env(lambda: make_env("cart_pole"), n_envs=2)
    reference = PPO("MlpPolicy", envs, seed=7, n_steps=50, batch_size=50, device="cpu", **hyperparameters).learn(300)
    for name, weights in reference.policy.state_dict().items():
        assert np.array_equal(training.state[f"policy/{name}"], weights.numpy())
    assert training.episodes > 0
    assert math.isfinite(training.train_return)


def test_a_restored_member_has_the_same_weights_optimiser_and_counters():
    one = learner()
    state = one.train(None, {"learning_rate": 1e-3}, 200, seed=0, evaluation_seed=1).state
    model = one._build({"learning_rate": 1e-3}, seed=5)
    module._restore(model, state)
    back = module._state(model)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], state[key]) for key in state)
    assert any("exp_avg_sq" in key for key in state)


def test_hyperparameters_change_while_the_optimiser_keeps_what_it_learned():
    one = learner()
    state = one.train(None, {"learning_rate": 1e-3}, 100, seed=0, evaluation_seed=1).state
    model = one._build({"learning_rate": 2e-4, "clip_range": 0.4, "gae_lambda": 0.8, "batch_size": 25}, seed=5)
    module._restore(model, state)
    assert model.policy.optimizer.param_groups[0]["lr"] == 2e-4
    assert (model.clip_range(1.0), model.rollout_buffer.gae_lambda, model.batch_size) == (0.4, 0.8, 25)
    moments = model.policy.optimizer.state_dict()["state"]
    assert np.array_equal(moments[0]["exp_avg"].numpy(), state["policy.optimizer/0/exp_avg"])
    assert moments[0]["step"] == state["policy.optimizer/0/step"] > 0


def test_intervals_are_rounded_up_to_whole_rollouts():
    assert learner().train(None, {}, 150, seed=0, evaluation_seed=1).env_steps == 200


def test_an_interval_in_which_no_episode_ends_has_no_train_return():
    long_lived = SB3Learner("mountain_car", {}, 1000, SETTINGS)
    training = long_lived.train(None, {}, 100, seed=0, evaluation_seed=1)
    assert math.isnan(training.train_return)
    assert training.episodes == 0
    assert training.eval_return == -200.0


def test_evaluation_depends_on_its_own_seed_alone():
    one = learner()
    state = one.train(None, {}, 100, seed=0, evaluation_seed=1).state
    model = one._build({}, seed=5)
    module._restore(model, state)
    torch.manual_seed(0)
    first = one._evaluate(model, 11)
    torch.manual_seed(1)
    assert one._evaluate(model, 11) == first
    assert {one._evaluate(model, seed) for seed in range(5)} != {first}


def test_a_replay_buffer_goes_on_where_it_was():
    settings = {
        **SETTINGS,
        "algorithm": "DQN",
        "hyperparameters": {"DQN": {"learning_starts": 20, "buffer_size": 300}},
    }
    one = SB3Learner("cart_pole", {}, 1000, settings)
    first = one.train(None, {}, 100, seed=0, evaluation_seed=1)
    second = one.train(first.state, {}, 100, seed=3, evaluation_seed=1)
    rows = first.state["replay/rewards"].shape[0]
    assert rows == first.env_steps / 2  # a row holds a step of each of two environments
    assert np.array_equal(second.state["replay/observations"][:rows], first.state["replay/observations"])
    assert second.state["replay/place"].tolist() == [2 * rows, 0]


def test_an_exploration_schedule_runs_over_the_whole_budget_not_over_each_interval():
    settings = {**SETTINGS, "algorithm": "DQN", "hyperparameters": {"DQN": {"buffer_size": 300}}}
    one = SB3Learner("cart_pole", {}, 10_000, settings)
    rates = []
    original = DQN._on_step

    def spy(model):
        original(model)
        rates.append(model.exploration_rate)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DQN, "_on_step", spy)
        one.train(None, {}, 100, seed=0, evaluation_seed=1)
    assert min(rates) == pytest.approx(1 - 0.95 * 100 / 1000, abs=0.01)  # a tenth of the way after 1% of the budget


def test_an_entropy_coefficient_of_its_own_is_restored(monkeypatch):
    monkeypatch.setattr(module, "make_env", lambda name, **_: __import__("gymnasium").make("Pendulum-v1"))
    settings = {
        **SETTINGS,
        "algorithm": "SAC",
        "hyperparameters": {"SAC": {"learning_starts": 10, "buffer_size": 300}},
    }
    one = SB3Learner("mountain_car", {}, 1000, settings)
    state = one.train(None, {"batch_size": 16}, 60, seed=0, evaluation_seed=1).state
    assert state["log_ent_coef"] != 0
    model = one._build({"batch_size": 16}, seed=5)
    assert isinstance(model, SAC)
    module._restore(model, state)
    assert model.log_ent_coef.item() == state["log_ent_coef"]
    assert model.log_ent_coef.requires_grad


def test_nested_names_reach_the_policys_arguments():
    model = learner()._build({"policy_kwargs.optimizer_kwargs.eps": 1e-3}, seed=0)
    assert model.policy.optimizer.param_groups[0]["eps"] == 1e-3


def test_a_hyperparameter_that_changes_the_network_is_refused_by_name():
    state = learner().train(None, {}, 100, seed=0, evaluation_seed=1).state
    wider = learner(hyperparameters={"PPO": {"n_steps": 50, "batch_size": 50, "policy_kwargs": {"net_arch": [8]}}})
    with pytest.raises(MetapbtError, match="the checkpoint does not fit the network"):
        wider.train(state, {}, 100, seed=0, evaluation_seed=1)


def number(name):
    return Space({name: {"type": "float", "low": 0.1, "high": 0.5}})


@pytest.mark.parametrize(
    ("changes", "space", "interval", "message"),
    [
        (
            {},
            number("clip_rang"),
            100,
            "unknown hyperparameter of PPO 'clip_rang'; did you mean 'clip_range'",
        ),
        ({"hyperparameters": {"PPO": {"nsteps": 5}}}, number("gamma"), 100, "did you mean 'n_steps'"),
        ({"algorithm": "SAC"}, number("gamma"), 100, "SAC on cart_pole cannot be set up: .*action spaces"),
        ({}, number("gamma"), 1, r"budget.interval must be >= learner.n_envs \(2\), got 1"),
    ],
)
def test_mistakes_are_found_before_anything_is_trained(changes, space, interval, message):
    with pytest.raises(MetapbtError, match=message):
        learner(**changes).check(space, interval)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm": "PPPO"}, "unknown learner.algorithm 'PPPO'; did you mean 'PPO'"),
        ({"n_env": 3}, "unknown setting of learner sb3 'n_env'; did you mean 'n_envs'"),
        ({"n_envs": 0}, "learner.n_envs must be >= 1, got 0"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(MetapbtError, match=message):
        learner(**changes)
