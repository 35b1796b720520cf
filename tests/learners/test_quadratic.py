"""The toy of the guides to PBT and its known answers."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from metapbt.config import compose
from metapbt.errors import MetapbtError
from metapbt.learners.problems.quadratic import QuadraticLearner
from metapbt.space import Space


def train(steps, context=None, state=None, **hyperparameters):
    learner = QuadraticLearner("quadratic", context or {}, 100, {"start": [0.9, 0.9]})
    return learner.train(state, hyperparameters, steps, seed=0, evaluation_seed=0)


@pytest.mark.parametrize(
    ("h0", "h1", "learning_rate", "theta", "reached"),
    [(0.0, 1.0, 0.015, (0.9, 0.0427973), 0.590668), (1.0, 0.0, 0.045, (0.000830093, 0.9), 0.389999)],
)
def test_100_steps_without_pbt_end_at_the_known_answer(h0, h1, learning_rate, theta, reached):
    training = train(100, h0=h0, h1=h1, learning_rate=learning_rate)
    assert training.state["theta"] == pytest.approx(theta, abs=1e-6)
    assert training.train_return == training.eval_return == pytest.approx(reached, abs=1e-6)
    assert training.env_steps == 100


def test_intervals_add_up_to_the_whole():
    settings = {"h0": 0.5, "h1": 0.3, "learning_rate": 0.05}
    half = train(50, **settings)
    both = train(50, state=half.state, **settings)
    assert both.env_steps == 100
    assert np.array_equal(both.state["theta"], train(100, **settings).state["theta"])


def test_a_context_moves_the_best_coefficients():
    shifted = train(20, context={"optimum_shift": 0.4}, h0=0.6, h1=0.6, learning_rate=0.05)
    unshifted = train(20, h0=1.0, h1=1.0, learning_rate=0.05)
    assert shifted.train_return == pytest.approx(unshifted.train_return)
    assert (
        train(20, context={"optimum_shift": 0.4}, h0=1.0, h1=1.0, learning_rate=0.05).train_return
        < shifted.train_return
    )


def test_any_number_of_dimensions():
    start = [0.9, 0.9, 0.5, 0.1]
    learner = QuadraticLearner("quadratic", {}, 100, {"start": start})
    learner.check(Space(OmegaConf.to_container(compose(["env=quadratic", "space=quadratic_4d"]).space)), 4)
    settings = {"learning_rate": 0.015, "h0": 0.0, "h1": 1.0, "h2": 0.0, "h3": 0.0}
    training = learner.train(None, settings, 100, seed=0, evaluation_seed=0)
    assert training.state["theta"] == pytest.approx([0.9, 0.0427973, 0.5, 0.1], abs=1e-6)
    assert training.eval_return == pytest.approx(0.590668 - 0.5**2 - 0.1**2, abs=1e-6)


def test_mistakes_are_named():
    with pytest.raises(MetapbtError, match="learner=quadratic trains env=quadratic only, got env=cart_pole"):
        QuadraticLearner("cart_pole", {}, 100, {})
    with pytest.raises(MetapbtError, match="unknown setting of learner quadratic 'strat'; did you mean 'start'"):
        QuadraticLearner("quadratic", {}, 100, {"strat": [1, 2]})
    with pytest.raises(MetapbtError, match="learner.start must be two numbers"):
        QuadraticLearner("quadratic", {}, 100, {"start": [1]})
    learner = QuadraticLearner("quadratic", {}, 100, {})
    number = {"type": "float", "low": 0.0, "high": 1.0}
    with pytest.raises(MetapbtError, match="also needs h1, learning_rate"):
        learner.check(Space({"h0": number}), 4)
    with pytest.raises(MetapbtError, match="unknown hyperparameter of learner quadratic 'h2'"):
        learner.check(Space({"h2": number}), 4)
