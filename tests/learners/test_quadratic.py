"""The toy of the guides to PBT and its known answers."""

import numpy as np
import pytest
from learner_intervals import made, train
from omegaconf import OmegaConf

from metapbt.config import compose
from metapbt.errors import MetapbtError
from metapbt.learners.problems.quadratic import QuadraticLearner
from metapbt.space import Space


def quadratic(context=None, **settings):
    return made(QuadraticLearner, "quadratic", settings, context=context, budget=100)


def ascend(steps, context=None, before=None, **hyperparameters):
    return train(quadratic(context, start=[0.9, 0.9]), before, hyperparameters, steps)


@pytest.mark.parametrize(
    ("h0", "h1", "learning_rate", "theta", "reached"),
    [(0.0, 1.0, 0.015, (0.9, 0.0427973), 0.590668), (1.0, 0.0, 0.045, (0.000830093, 0.9), 0.389999)],
)
def test_100_steps_without_pbt_end_at_the_known_answer(h0, h1, learning_rate, theta, reached):
    training = ascend(100, h0=h0, h1=h1, learning_rate=learning_rate)
    assert training.state["theta"] == pytest.approx(theta, abs=1e-6)
    assert (*training.returns, training.eval_return) == pytest.approx((reached, reached), abs=1e-6)
    assert training.env_steps == 100


def test_intervals_add_up_to_the_whole():
    settings = {"h0": 0.5, "h1": 0.3, "learning_rate": 0.05}
    half = ascend(50, **settings)
    both = ascend(50, before=half, **settings)
    assert both.env_steps == 100
    assert np.array_equal(both.state["theta"], ascend(100, **settings).state["theta"])


def test_a_context_moves_the_best_coefficients():
    shifted = ascend(20, context={"optimum_shift": 0.4}, h0=0.6, h1=0.6, learning_rate=0.05)
    unshifted = ascend(20, h0=1.0, h1=1.0, learning_rate=0.05)
    assert shifted.eval_return == pytest.approx(unshifted.eval_return)
    assert (
        ascend(20, context={"optimum_shift": 0.4}, h0=1.0, h1=1.0, learning_rate=0.05).eval_return < shifted.eval_return
    )


def test_any_number_of_dimensions():
    start = [0.9, 0.9, 0.5, 0.1]
    learner = quadratic(start=start)
    learner.check(Space(OmegaConf.to_container(compose(["env=quadratic", "space=quadratic_4d"]).space)))
    settings = {"learning_rate": 0.015, "h0": 0.0, "h1": 1.0, "h2": 0.0, "h3": 0.0}
    training = train(learner, None, settings, 100)
    assert training.state["theta"] == pytest.approx([0.9, 0.0427973, 0.5, 0.1], abs=1e-6)
    assert training.eval_return == pytest.approx(0.590668 - 0.5**2 - 0.1**2, abs=1e-6)


def test_mistakes_are_named():
    with pytest.raises(MetapbtError, match="learner=quadratic trains env=quadratic only, got env=cart_pole"):
        made(QuadraticLearner, "cart_pole", {})
    with pytest.raises(MetapbtError, match="unknown setting of learner quadratic 'strat'; did you mean 'start'"):
        quadratic(strat=[1, 2])
    with pytest.raises(MetapbtError, match="learner.start must be two numbers"):
        quadratic(start=[1])
    number = {"type": "float", "low": 0.0, "high": 1.0}
    with pytest.raises(MetapbtError, match="also needs h1, learning_rate"):
        quadratic().check(Space({"h0": number}))
    with pytest.raises(MetapbtError, match="unknown hyperparameter of learner quadratic 'h2'"):
        quadratic().check(Space({"h2": number}))
