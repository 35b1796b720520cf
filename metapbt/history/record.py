"""What one member's training during one generation was: a record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from metapbt.history.interval import Ref

if TYPE_CHECKING:  # its module loads ConfigSpace, and contexts are read where nothing is tuned
    from metapbt.space import Hyperparameters


@dataclass(frozen=True, slots=True)
class Record:
    """One member's training during one generation.

    Attributes:
        generation: counted from 0.
        member: counted from 0; members keep their number when they copy another.
        parent: the member copied before this generation, or None.
        source: how the hyperparameters came about: ``default``, ``random``, ``memory``, ``hedge``, ``continued``,
            ``perturbed``, ``surrogate``, or a word of one's own explorer.
        hyperparameters: those trained with; nested names joined by dots.
        env_steps: environment steps of the line of descent so far, this generation included.
        train_return: mean return of the episodes that ended in the interval, filled up with earlier ones of the line
            of descent where they were few; NaN when none has ended yet.
        eval_return: mean return of the deterministic policy over the validation episodes after the interval.
        episodes: how many episodes ended in the interval.
        wall_seconds: what training and evaluation took.
        parent_generation: of the parent's record that was copied; None where there is no parent.
        until_steps: environment steps at which the interval was asked to end; what ``env_steps`` has above it, the
            rounding to whole rollouts gave too much, and the next interval gives less.
        restart: whether the member was born again with a new agent, though it had trained before.
        teacher_generation: of the record of the agent that a new one learned from; None without.
        teacher_member: its member.
    """

    generation: int
    member: int
    parent: int | None
    source: str
    hyperparameters: Hyperparameters
    env_steps: int
    train_return: float
    eval_return: float = math.nan
    episodes: int = 0
    wall_seconds: float = 0.0
    parent_generation: int | None = None
    until_steps: int | None = None
    restart: bool = False
    teacher_generation: int | None = None
    teacher_member: int | None = None

    @property
    def ref(self) -> Ref:
        """The record's own name, which is also its checkpoint's."""
        return Ref(self.generation, self.member)

    @property
    def origin(self) -> Ref | None:
        """The record that this one went on from: the parent's, or its own one before; None of a new agent."""
        if self.parent is None:
            return None if self.restart or self.generation == 0 else Ref(self.generation - 1, self.member)
        return Ref(self.generation - 1 if self.parent_generation is None else self.parent_generation, self.parent)

    @property
    def excess(self) -> int:
        """Environment steps that the interval trained more than it was asked to."""
        return 0 if self.until_steps is None else self.env_steps - self.until_steps

    def value(self, metric: str = "train_return") -> float:
        """The return that selection looks at: ``metric``, or the other one where that is NaN.

        An agent that survives the whole interval ends no episode; its evaluation then speaks for it.
        """
        wanted: float = getattr(self, metric)
        other = self.eval_return if metric == "train_return" else self.train_return
        return other if math.isnan(wanted) else wanted

    @property
    def reached(self) -> float:
        """The return that the agent has reached at the interval's end: what surrogates learn to raise.

        That is its evaluation. The training return is a mean over the interval, so what an agent learns in one interval
        shows mostly in the next, where the next hyperparameters would get the credit. It stands in where there is no
        evaluation, as for a ``Tuner`` that is told one return only.
        """
        return self.value("eval_return")

    def to_dict(self) -> dict[str, Any]:
        """This record as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """The record that ``to_dict`` wrote down."""
        return cls(**{"parent": None, **{f.name: data[f.name] for f in fields(cls) if f.name in data}})
