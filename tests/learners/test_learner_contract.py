"""What every learner promises, whichever it is."""

import math

import numpy as np
import pytest

from metapbt.learners import LearnerSpec
from metapbt.learners.base import State

SB3 = {"policy": "MlpPolicy", "n_envs": 2, "eval_episodes": 2}


def sb3(algorithm, env="cart_pole", **fixed):
    settings = {**SB3, "algorithm": algorithm, "hyperparameters": {algorithm: fixed}}
    return LearnerSpec("sb3", env, {}, 1000, settings)


LEARNERS = {
    "quadratic": (
        LearnerSpec("quadratic", "quadratic", {}, 100, {}),
        {"h0": 0.5, "h1": 0.5, "learning_rate": 0.05},
    ),
    "synthetic": (
        LearnerSpec("synthetic", "synthetic", {"noise": 0.1}, 1000, {}),
        {"x0": 0.5, "x1": 0.2, "c0": "b"},
    ),
    "ppo": (
        LearnerSpec("ppo", "cart_pole", {}, 1000, {"n_envs": 2, "hyperparameters": {"n_steps": 50}}),
        {"learning_rate": 1e-3, "n_epochs": 2, "clip_range": 0.3},
    ),
    "PPO": (sb3("PPO", n_steps=50, batch_size=50), {"learning_rate": 1e-3, "n_epochs": 2, "clip_range": 0.3}),
    "A2C": (sb3("A2C", n_steps=10), {"learning_rate": 1e-3, "gamma": 0.9}),
    "DQN": (sb3("DQN", learning_starts=50, buffer_size=1000), {"learning_rate": 1e-3, "train_freq": 2}),
}


@pytest.fixture(params=LEARNERS)
def learner_and_hyperparameters(request):
    spec, hyperparameters = LEARNERS[request.param]
    return spec.make(), hyperparameters


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)


def test_the_same_arguments_give_the_same_result(learner_and_hyperparameters):
    learner, hyperparameters = learner_and_hyperparameters
    first = learner.train(None, hyperparameters, 100, seed=1, evaluation_seed=2)
    again = learner.train(first.state, hyperparameters, 100, seed=3, evaluation_seed=2)
    once_more = learner.train(first.state, hyperparameters, 100, seed=3, evaluation_seed=2)
    assert same(again.state, once_more.state)
    assert (again.train_return, again.eval_return) == (once_more.train_return, once_more.eval_return)


def test_training_goes_on_from_the_state_and_counts_its_steps(learner_and_hyperparameters):
    learner, hyperparameters = learner_and_hyperparameters
    first = learner.train(None, hyperparameters, 100, seed=1, evaluation_seed=2)
    second = learner.train(first.state, hyperparameters, 100, seed=3, evaluation_seed=2)
    fresh = learner.train(None, hyperparameters, 100, seed=3, evaluation_seed=2)
    assert (first.env_steps, second.env_steps) == (100, 200)
    assert not same(second.state, fresh.state)


def test_training_does_not_change_the_state_it_starts_from(learner_and_hyperparameters):
    learner, hyperparameters = learner_and_hyperparameters
    first = learner.train(None, hyperparameters, 100, seed=1, evaluation_seed=2)
    before = {key: value.copy() for key, value in first.state.items()}
    learner.train(first.state, hyperparameters, 100, seed=3, evaluation_seed=2)
    assert same(first.state, before)


def test_states_are_plain_arrays(learner_and_hyperparameters):
    learner, hyperparameters = learner_and_hyperparameters
    training = learner.train(None, hyperparameters, 100, seed=1, evaluation_seed=2)
    assert all(isinstance(value, np.ndarray) and value.dtype != object for value in training.state.values())
    assert math.isfinite(training.eval_return)
