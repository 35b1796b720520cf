"""What a teacher says: a frozen agent with a network of its own, looking at what its student sees."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from metapbt.errors import MetapbtError
from metapbt.learners.base import Teacher
from metapbt.learners.normalise import ObservationNormaliser, RunningMoments
from metapbt.learners.ppo.distillation import Lesson
from metapbt.learners.ppo.network import Actor, Floats


@dataclass(frozen=True)
class Distillation:
    """How students learn from their teachers; the setting ``distillation``.

    Attributes:
        policy: the weight of the KL divergence from the teacher's policy.
        value: that of the squared difference from its values.
        start: what both are multiplied with when the student is born.
        end: the same when its teacher's weight has fallen, linearly in the student's own steps.
        offer_moments: whether a new student begins with its teacher's running moments of observations and returns.
    """

    policy: float = 5.0
    value: float = 0.5
    start: float = 1.0
    end: float = 0.05
    offer_moments: bool = True

    def __post_init__(self) -> None:
        """Check all of it.

        Raises:
            MetapbtError: a weight is no number >= 0, or ``offer_moments`` neither true nor false.
        """
        for name in ("policy", "value", "start", "end"):
            weight = getattr(self, name)
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not (number and 0 <= weight < math.inf):
                raise MetapbtError(f"learner.distillation.{name} must be a number >= 0, got {weight!r}")
        if not isinstance(self.offer_moments, bool):
            raise MetapbtError(f"learner.distillation.offer_moments must be true or false, got {self.offer_moments!r}")

    def weights(self, teacher: Teacher, steps: int) -> tuple[float, float]:
        """What policy and values of the teacher weigh after so many environment steps of the interval."""
        weight = teacher.weight(steps, self.start, self.end)
        return weight * self.policy, weight * self.value


class Teaching:
    """A frozen teacher.

    Args:
        teacher: who teaches, and how far its student has come.
        distillation: what that weighs.
        actor: the teacher's network, whatever its student's is.
        observations: the teacher's normaliser, which learns nothing any more; None where it sees them as they are.
        unit: the teacher's ``reward_unit`` at the end of its training.
    """

    def __init__(
        self,
        teacher: Teacher,
        distillation: Distillation,
        actor: Actor,
        observations: ObservationNormaliser | None,
        unit: float,
    ) -> None:
        self._teacher, self._distillation = teacher, distillation
        self._actor, self._observations, self._unit = actor, observations, unit

    def lesson(self, raw: Floats, places: int, unit: float, steps: int) -> Lesson | None:
        """What the teacher says of a rollout; None where that weighs nothing.

        Args:
            raw: (n_steps, envs, inputs), the observations that the student acted on, as the environment gave them.
            places: the length of the rollout's arrays: what is beyond ``n_steps`` is zeros.
            unit: the student's ``reward_unit``. Values of agents with another discount differ all the same.
            steps: environment steps of the interval before this rollout.
        """
        policy_weight, value_weight = self._distillation.weights(self._teacher, steps)
        if not (policy_weight or value_weight):
            return None
        n_steps, envs, inputs = raw.shape
        seen = raw.reshape(-1, inputs)
        seen = seen if self._observations is None else self._observations(seen)
        network, parameters = self._actor.network, self._actor.parameters
        outputs = np.zeros((places, envs, network.outputs), np.float32)
        values = np.zeros((places, envs), np.float32)
        outputs[:n_steps] = network.outputs_for(np, parameters, seen).reshape(n_steps, envs, -1)
        values[:n_steps] = self._actor.values(seen).reshape(n_steps, envs) * np.float32(unit / self._unit)
        log_std = parameters.get("log_std", np.zeros(network.outputs, np.float32))
        return Lesson(outputs, values, log_std, np.float32(policy_weight), np.float32(value_weight))


def reward_unit(hyperparameters: Mapping[str, Any], returns: RunningMoments | None) -> float:
    """What an agent's rewards, and so its values, are multiples of: what it makes of a reward of 1.

    Where returns are normalised, it changes while their moments do; the clipping of rewards is left out.
    """
    return float(hyperparameters["reward_scale"] / (1.0 if returns is None else returns.deviation))
