"""One interval of training before it is trained: who, from where, with what, until when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # contexts are read where nothing is tuned
    from metapbt.space import Hyperparameters


class Ref(NamedTuple):
    """The name of what a member had when an interval ended: one record, one checkpoint."""

    generation: int
    member: int


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
        shrink: what the weights of ``start`` are multiplied by before they are trained, and what new weights are that
            are added to them; None where the agent goes on as it was.
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
    shrink: tuple[float, float] | None = None
