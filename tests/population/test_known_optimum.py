"""Methods on the toy, whose best setting is known: h = (1, 1) and the largest learning rate bring Q to 1.2."""

import pytest
from omegaconf import OmegaConf

from metapbt import Tuner
from metapbt.config import compose
from metapbt.learners.problems.quadratic import QuadraticLearner
from metapbt.space import Space

SEEDS = range(50)


@pytest.fixture(scope="module")
def space():
    return Space(OmegaConf.to_container(compose(["env=quadratic"]).space))


def best_of_the_last_generation(space, method, seed, generations=8, interval=5):
    learner, tuner = QuadraticLearner("quadratic", {}, 40, {}), Tuner(space, method, seed=seed)
    tuner.start()
    states = [None] * 4
    for _ in range(generations):
        results = [
            learner.train(states[m if a.parent is None else a.parent], a.hyperparameters, interval, 0, 0)
            for m, a in enumerate(tuner.assignments)
        ]
        states = [r.state for r in results]
        tuner.tell([r.env_steps for r in results], [r.train_return for r in results])
    return tuner.history.best().train_return


def test_pb2_finds_the_best_setting_more_often_than_random_search(space):
    found = {
        method: sum(best_of_the_last_generation(space, method, seed) > 1.19 for seed in SEEDS)
        for method in ("random", "pb2")
    }
    assert found["pb2"] >= found["random"] + 20, found


def test_pbt_with_two_members_brings_both_to_the_optimum(space):
    """As in the guide: h = (1, 0) and (0, 1), every 4 of 100 steps the worse copies the better."""
    learner = QuadraticLearner("quadratic", {}, 100, {})
    tuner = Tuner(space, "pbt", population_size=2, quantile=0.5, resample_probability=0.5, seed=0)
    tuner.start()
    configs = [{"learning_rate": 0.05, "h0": 1.0, "h1": 0.0}, {"learning_rate": 0.05, "h0": 0.0, "h1": 1.0}]
    states = [None, None]
    for _ in range(25):
        results = [learner.train(state, h, 4, 0, 0) for state, h in zip(states, configs, strict=True)]
        states = [r.state for r in results]
        for member, decision in enumerate(
            tuner.tell([r.env_steps for r in results], [r.train_return for r in results])
        ):
            if hasattr(decision, "parent"):
                states[member], configs[member] = results[decision.parent].state, decision.hyperparameters
    assert min(r.train_return for r in results) > 1.199
