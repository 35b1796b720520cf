"""The protocol of an executor: where members train."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from metapbt.errors import one_line
from metapbt.execution.checkpoint import Outcome, load_state, save_checkpoint
from metapbt.learners import LearnerSpec
from metapbt.learners.base import State

if TYPE_CHECKING:
    from metapbt.space import Hyperparameters


@dataclass(frozen=True, slots=True)
class Task:
    """One interval of one member.

    Attributes:
        generation: counted from 0.
        member: counted from 0.
        hyperparameters: for this interval.
        start_from: the checkpoint to go on from, or None for a new agent.
        save_to: where the checkpoint after the interval is written, with its outcome.
        interval_steps: environment steps to train.
        seed: of the interval.
        evaluation_seed: of the evaluation episodes.
    """

    generation: int
    member: int
    hyperparameters: Hyperparameters
    start_from: Path | None
    save_to: Path
    interval_steps: int
    seed: int
    evaluation_seed: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that raised: the error in one line, and its traceback for the log."""

    error: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Describe an error that was just caught."""
        return cls(f"{type(error).__name__}: {one_line(error)}", "".join(traceback.format_exception(error)))


class Executor(Protocol):
    """Trains members; results do not depend on where, in which order, or how many at once."""

    def submit(self, task: Task) -> None:
        """Hand in a task, to be trained when there is room."""

    def next(self) -> tuple[Task, Outcome | Failure]:
        """Wait for one of the submitted tasks to end, and return it with its result; they end in any order."""
        ...

    def close(self) -> None:
        """Stop whatever still trains, at once, and give everything back."""


class Trainer:
    """Runs tasks with one learner: what every executor does in each of its processes.

    Every interval's state is written to disk, for a run that is stopped must be able to go on; but who goes on where it
    was made finds it in memory.
    """

    def __init__(self, spec: LearnerSpec, threads: int) -> None:
        """Make the learner in this process, which uses ``threads`` threads from now on."""
        limit_threads(threads)
        self._learner = spec.make()
        limit_threads(threads)  # making it may have loaded torch
        self._states: dict[int, tuple[Path, State]] = {}  # of each member, the last that was made here

    def train(self, task: Task) -> Outcome:
        """Train one member from its checkpoint and write the next one."""
        began = perf_counter()
        state = self._load(task.start_from) if task.start_from else None
        training = self._learner.train(
            state, task.hyperparameters, task.interval_steps, task.seed, task.evaluation_seed
        )
        outcome = Outcome(
            hyperparameters=task.hyperparameters,
            env_steps=training.env_steps,
            train_return=training.train_return,
            eval_return=training.eval_return,
            episodes=training.episodes,
            wall_seconds=perf_counter() - began,
        )
        self._states.pop(task.member, None)
        # Frozen, for a learner that wrote into it would change what a copy starts from. Replay buffers are left out:
        # they would fill the memory.
        if sum(array.nbytes for array in training.state.values()) <= _KEPT_BYTES:
            for array in training.state.values():
                array.flags.writeable = False
            self._states[task.member] = task.save_to, training.state
        save_checkpoint(task.save_to, training.state, outcome)
        return outcome

    def _load(self, path: Path) -> State:
        for kept, state in self._states.values():
            if kept == path:
                return dict(state)
        return load_state(path)


_KEPT_BYTES = 50_000_000


def limit_threads(threads: int) -> None:
    """Let numerical libraries of this process use ``threads`` threads each, whether loaded already or later."""
    import threadpoolctl

    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    threadpoolctl.threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
