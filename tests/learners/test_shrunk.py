"""Shrink and perturb: what an agent begins anew with."""

import numpy as np
import pytest
from learner_intervals import train
from test_learner_contract import LEARNERS, spec

#: Of the learners that know their weights: the names of those in a state.
WEIGHTS = {
    "ppo": lambda name: not name.startswith(("adam/", "episodes/", "observations/", "returns/")),
    "ppo in jax": lambda name: not name.startswith(("adam/", "episodes/", "observations/", "returns/")),
    "drac": lambda name: name.startswith("network/"),
    "quadratic": lambda name: True,
    "synthetic": lambda name: True,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_a_blend_with_those_of_a_new_agent_and_training_goes_on(name):
    made, hyperparameters = LEARNERS[name]
    learner = made.make()
    before = train(learner, None, hyperparameters, 100, seed=1).state
    kept = {key: np.array(value) for key, value in before.items()}
    new = learner.shrunk(before, hyperparameters, 0.0, 1.0, 5)
    half = learner.shrunk(before, hyperparameters, 0.2, 0.1, 5)
    weights = [key for key in before if WEIGHTS[name](key)]
    assert weights
    for key in weights:
        np.testing.assert_allclose(half[key], 0.2 * before[key] + 0.1 * new[key], rtol=1e-5, atol=1e-7)
    assert not [key for key in half if key.startswith("episodes/")]
    assert not np.any(half.get("adam/steps", 0))
    assert all(np.array_equal(kept[key], before[key]) for key in before)
    again = learner.shrunk(before, hyperparameters, 0.2, 0.1, 5)
    other = learner.shrunk(before, hyperparameters, 0.2, 0.1, 6)
    assert all(np.array_equal(half[key], again[key]) for key in half)
    if name not in ("quadratic", "synthetic"):  # whose new agents are all alike
        assert any(not np.array_equal(half[key], other[key]) for key in weights)
    trained = train(learner, half, hyperparameters, 100, seed=3, start_steps=100)
    assert trained.env_steps == 200
    assert trained.state.keys() == before.keys()


def test_moments_of_observations_are_kept():
    made = spec("ppo", "cart_pole", {"n_envs": 2, "normalise_observations": True, "hyperparameters": {"n_steps": 50}})
    learner, hyperparameters = made.make(), LEARNERS["ppo"][1]
    before = train(learner, None, hyperparameters, 100, seed=1).state
    left = learner.shrunk(before, hyperparameters, 0.2, 0.1, 5)
    observed = [key for key in before if key.startswith("observations/")]
    assert observed
    assert all(np.array_equal(left[key], before[key]) for key in observed)
