"""What trains one member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metapbt.learners.base import Learner
from metapbt.registry import lookup, settings_of

LEARNERS = {
    "ppo": "metapbt.learners.ppo:PPOLearner",
    "sb3": "metapbt.learners.sb3:SB3Learner",
    "quadratic": "metapbt.learners.problems.quadratic:QuadraticLearner",
    "synthetic": "metapbt.learners.problems.synthetic:SyntheticLearner",
}


@dataclass(frozen=True)
class LearnerSpec:
    """How to make a learner, in words that can be sent to another process.

    Attributes:
        name: a known learner, or one's own as ``package.module:Class``.
        env: the environment's name.
        context: the features that differ from the defaults.
        budget_steps: environment steps of each member in the whole run.
        settings: the learner's own.
    """

    name: str
    env: str
    context: Mapping[str, float]
    budget_steps: int
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LearnerSpec:
        """The learner that a run's configuration asks for; ``context`` holds the changed features."""
        learner = config["learner"]
        return cls(learner["name"], config["env"], config["context"], config["budget"]["steps"], settings_of(learner))

    @property
    def module(self) -> str:
        """The module that the learner lives in."""
        return LEARNERS.get(self.name, self.name).partition(":")[0]

    def make(self) -> Learner:
        """Make the learner.

        Raises:
            MetapbtError: the name or a setting is unknown.
        """
        learner: Learner = lookup("learner", self.name, LEARNERS)(
            self.env, self.context, self.budget_steps, self.settings
        )
        return learner
