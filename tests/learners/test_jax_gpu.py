"""``learner.device=gpu``: an update there is the CPU's. Skipped where JAX finds no GPU; run this file by itself."""

import importlib.util

import numpy as np
import pytest
from learner_intervals import interval, made

from metapbt.errors import MetapbtError
from metapbt.jax_backend import device_for
from metapbt.learners.base import Assigned
from metapbt.learners.ppo import PPOLearner


def a_gpu() -> bool:
    try:
        return device_for("gpu").platform == "gpu"
    except MetapbtError:
        return False


pytestmark = pytest.mark.skipif(not a_gpu(), reason="JAX finds no GPU here, or began without it")

SMALL = {"policy": {"width": 8, "layers": 1}, "value": {"width": 8, "layers": 1}}
#: One update.
FIXED = {"n_steps": 10, "batch_size": 40, "n_epochs": 1}


def learner(env, device):
    settings = {
        "n_envs": 4,
        "engine": "jax",
        "device": device,
        "network": SMALL,
        "hyperparameters": FIXED,
        "normalise_observations": True,
    }
    return made(PPOLearner, env, settings, budget=1000, length=40)


@pytest.mark.parametrize("env", ["cart_pole", "brax/inverted_pendulum"])
def test_an_update_of_members_together_on_the_gpu_is_that_of_each_alone_on_the_cpu(env):
    if env.startswith("brax/") and importlib.util.find_spec("brax") is None:
        pytest.skip("needs pip install 'metapbt[brax]'")
    here, there = learner(env, "cpu"), learner(env, "gpu")
    jobs = [Assigned(interval({"learning_rate": rate}, 40, seed=seed), None) for seed, rate in enumerate((1e-3, 1e-2))]
    for job, found in zip(jobs, there.train_many(jobs), strict=True):
        assert not isinstance(found, Exception)
        alone = here.train(job.interval, None)
        assert found.state.keys() == alone.state.keys()
        for name, value in alone.state.items():
            np.testing.assert_allclose(
                found.state[name].astype(float), value.astype(float), rtol=1e-5, atol=1e-5, err_msg=name
            )
