"""The toy of the guides to PBT: gradient ascent on a surrogate of a known function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from metapbt.envs import complete_context
from metapbt.errors import MetapbtError, unknown_name
from metapbt.learners.base import State, Training

if TYPE_CHECKING:
    from metapbt.space import Hyperparameters, Space

_SETTINGS = {"start"}


class QuadraticLearner:
    r"""Maximises :math:`Q = 1.2 - \frac34 \theta_0^2 - \theta_1^2` without seeing it (Jaderberg et al., 2017, fig. 2).

    Each step goes up the gradient of :math:`\hat Q = 1.2 - \frac34 h_0 \theta_0^2 - h_1 \theta_1^2` with
    ``learning_rate``. With h = (1, 0) or (0, 1) only one component can ever be learned; a population that exchanges
    weights and hyperparameters learns both. The return, in training and evaluation, is Q after the interval; a step
    of ascent counts as an environment step.

    ``learner.start``, theta before training, may have more than two components: each further one adds
    :math:`-\theta_i^2` to Q and a hyperparameter h_i, its coefficient, to the space.

    The context's feature ``optimum_shift`` moves the coefficients that follow Q best from 1 to 1 - optimum_shift: a
    coefficient h acts as 1 - abs(h - (1 - optimum_shift)), and not below 0.
    """

    def __init__(self, env: str, context: Mapping[str, float], budget_steps: int, settings: Mapping[str, Any]) -> None:
        if env != "quadratic":
            raise MetapbtError(f"learner=quadratic trains env=quadratic only, got env={env}")
        for key in settings.keys() - _SETTINGS:
            raise unknown_name("setting of learner quadratic", key, _SETTINGS)
        self.start = np.array(settings.get("start", [0.9, 0.9]), dtype=float)
        if self.start.ndim != 1 or len(self.start) < 2:
            raise MetapbtError(f"learner.start must be two numbers or more, got {settings['start']}")
        self.curvature = np.array([3 / 4, *np.ones(len(self.start) - 1)])
        self.coefficients = tuple(f"h{index}" for index in range(len(self.start)))
        self.shift = complete_context(env, context)["optimum_shift"]

    def check(self, space: Space, interval_steps: int) -> None:
        """Check that the space names learning_rate, h0, h1 (and so on) and nothing else."""
        known = {"learning_rate", *self.coefficients}
        for name in space.names:
            if name not in known:
                raise unknown_name("hyperparameter of learner quadratic", name, known)
        missing = known - set(space.names)
        if missing:
            raise MetapbtError(f"learner quadratic also needs {', '.join(sorted(missing))} in the space")

    def train(
        self,
        state: State | None,
        hyperparameters: Hyperparameters,
        interval_steps: int,
        seed: int,
        evaluation_seed: int,
    ) -> Training:
        """Take ``interval_steps`` steps of gradient ascent."""
        theta = self.start if state is None else np.asarray(state["theta"], dtype=float)
        steps_before = 0 if state is None else int(state["env_steps"])
        coefficients = np.array([float(hyperparameters[name]) for name in self.coefficients])
        if self.shift:
            coefficients = np.maximum(0.0, 1 - np.abs(coefficients - (1 - self.shift)))
        for _ in range(interval_steps):
            gradient = -2 * self.curvature * coefficients * theta
            theta = theta + float(hyperparameters["learning_rate"]) * gradient
        reached = float(1.2 - (self.curvature * theta**2).sum())
        env_steps = steps_before + interval_steps
        return Training({"theta": theta, "env_steps": np.array(env_steps)}, env_steps, reached, reached, 1)
