"""What every learner promises, whichever it is."""

import io
import math
import tempfile

import numpy as np
import pytest
from learner_intervals import interval, train

from metapbt.envs import make_context
from metapbt.errors import MetapbtError
from metapbt.history import Budget
from metapbt.learners import LearnerSpec
from metapbt.learners.base import State, Teacher

SB3 = {"policy": "MlpPolicy", "n_envs": 2}


def spec(learner, env, settings, context=None, budget=1000):
    return LearnerSpec(learner, env, make_context(env, context), Budget(budget, 100), settings)


def sb3(algorithm, env="cart_pole", **fixed):
    return spec("sb3", env, {**SB3, "algorithm": algorithm, "hyperparameters": {algorithm: fixed}})


LEARNERS = {
    "quadratic": (spec("quadratic", "quadratic", {}), {"h0": 0.5, "h1": 0.5, "learning_rate": 0.05}),
    "synthetic": (
        spec("synthetic", "synthetic", {}, {"noise": 0.1, "deception": 0.3}),
        {"x0": 0.5, "x1": 0.2, "c0": "b", "t0": 0.7},
    ),
    "ppo": (
        spec("ppo", "cart_pole", {"n_envs": 2, "hyperparameters": {"n_steps": 50}}),
        {"learning_rate": 1e-3, "n_epochs": 2, "clip_range": 0.3},
    ),
    "ppo in jax": (
        spec("ppo", "cart_pole", {"n_envs": 2, "engine": "jax", "hyperparameters": {"n_steps": 50}}),
        {"learning_rate": 1e-3, "n_epochs": 2, "clip_range": 0.3},
    ),
    "drac": (
        spec("drac", "cart_pole", {"n_envs": 2, "n_steps": 50, "minibatches": 2}),
        {"learning_rate": 1e-3, "n_epochs": 2, "aug_type": "amplitude"},
    ),
    "drac of pictures": (
        spec("drac", "squares:SQUARES", {"n_envs": 2, "n_steps": 50, "minibatches": 2, "network": "nature_small"}),
        {"learning_rate": 1e-3, "n_epochs": 2, "aug_type": "color-jitter"},
    ),
    "PPO": (sb3("PPO", n_steps=50, batch_size=50), {"learning_rate": 1e-3, "n_epochs": 2, "clip_range": 0.3}),
    "A2C": (sb3("A2C", n_steps=10), {"learning_rate": 1e-3, "gamma": 0.9}),
    "DQN": (sb3("DQN", learning_starts=50, buffer_size=1000), {"learning_rate": 1e-3, "train_freq": 2}),
}

LEARN_FROM_TEACHERS = {"ppo", "ppo in jax", "synthetic"}


@pytest.fixture(params=LEARNERS)
def learner_and_hyperparameters(request):
    spec, hyperparameters = LEARNERS[request.param]
    return spec.make(), hyperparameters


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key], equal_nan=True) for key in a)


def test_the_same_arguments_give_the_same_result(learner_and_hyperparameters):
    learner, hyperparameters = learner_and_hyperparameters
    first = train(learner, None, hyperparameters, 100, seed=1, evaluation_seed=2)
    again = train(learner, first, hyperparameters, 100, seed=3, evaluation_seed=2)
    once_more = train(learner, first, hyperparameters, 100, seed=3, evaluation_seed=2)
    assert same(again.state, once_more.state)
    assert (again.returns, again.eval_return) == (once_more.returns, once_more.eval_return)


def test_a_state_from_a_file_goes_on_as_one_from_memory(learner_and_hyperparameters):
    learner, hyperparameters = learner_and_hyperparameters
    first = train(learner, None, hyperparameters, 100, seed=1)
    file = io.BytesIO()
    np.savez(file, **first.state)
    file.seek(0)
    with np.load(file, allow_pickle=False) as saved:
        back = dict(saved)
    assert same(back, first.state)
    after, after_file = (
        train(learner, state, hyperparameters, start_steps=100, seed=3) for state in (first.state, back)
    )
    assert same(after.state, after_file.state)
    assert (after.returns, after.eval_return) == (after_file.returns, after_file.eval_return)


def test_the_evaluation_of_training_is_that_of_the_state(learner_and_hyperparameters):
    learner, hyperparameters = learner_and_hyperparameters
    training = train(learner, None, hyperparameters, 100, seed=1, evaluation_seed=2, episodes=1)
    assert learner.evaluate(training.state, hyperparameters, 2, 1) == training.eval_return


def test_a_teacher_is_learned_from_or_refused(learner_and_hyperparameters, request):
    learner, hyperparameters = learner_and_hyperparameters
    training = train(learner, None, hyperparameters, 200, seed=1)
    teacher = Teacher(training.state, hyperparameters, 0, annealed_over=100)
    if request.node.callspec.params["learner_and_hyperparameters"] not in LEARN_FROM_TEACHERS:
        with pytest.raises(MetapbtError, match="cannot learn from a teacher"):
            learner.train(interval(hyperparameters), None, teacher)
        return
    taught, again = (learner.train(interval(hyperparameters, start_steps=200), None, teacher) for _ in range(2))
    assert same(taught.state, again.state)
    assert not same(taught.state, learner.train(interval(hyperparameters, start_steps=200), None).state)


def test_training_goes_on_from_the_state_and_counts_its_steps(learner_and_hyperparameters):
    learner, hyperparameters = learner_and_hyperparameters
    first = train(learner, None, hyperparameters, 100, seed=1, evaluation_seed=2)
    second = train(learner, first, hyperparameters, 100, seed=3, evaluation_seed=2)
    fresh = train(learner, None, hyperparameters, 100, seed=3, evaluation_seed=2)
    assert (first.env_steps, second.env_steps) == (100, 200)
    assert not same(second.state, fresh.state)


def test_training_does_not_change_the_state_it_starts_from(learner_and_hyperparameters):
    learner, hyperparameters = learner_and_hyperparameters
    first = train(learner, None, hyperparameters, 100, seed=1, evaluation_seed=2)
    before = {key: value.copy() for key, value in first.state.items()}
    train(learner, first.state, hyperparameters, 100, seed=3, evaluation_seed=2)
    assert same(first.state, before)


def test_states_are_plain_arrays(learner_and_hyperparameters):
    learner, hyperparameters = learner_and_hyperparameters
    training = train(learner, None, hyperparameters, 100, seed=1, evaluation_seed=2)
    assert all(isinstance(value, np.ndarray) and value.dtype != object for value in training.state.values())
    assert math.isfinite(training.eval_return)


def test_an_interval_leaves_nothing_in_the_systems_temporary_directory(
    learner_and_hyperparameters, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    learner, hyperparameters = learner_and_hyperparameters
    before, after = [], []
    for seen in (before, after):  # at first PyTorch makes a cache there, one for all
        training = train(learner, None, hyperparameters, 100, seed=1)
        learner.evaluate(training.state, hyperparameters, 2, 1)
        seen += sorted(tmp_path.iterdir())
    assert after == before
