"""The protocol of an executor: where members train."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Protocol

from metapbt.errors import one_line
from metapbt.executors.checkpoint import Outcome, load_state, save_checkpoint
from metapbt.learners import LearnerSpec
from metapbt.learners.base import Learner
from metapbt.space import Hyperparameters


@dataclass(frozen=True, slots=True)
class Task:
    """One member's training in one generation.

    Attributes:
        member: counted from 0.
        hyperparameters: for this interval.
        start_from: the checkpoint to go on from, or None for a new agent.
        save_to: where the checkpoint after the interval is written, with its outcome.
        interval_steps: environment steps to train.
        seed: of the interval.
        evaluation_seed: of the evaluation episodes.
    """

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
    """Trains the members of a generation; results do not depend on where, in which order, or how many at once."""

    def train(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Outcome | Failure]]:
        """Train every task, and yield each as it ends, in any order."""
        ...

    def close(self) -> None:
        """Stop whatever still trains, at once, and give everything back."""


def train_member(learner: Learner, task: Task) -> Outcome:
    """Train one member from its checkpoint and write the next one: what every executor runs."""
    began = perf_counter()
    state = load_state(task.start_from) if task.start_from else None
    training = learner.train(state, task.hyperparameters, task.interval_steps, task.seed, task.evaluation_seed)
    outcome = Outcome(
        hyperparameters=task.hyperparameters,
        env_steps=training.env_steps,
        train_return=training.train_return,
        eval_return=training.eval_return,
        episodes=training.episodes,
        wall_seconds=perf_counter() - began,
    )
    save_checkpoint(task.save_to, training.state, outcome)
    return outcome


def limit_threads(threads: int) -> None:
    """Let numerical libraries of this process use ``threads`` threads each, whether loaded already or later."""
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)


def make_learner(spec: LearnerSpec, threads: int) -> Learner:
    """Make a learner in this process, which uses ``threads`` threads from now on."""
    limit_threads(threads)
    learner = spec.make()
    limit_threads(threads)  # making it may have loaded torch
    return learner
