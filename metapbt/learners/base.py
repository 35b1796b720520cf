"""The protocol of a learner: what trains one member for one interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from metapbt.space import Hyperparameters, Space

#: Everything that a member carries from one interval to the next, as named arrays.
State = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Training:
    """What one interval of training brought.

    Attributes:
        state: from which the member, or its copies, go on.
        env_steps: environment steps trained so far, this interval included.
        train_return: mean return of the episodes that ended in the interval; NaN when none did.
        eval_return: mean return over the evaluation episodes after it.
        episodes: how many episodes ended in the interval.
    """

    state: State
    env_steps: int
    train_return: float
    eval_return: float
    episodes: int


class Learner(Protocol):
    """Trains members on one environment in one context.

    A learner keeps nothing between two calls: the same arguments always give the same result, in whichever process.
    """

    def __init__(self, env: str, context: Mapping[str, float], budget_steps: int, settings: Mapping[str, Any]) -> None:
        """Prepare for an environment.

        Args:
            env: the environment's name.
            context: the features that differ from the defaults.
            budget_steps: environment steps of each member in the whole run, for schedules that need to know the end.
            settings: the learner's own, as in ``conf/learner/<name>.yaml``.

        Raises:
            MetapbtError: a setting is unknown or out of its range.
        """

    def check(self, space: Space, interval_steps: int) -> None:
        """Check, before anything is trained, that every hyperparameter of the space can be set.

        Raises:
            MetapbtError: one cannot; the message names it.
        """

    def train(
        self,
        state: State | None,
        hyperparameters: Hyperparameters,
        interval_steps: int,
        seed: int,
        evaluation_seed: int,
    ) -> Training:
        """Train for one interval, then evaluate.

        Args:
            state: of the member or of its parent; None for a new agent.
            hyperparameters: for this interval; nested names joined by dots.
            interval_steps: environment steps, rounded up to whole rollouts.
            seed: of everything random in the interval, environments included.
            evaluation_seed: of the evaluation episodes.
        """
        ...
