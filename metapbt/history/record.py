"""What one member's training during one generation was: a record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from metapbt.space import Hyperparameters


@dataclass(frozen=True, slots=True)
class Record:
    """One member's training during one generation.

    Attributes:
        generation: counted from 0.
        member: counted from 0; members keep their number when they copy another.
        parent: the member copied before this generation, or None.
        source: how the hyperparameters came about: ``default``, ``random``, ``memory``, ``continued``,
            ``perturbed``, ``surrogate``, or a word of one's own explorer.
        hyperparameters: those trained with; nested names joined by dots.
        env_steps: environment steps that the member has trained so far, this generation included.
        train_return: mean return of the episodes that ended in the interval; NaN when none did.
        eval_return: mean return over the evaluation episodes after the interval.
        episodes: how many episodes ended in the interval.
        wall_seconds: what training and evaluation took.
        parent_generation: of the parent's record that was copied; None where there is no parent. In a synchronous run
            it is the generation before.
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

    @property
    def origin(self) -> tuple[int, int]:
        """Generation and member of the record that this one went on from: the parent's, or its own one before."""
        if self.parent is None:
            return self.generation - 1, self.member
        return (self.generation - 1 if self.parent_generation is None else self.parent_generation), self.parent

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
        return cls(**{f.name: data[f.name] for f in fields(cls)})
