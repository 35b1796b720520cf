"""The toy of the guides to PBT: gradient ascent on a surrogate of a known function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from metapbt.errors import MetapbtError, unknown_name
from metapbt.learners.base import Policy, State, Teacher, Training, no_policy, no_teacher

if TYPE_CHECKING:
    from metapbt.history import Budget, Context, Interval
    from metapbt.space import Hyperparameters, Space

_SETTINGS = {"start"}


class QuadraticLearner:
    r"""Maximises $Q = 1.2 - \frac34 \theta_0^2 - \theta_1^2$ without seeing it (Jaderberg et al., 2017, fig. 2).

    Each step goes up the gradient of $\hat Q = 1.2 - \frac34 h_0 \theta_0^2 - h_1 \theta_1^2$ with
    ``learning_rate``. With h = (1, 0) or (0, 1) only one component can ever be learned; a population that exchanges
    weights and hyperparameters learns both. The return, in training and evaluation, is Q after the interval; a step
    of ascent counts as an environment step.

    ``learner.start``, theta before training, may have more than two components: each further one adds
    $-\theta_i^2$ to Q and a hyperparameter h_i, its coefficient, to the space.

    The context's feature ``optimum_shift`` moves the coefficients that follow Q best from 1 to 1 - optimum_shift: a
    coefficient h acts as 1 - abs(h - (1 - optimum_shift)), and not below 0.
    """

    def __init__(self, env: str, context: Context, budget: Budget, settings: Mapping[str, Any]) -> None:
        if env != "quadratic":
            raise MetapbtError(f"learner=quadratic trains env=quadratic only, got env={env}")
        for key in settings.keys() - _SETTINGS:
            raise unknown_name("setting of learner quadratic", key, _SETTINGS)
        self.start = np.array(settings.get("start", [0.9, 0.9]), dtype=float)
        if self.start.ndim != 1 or len(self.start) < 2:
            raise MetapbtError(f"learner.start must be two numbers or more, got {settings['start']}")
        self.curvature = np.array([3 / 4, *np.ones(len(self.start) - 1)])
        self.coefficients = tuple(f"h{index}" for index in range(len(self.start)))
        self.shift = float(context["optimum_shift"])

    def check(self, space: Space) -> None:
        """Check that the space names learning_rate, h0, h1 (and so on) and nothing else."""
        known = {"learning_rate", *self.coefficients}
        for name in space.names:
            if name not in known:
                raise unknown_name("hyperparameter of learner quadratic", name, known)
        missing = known - set(space.names)
        if missing:
            raise MetapbtError(f"learner quadratic also needs {', '.join(sorted(missing))} in the space")

    def train(self, interval: Interval, start: State | None, teacher: Teacher | None = None) -> Training:
        """Take the interval's steps of gradient ascent."""
        no_teacher("quadratic", teacher)
        hyperparameters = interval.hyperparameters
        theta = self.start if start is None else np.asarray(start["theta"], dtype=float)
        coefficients = np.array([float(hyperparameters[name]) for name in self.coefficients])
        if self.shift:
            coefficients = np.maximum(0.0, 1 - np.abs(coefficients - (1 - self.shift)))
        for _ in range(interval.until_steps - interval.start_steps):
            gradient = -2 * self.curvature * coefficients * theta
            theta = theta + float(hyperparameters["learning_rate"]) * gradient
        reached = self._value(theta)
        return Training({"theta": theta}, interval.until_steps, (reached,), reached)

    def shrunk(self, state: State, hyperparameters: Hyperparameters, shrink: float, perturb: float, seed: int) -> State:
        """A blend of where the agent is and where a new one begins."""
        return {"theta": shrink * np.asarray(state["theta"], dtype=float) + perturb * self.start}

    def evaluate(self, state: State, hyperparameters: Hyperparameters, seed: int, episodes: int) -> float:
        """The value of Q."""
        return self._value(state["theta"])

    def policy(self, state: State, hyperparameters: Hyperparameters) -> Policy:
        """There is none."""
        raise no_policy("quadratic")

    def _value(self, theta: Any) -> float:
        return float(1.2 - (self.curvature * theta**2).sum())
