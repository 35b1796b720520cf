"""What a member does next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from metapbt.history import Ref
from metapbt.plain import thawed
from metapbt.space import Hyperparameters


@dataclass(frozen=True, slots=True)
class Continue:
    """The member trains on as it is.

    Attributes:
        until_steps: environment steps at which its interval ends; None for the usual ones.
    """

    until_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Copy:
    """The member takes over a checkpoint and trains on with ``hyperparameters``.

    Attributes:
        start: the checkpoint: what a member, perhaps itself, had at the end of a generation.
        hyperparameters: of the coming interval.
        until_steps: environment steps at which the interval ends; None for the usual ones.
        teacher: the checkpoint of the agent that a student goes on learning from; None without.
    """

    start: Ref
    hyperparameters: Hyperparameters
    until_steps: int | None = None
    teacher: Ref | None = None

    @property
    def parent(self) -> int:
        """The member whose checkpoint it is."""
        return self.start.member


@dataclass(frozen=True, slots=True)
class Restart:
    """The member is born again, or a student is born: a new agent, or what is left of an old one.

    Attributes:
        hyperparameters: of the coming interval.
        teacher: the checkpoint of the agent that it learns from, and from whose environment steps it counts on; None
            without.
        until_steps: environment steps at which the interval ends; None for the usual ones.
        shrunk: the checkpoint whose weights, shrunk and perturbed, it begins with, and from whose environment steps it
            counts on; None where all of it is new.
    """

    hyperparameters: Hyperparameters
    teacher: Ref | None = None
    until_steps: int | None = None
    shrunk: Ref | None = None


Decision = Continue | Copy | Restart
Kind = Literal["start", "continue", "copy", "restart"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A member's coming interval, as it is decided.

    Attributes:
        kind: what the decision was; ``start`` in the first generation.
        start: the checkpoint that the interval goes on from, or, of a restart, whose weights are shrunk; None of a new
            agent.
        teacher: the checkpoint of the agent that a new one, or a student that goes on, learns from.
        hyperparameters: those to train with.
        source: how they came about.
        until_steps: where the decision says when the interval ends.
        operations: for the log alone, what was done to single hyperparameters; not part of the state.
    """

    kind: Kind
    start: Ref | None
    hyperparameters: Hyperparameters
    source: str
    teacher: Ref | None = None
    until_steps: int | None = None
    operations: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def restart(self) -> bool:
        """Whether the member is born again."""
        return self.kind == "restart"

    @property
    def decision(self) -> Decision:
        """The same for whoever trains the members."""
        if self.kind == "continue":
            return Continue(self.until_steps)
        if self.start is None or self.restart:
            return Restart(thawed(self.hyperparameters), self.teacher, self.until_steps, self.start)
        return Copy(self.start, thawed(self.hyperparameters), self.until_steps, self.teacher)

    def to_dict(self) -> dict[str, Any]:
        """This assignment as plain data, without what has its usual value."""
        return {
            "kind": self.kind,
            "hyperparameters": thawed(self.hyperparameters),
            "source": self.source,
            **{
                name: list(value) if isinstance(value, tuple) else value
                for name in ("start", "teacher", "until_steps")
                if (value := getattr(self, name)) is not None
            },
        }


class Assignments(Mapping[int, Assignment]):
    """Assignments by member, to look at: what is done to one changes none."""

    def __init__(self, assignments: Mapping[int, Assignment]) -> None:
        self._assignments = assignments

    def __getitem__(self, member: int) -> Assignment:
        assignment = self._assignments[member]
        return replace(assignment, hyperparameters=thawed(assignment.hyperparameters))

    def __iter__(self) -> Iterator[int]:
        return iter(self._assignments)

    def __len__(self) -> int:
        return len(self._assignments)
