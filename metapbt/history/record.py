"""What one member's training during one generation was: a record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import NoneType
from typing import TYPE_CHECKING, Any

from metapbt.errors import MetapbtError, shown
from metapbt.history.interval import Ref
from metapbt.plain import thawed

if TYPE_CHECKING:  # contexts are read where nothing is tuned
    from metapbt.space import Hyperparameters

#: What returns of any larger size count as where they are computed with: differences, variances and their ratios stay
#: finite.
HUGE = 1e100
#: Whole numbers are below it: from there on a float, as data frames have them, cannot tell every one from the next.
MOST = 2**53


@dataclass(frozen=True, slots=True)
class Record:
    """One member's training during one generation.

    Attributes:
        generation: counted from 0.
        member: counted from 0; members keep their number when they copy another.
        parent: the member copied before this generation, or the one whose weights were shrunk for a restart; or None.
        source: how the hyperparameters came about: ``default``, ``random``, ``transfer``, ``memory``, ``hedge``,
            ``continued``, ``perturbed``, ``surrogate``, or a word of one's own explorer.
        hyperparameters: those trained with; nested names joined by dots.
        env_steps: environment steps of the line of descent so far, this generation included; those of an agent that was
            born with a teacher count on from its teacher's.
        train_return: mean return of the episodes that ended in the interval, filled up with earlier ones of the line
            of descent where they were few; NaN when none has ended yet.
        eval_return: mean return of the deterministic policy over the validation episodes after the interval.
        episodes: how many episodes ended in the interval.
        wall_seconds: what training and evaluation took.
        parent_generation: of the parent's record that was copied; None where there is no parent.
        until_steps: environment steps at which the interval was asked to end; what ``env_steps`` has above it, the
            rounding to whole rollouts gave too much, and the next interval gives less.
        restart: whether the member was born again, though others had trained before: a student, too. Its agent is a new
            one, or has what is left of its parent's weights.
        teacher_generation: of the record of the agent that a new one, or a student that goes on, learned from; None
            without.
        teacher_member: its member.
        failed: whether the interval could not be trained, again and again. Nothing is left of it: no returns, no
            checkpoint, no steps beyond those before it. Nobody goes on from it.
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
    failed: bool = False

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
    def teacher(self) -> Ref | None:
        """The record of the agent that it learned from; None without."""
        if self.teacher_generation is None or self.teacher_member is None:
            return None
        return Ref(self.teacher_generation, self.teacher_member)

    @property
    def excess(self) -> int:
        """Environment steps that the interval trained more than it was asked to; below 0 of one that failed."""
        return 0 if self.until_steps is None else self.env_steps - self.until_steps

    def value(self, metric: str = "train_return") -> float:
        """The return that selection looks at: ``metric``, or the other one where that is not finite; NaN without any.

        An agent that survives the whole interval ends no episode and has no training return; its evaluation then speaks
        for it. An infinite return says no more than NaN: the agent has diverged.
        """
        wanted: float = getattr(self, metric)
        other = self.eval_return if metric == "train_return" else self.train_return
        return next((number for number in (wanted, other) if math.isfinite(number)), math.nan)

    @property
    def reached(self) -> float:
        """The return that the agent has reached at the interval's end: what surrogates learn to raise.

        That is its evaluation. The training return is a mean over the interval, so what an agent learns in one interval
        shows mostly in the next, where the next hyperparameters would get the credit. It stands in where there is no
        evaluation, as for a ``Tuner`` that is told one return only. Beyond ``HUGE`` it counts as that, for its square
        would be no number any more.
        """
        return _contained(self.value("eval_return"))

    @property
    def performance(self) -> float:
        """How good the agent is, by all that is known: the mean of its training return and its evaluation.

        One of them stands for both where the other is not finite; NaN without any. Evaluations of few episodes are
        noisy, and alike where all agents reach the highest return there is; training says then who reaches it surely.
        """
        return (_contained(self.value("train_return")) + self.reached) / 2

    def to_dict(self) -> dict[str, Any]:
        """This record as plain data."""
        return {**asdict(self), "hyperparameters": thawed(self.hyperparameters)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Record:
        """The record that ``to_dict`` wrote down; what a later version says beside is passed over.

        Raises:
            MetapbtError: a field is missing, or is of another type or out of its range.
        """
        if not isinstance(data, Mapping) or not data.keys() >= _NEEDED:
            raise MetapbtError(f"a record must have {', '.join(sorted(_NEEDED))}, got {shown(data)}")
        known: dict[str, Any] = {"parent": None}
        for name, value in data.items():
            if name in _LEGAL:
                kinds, lowest, words = _LEGAL[name]
                kind = type(value)
                if kind not in kinds or (kind is int and not lowest <= value < MOST):
                    raise MetapbtError(f"{name} must be {words}, got {shown(value)}")
                known[name] = value
        return cls(**known)


def _contained(value: float) -> float:
    return value if math.isnan(value) else min(max(value, -HUGE), HUGE)


_NEEDED = {"generation", "member", "source", "hyperparameters", "env_steps", "train_return"}
#: Of each field its types, the lowest of its whole numbers, and all that in words.
_LEGAL: Mapping[str, tuple[tuple[type, ...], int, str]] = {
    **dict.fromkeys(("generation", "member", "episodes"), ((int,), 0, "an integer >= 0")),
    **dict.fromkeys(
        ("parent", "parent_generation", "teacher_generation", "teacher_member", "until_steps"),
        ((int, NoneType), 0, "an integer >= 0, or nothing"),
    ),
    **dict.fromkeys(("env_steps", "wall_seconds"), ((int, float), 0, "a number >= 0")),
    **dict.fromkeys(("train_return", "eval_return"), ((int, float), -MOST, "a number")),
    "source": ((str,), 0, "a word"),
    "hyperparameters": ((dict,), 0, "a mapping"),
    **dict.fromkeys(("restart", "failed"), ((bool,), 0, "true or false")),
}
