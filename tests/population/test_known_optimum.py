"""Methods on the toy, whose best setting is known: h = (1, 1) and the largest learning rate bring Q to 1.2."""

import pytest
from omegaconf import OmegaConf

from metapbt import Tuner
from metapbt.config import compose
from metapbt.envs import make_context
from metapbt.history import Budget, Interval, Ref
from metapbt.learners.problems.quadratic import QuadraticLearner
from metapbt.space import Space

CONTEXT = make_context("quadratic")


@pytest.fixture(scope="module")
def space():
    return Space(OmegaConf.to_container(compose(["env=quadratic"]).space))


def best_of_the_last_generation(space, method, seed, generations=8, interval=5):
    learner, tuner = QuadraticLearner("quadratic", CONTEXT, Budget(40, interval), {}), Tuner(space, method, seed=seed)
    tuner.start()
    states = [None] * 4
    for generation in range(generations):
        results = [
            learner.train(
                asked(generation, a.hyperparameters, interval), None if a.start is None else states[a.start.member]
            )
            for a in tuner.assignments.values()
        ]
        states = [r.state for r in results]
        tuner.tell([r.env_steps for r in results], [r.eval_return for r in results])
    return tuner.history.leader().train_return


def asked(generation, hyperparameters, interval):
    before = interval * generation
    return Interval(Ref(generation, 0), None, None, hyperparameters, before, before + interval, 0, 0, 1)


@pytest.mark.parametrize("seeds", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_pb2_finds_the_best_setting_more_often_than_random_search(space, seeds):
    found = {
        method: sum(best_of_the_last_generation(space, method, seed) > 1.19 for seed in range(seeds))
        for method in ("random", "pb2")
    }
    assert found["pb2"] >= found["random"] + 0.4 * seeds, found


def test_pbt_with_two_members_brings_both_to_the_optimum(space):
    """As in the guide: h = (1, 0) and (0, 1), every 4 of 100 steps the worse copies the better."""
    learner = QuadraticLearner("quadratic", CONTEXT, Budget(100, 4), {})
    tuner = Tuner(space, "pbt", population_size=2, quantile=0.5, resample_probability=0.5, seed=0)
    tuner.start()
    configs = [{"learning_rate": 0.05, "h0": 1.0, "h1": 0.0}, {"learning_rate": 0.05, "h0": 0.0, "h1": 1.0}]
    states = [None, None]
    for generation in range(25):
        results = [learner.train(asked(generation, h, 4), state) for state, h in zip(states, configs, strict=True)]
        states = [r.state for r in results]
        for member, decision in enumerate(tuner.tell([r.env_steps for r in results], [r.eval_return for r in results])):
            if hasattr(decision, "parent"):
                states[member], configs[member] = results[decision.parent].state, decision.hyperparameters
    assert min(r.eval_return for r in results) > 1.199
