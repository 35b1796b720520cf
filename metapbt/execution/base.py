"""The protocol of an executor: where members train."""

from __future__ import annotations

import math
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from metapbt.errors import MetapbtError, named, one_line
from metapbt.learners.contained import Left
from metapbt.plain import number
from metapbt.store.checkpoint import NotSaved

if TYPE_CHECKING:
    from metapbt.files import Held
    from metapbt.history import Interval
    from metapbt.store.checkpoint import Outcome

#: The most threads or workers that somebody means.
MOST_AT_ONCE = 1024
_LONGEST_LINE, _LONGEST_TRACEBACK = 500, 20_000  # characters


@dataclass(frozen=True, slots=True)
class Job:
    """An interval with the files that it starts from and ends in.

    Attributes:
        interval: what to train.
        start_from: the checkpoint to go on from, or None for a new agent.
        teacher_from: the checkpoint of the agent that a new one learns from, or None.
        save_to: where the checkpoint after the interval is written, with its outcome.
        window: returns of the last episodes, at least so many, make the training return.
        held: what tells the run's directory from one that has taken its place; nothing is written into another.
    """

    interval: Interval
    start_from: Path | None
    save_to: Path
    teacher_from: Path | None = None
    window: int = 20
    held: Held | None = None


#: How a failure came about, and so whether training again may help: a learner that was ``refused`` will be again, one
#: that ``raised`` most likely will, for training draws from seeds; a ``mishap`` of the machine need not come again.
#: What was trained and could not be saved, ``unsaved``, is the trouble of the whole run, not of its member.
Kind = Literal["refused", "raised", "mishap", "unsaved"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that failed: the error in one line, its traceback (or that line again) for the log, and of what kind."""

    error: str
    traceback: str
    kind: Kind = "raised"

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an error that was just caught, whatever its class: plain text that can be sent and written."""
        if isinstance(error, MetapbtError):  # its one line says it all
            line = _shortened(one_line(error), _LONGEST_LINE)
            return cls(line, line, "refused")
        if isinstance(error, NotSaved):
            return replace(cls.of(error.__cause__ or OSError(*error.args)), kind="unsaved")
        line = _shortened(named(error.raised if isinstance(error, Left) else error), _LONGEST_LINE)
        return cls(line, _traceback(error), "mishap" if _is_mishap(error) else "raised")

    @classmethod
    def mishap(cls, error: str) -> Failure:
        """A failure of which there is no traceback: nothing that was raised here."""
        return cls(error, error, "mishap")


def checked_timeout(timeout: Any) -> float | None:
    """The setting ``executor.timeout`` of executors that can end a learner that hangs.

    Raises:
        MetapbtError: it is no time.
    """
    if timeout is None:
        return None
    seconds = number(timeout)
    if seconds is None or not 0 < seconds < math.inf:
        raise MetapbtError(f"executor.timeout must be seconds > 0, or null for none, got {timeout!r}")
    return seconds


def no_end(timeout: float | None) -> str:
    """What became of a worker that took longer than ``executor.timeout``, in words."""
    return f"no end after executor.timeout={timeout:g} seconds: the worker was killed"


def _is_mishap(error: BaseException) -> bool:
    # Torch and JAX have errors of their own for a device whose memory is used up.
    out_of_memory = type(error).__name__ == "OutOfMemoryError" or "RESOURCE_EXHAUSTED" in one_line(error)
    return isinstance(error, OSError | MemoryError) or out_of_memory


def _traceback(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(error))
    except Exception as unreadable:  # the error's own code
        text = f"{type(error).__name__}, whose traceback cannot be shown: {type(unreadable).__name__}"
    # What cannot be encoded would be lost on its way into the log.
    return _shortened(text.encode(errors="backslashreplace").decode(), _LONGEST_TRACEBACK)


def _shortened(text: str, most: int) -> str:
    """The beginning and the end of a text that is too long."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


class Executor(Protocol):
    """Trains members; results do not depend on where, in which order, or how many at once.

    Its attribute ``at_once``, which may be left out, says how many, for who forecasts how long a run takes.
    """

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand in jobs, to be trained when there is room."""

    def next(self) -> tuple[Job, Outcome | Failure]:
        """Wait for one of the submitted jobs to end, and return it with its result; they end in any order."""
        ...

    def close(self) -> None:
        """Stop whatever still trains, at once, and give everything back."""
