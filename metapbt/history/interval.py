"""One interval of training before it is trained: who, from where, with what, until when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # contexts are read where nothing is tuned
    from metapbt.space import Hyperparameters


class Ref(NamedTuple):
    """The name of what a member had when an interval ended: one record, one checkpoint."""

    generation: int
    member: int


@dataclass(frozen=True, slots=True)
class Budget:
    """How long members train.

    Attributes:
        steps: environment steps of each member.
        interval: environment steps between two decisions.
    """

    steps: int
    interval: int

    @property
    def generations(self) -> int:
        """How many intervals that makes."""
        return math.ceil(self.steps / self.interval)

    def end_after(self, steps: int, excess: int, asked: int | None) -> int:
        """Environment steps at which an interval is asked to end: a usual one more, less what rounding gave too much.

        Args:
            steps: environment steps of the line of descent so far; 0 for a new agent.
            excess: of these, what the interval before gave too much.
            asked: where a decision says when it ends; never beyond the budget.
        """
        usual = steps - excess + self.interval
        return max(min(usual if asked is None else asked, self.steps), steps + 1)


@dataclass(frozen=True, slots=True)
class Interval:
    """What a learner is asked to train; the same interval always gives the same result, in whichever process.

    Attributes:
        ref: which record and checkpoint it yields.
        start: the checkpoint that it goes on from; None for a new agent.
        teacher: the checkpoint of the agent that a new one learns from; None without.
        hyperparameters: for this interval; nested names joined by dots.
        start_steps: environment steps of the line of descent so far; of a new agent its teacher's, 0 without one.
        until_steps: environment steps of the line of descent that the interval ends at, rounded up to whole rollouts.
        seed: below 2**30; of everything random in the interval, its episodes included.
        evaluation_seed: of the validation episodes.
        evaluation_episodes: how many of them.
        taught_steps: environment steps that the agent has learned from this teacher already.
        annealed_over: environment steps, of those, over which the teacher's weight falls.
    """

    ref: Ref
    start: Ref | None
    teacher: Ref | None
    hyperparameters: Hyperparameters
    start_steps: int
    until_steps: int
    seed: int
    evaluation_seed: int
    evaluation_episodes: int
    taught_steps: int = 0
    annealed_over: int = 1
