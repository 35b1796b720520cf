"""The protocol of an executor: where members train."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from metapbt.errors import one_line

if TYPE_CHECKING:
    from metapbt.execution.checkpoint import Outcome
    from metapbt.history import Interval


@dataclass(frozen=True, slots=True)
class Job:
    """An interval with the files that it starts from and ends in.

    Attributes:
        interval: what to train.
        start_from: the checkpoint to go on from, or None for a new agent.
        teacher_from: the checkpoint of the agent that a new one learns from, or None.
        save_to: where the checkpoint after the interval is written, with its outcome.
        window: returns of the last episodes, at least so many, make the training return.
    """

    interval: Interval
    start_from: Path | None
    save_to: Path
    teacher_from: Path | None = None
    window: int = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that raised: the error in one line, and its traceback for the log."""

    error: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an error that was just caught."""
        return cls(f"{type(error).__name__}: {one_line(error)}", "".join(traceback.format_exception(error)))


class Executor(Protocol):
    """Trains members; results do not depend on where, in which order, or how many at once."""

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand in jobs, to be trained when there is room."""

    def next(self) -> tuple[Job, Outcome | Failure]:
        """Wait for one of the submitted jobs to end, and return it with its result; they end in any order."""
        ...

    def close(self) -> None:
        """Stop whatever still trains, at once, and give everything back."""
