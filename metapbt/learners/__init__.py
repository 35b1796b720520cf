"""What trains one member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metapbt.envs import make_context
from metapbt.envs.levels import evaluation_contexts
from metapbt.errors import MetapbtError, named
from metapbt.history import Budget, Context
from metapbt.learners.base import Learner
from metapbt.learners.contained import Left, contained
from metapbt.registry import lookup, making, settings_of

LEARNERS = {
    "drac": "metapbt.learners.drac:DrACLearner",
    "ppo": "metapbt.learners.ppo:PPOLearner",
    "sb3": "metapbt.learners.sb3:SB3Learner",
    "quadratic": "metapbt.learners.problems.quadratic:QuadraticLearner",
    "synthetic": "metapbt.learners.problems.synthetic:SyntheticLearner",
}


def module_of(learner: str) -> str:
    """The module that a learner lives in, by its name."""
    return LEARNERS.get(learner, learner).partition(":")[0]


@dataclass(frozen=True)
class LearnerSpec:
    """How to make a learner, in words that can be sent to another process.

    Attributes:
        name: a known learner, or one's own as ``package.module:Class``.
        env: the environment's name.
        context: of the environment.
        budget: of each member in the whole run.
        settings: the learner's own.
        evaluation_context: that agents are evaluated in after each interval; None for ``context``.
        test_context: that the best agent is tested in at the end; None for ``context``.
    """

    name: str
    env: str
    context: Context
    budget: Budget
    settings: Mapping[str, Any]
    evaluation_context: Context | None = None
    test_context: Context | None = None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LearnerSpec:
        """The learner that a run's configuration asks for; ``context`` holds the changed features.

        Raises:
            MetapbtError: the environment, a feature, or what evaluation is to differ in is unknown or illegal.
        """
        learner, env, budget = config["learner"], config["env"], config["budget"]
        context = make_context(env, config["context"])
        elsewhere = evaluation_contexts(env, context, config.get("evaluation") or {})
        return cls(learner["name"], env, context, Budget.of(budget), settings_of(learner), *elsewhere)

    @property
    def module(self) -> str:
        """The module that the learner lives in."""
        return module_of(self.name)

    def make(self, context: Context | None = None) -> Learner:
        """Make the learner.

        Args:
            context: that it acts in; None for that of training.

        Raises:
            MetapbtError: the name or a setting is unknown, or its code leaves instead of making it.
        """
        try:
            with contained():
                made_by = lookup("learner", self.name, LEARNERS)
                with making("learner", self.name):
                    learner: Learner = made_by(self.env, context or self.context, self.budget, self.settings)
                return learner
        except Left as left:
            raise MetapbtError(f"learner '{self.name}' cannot be made: {named(left.raised)}") from left
