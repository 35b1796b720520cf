"""What every executor does in each of its processes: train one interval from one checkpoint to the next."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.execution.base import Job
from metapbt.execution.checkpoint import Outcome, load_state, read_outcome, save_checkpoint
from metapbt.learners import LearnerSpec
from metapbt.learners.base import State, Teacher

_KEPT_BYTES = 50_000_000
_RETURNS = "_returns"  # in a state: those of the line of descent's last episodes


class Trainer:
    """Runs jobs with one learner.

    Every interval's state is written to disk, for a run that is stopped must be able to go on; but who goes on where it
    was made finds it in memory.
    """

    def __init__(self, spec: LearnerSpec, threads: int) -> None:
        """Make the learner in this process, which uses ``threads`` threads from now on."""
        limit_threads(threads)
        self._learner = spec.make()
        limit_threads(threads)  # making it may have loaded torch
        self._states: dict[int, tuple[Path, State]] = {}  # of each member, the last that was made here

    def train(self, job: Job) -> Outcome:
        """Train one member from its checkpoint and write the next one."""
        began = perf_counter()
        interval = job.interval
        state = self._load(job.start_from) if job.start_from else None
        before = state.pop(_RETURNS, np.empty(0)) if state is not None else np.empty(0)
        training = self._learner.train(interval, state, self._teacher(job))
        returns = window_of_returns(before, training.returns, job.window)
        outcome = Outcome(
            hyperparameters=interval.hyperparameters,
            env_steps=training.env_steps,
            until_steps=interval.until_steps,
            train_return=float(np.mean(returns)) if len(returns) else float("nan"),
            eval_return=training.eval_return,
            episodes=len(training.returns),
            wall_seconds=perf_counter() - began,
        )
        after: State = {**training.state, _RETURNS: returns}
        self._states.pop(interval.ref.member, None)
        # Frozen, for a learner that wrote into it would change what a copy starts from. Replay buffers are left out:
        # they would fill the memory.
        if sum(array.nbytes for array in after.values()) <= _KEPT_BYTES:
            for array in after.values():
                array.flags.writeable = False
            self._states[interval.ref.member] = job.save_to, after
        save_checkpoint(job.save_to, after, outcome)
        return outcome

    def _teacher(self, job: Job) -> Teacher | None:
        if job.teacher_from is None:
            return None
        state = self._load(job.teacher_from)
        state.pop(_RETURNS, None)
        return Teacher(state, read_outcome(job.teacher_from).hyperparameters, job.interval.start_steps)

    def _load(self, path: Path) -> State:
        for kept, state in self._states.values():
            if kept == path:
                return dict(state)
        return load_state(path)


def evaluate(spec: LearnerSpec, checkpoint: Path, seed: int, episodes: int) -> float:
    """The mean return of a checkpoint's agent under its most likely actions, over episodes from ``seed`` on."""
    state = load_state(checkpoint)
    state.pop(_RETURNS, None)
    return spec.make().evaluate(state, read_outcome(checkpoint).hyperparameters, seed, episodes)


def window_of_returns(before: NDArray[Any], ended: Sequence[float], window: int) -> NDArray[np.float64]:
    """The returns whose mean is the training return.

    All episodes that ended in the interval; where these are fewer than ``window``, earlier ones of the line of descent
    fill it up. A longer window would lag behind short budgets, a shorter one is noise.

    Args:
        before: returns of the line of descent's last episodes, oldest first, shape ``m``.
        ended: those of the interval.
        window: how many at least, as far as there are any.
    """
    missing = max(window - len(ended), 0)
    earlier = np.asarray(before, dtype=np.float64)
    return np.concatenate([earlier[len(earlier) - min(missing, len(earlier)) :], np.asarray(ended, dtype=np.float64)])


def limit_threads(threads: int) -> None:
    """Let numerical libraries of this process use ``threads`` threads each, whether loaded already or later."""
    import threadpoolctl

    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    threadpoolctl.threadpool_limits(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
