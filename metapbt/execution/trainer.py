"""What every executor does in each of its processes: train one interval from one checkpoint to the next."""

from __future__ import annotations

import copy
import math
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError, named
from metapbt.execution.base import Job
from metapbt.execution.outcomes import mean, plain_number, plain_state, plain_training
from metapbt.history import Interval, Ref
from metapbt.learners import LearnerSpec
from metapbt.learners.base import Assigned, State, Teacher, Training
from metapbt.learners.contained import Left, contained
from metapbt.log import LOGGER
from metapbt.store.checkpoint import Files, Outcome, load_state, read_outcome

Found = TypeVar("Found")

_KEPT_BYTES = 50_000_000
_RETURNS = "_returns"  # in a state: those of the line of descent's last episodes


class Trainer:
    """Runs jobs with one learner.

    Every interval's state is written to disk, for a run that is stopped must be able to go on; but who goes on where it
    was made finds it in memory.
    """

    def __init__(self, spec: LearnerSpec, threads: int, checkpoints: Files | None = None) -> None:
        """Make the learner in this process.

        Args:
            spec: how.
            threads: that this process uses from now on.
            checkpoints: where they are; None for files.
        """
        limit_threads(threads)
        self._checkpoints = checkpoints or Files()
        self._learner, self._name = spec.make(), spec.name
        # A learner of its own where evaluation is on other levels than training: no learner needs to know of these.
        elsewhere = spec.evaluation_context
        self._evaluator = None if elsewhere is None else spec.make(elsewhere)
        limit_threads(threads)  # making it may have loaded torch
        self._states: dict[Ref, tuple[Path, State]] = {}  # those made here that somebody may go on from

    @property
    def in_memory(self) -> Collection[Path]:
        """The checkpoints that need not be read."""
        return [path for path, _ in self._states.values()]

    def train(self, job: Job) -> Outcome:
        """Train one member from its checkpoint and write the next one."""
        began = perf_counter()
        assigned, before = self._assigned(job)
        with contained():
            found = self._learner.train(assigned.interval, assigned.start, assigned.teacher)
            training = self._evaluated(plain_training(found, self._name, job.interval), job)
        return self._saved(job, training, before, began)

    def train_many(self, jobs: Sequence[Job]) -> list[Outcome | Exception]:
        """Train several members by one call of the learner's, or one after another where it has none for them.

        Returns:
            Each job's outcome, or what went wrong with it alone.
        """
        together = getattr(self._learner, "train_many", None)
        if together is None:
            return [_tried(self.train, job) for job in jobs]
        began = perf_counter()
        ready = [_tried(self._assigned, job) for job in jobs]
        found = self._together(together, [each[0] for each in ready if not isinstance(each, Exception)])
        if found is None:
            return [_tried(self.train, job) for job in jobs]

        def save(job: Job, before: NDArray[Any], brought: Any) -> Outcome:
            if isinstance(brought, BaseException):
                raise brought
            with contained():
                training = self._evaluated(plain_training(brought, self._name, job.interval), job)
            return self._saved(job, training, before, began)

        brought = iter(found)
        return [
            each if isinstance(each, Exception) else _tried(save, job, each[1], next(brought))
            for job, each in zip(jobs, ready, strict=True)
        ]

    def _together(self, together: Callable[[Sequence[Assigned]], Any], asked: Sequence[Assigned]) -> list[Any] | None:
        """What a call for all of them brings; None where each is to be trained alone."""
        try:
            with contained():
                found = together(asked)
                found = None if found is None else list(found)
            if found is not None and len(found) != len(asked):
                raise MetapbtError(f"learner={self._name}: train_many brought {len(found)} of {len(asked)} results")
        except Exception as error:  # whose fault it is shows when each is alone
            LOGGER.debug("members are trained one after another, for together they failed: %s", named(error))
            return None
        return found

    def _assigned(self, job: Job) -> tuple[Assigned, NDArray[Any]]:
        """What the learner is asked to train, and the returns of the line of descent's last episodes."""
        if job.held is not None:
            job.held.check()
        state = self._load(job.start_from) if job.start_from else None
        before = state.pop(_RETURNS, np.empty(0)) if state is not None else np.empty(0)
        if state is not None and job.interval.shrink is not None:
            state, before = self._shrunk(state, job.interval, job.interval.shrink), np.empty(0)
        # Its own copy of the hyperparameters: what it does to them is not what it was asked to train with.
        asked = replace(
            job.interval,
            hyperparameters=copy.deepcopy(job.interval.hyperparameters),
            evaluation_episodes=job.interval.evaluation_episodes if self._evaluator is None else 0,
        )
        return Assigned(asked, state, self._teacher(job)), before

    def _shrunk(self, state: State, interval: Interval, by: tuple[float, float]) -> State:
        """What an agent begins anew with; as it was where its learner does not know its weights."""
        found = getattr(self._learner, "shrunk", None)
        if found is None:
            return state
        with contained():
            left = found(state, copy.deepcopy(interval.hyperparameters), *by, interval.seed)
        return _frozen(plain_state(left, f"learner={self._name}: shrunk"))

    def _evaluated(self, training: Training, job: Job) -> Training:
        """What an interval brought, with the evaluation by the learner of the levels that training does not see."""
        if self._evaluator is None:
            return training
        interval = job.interval
        found = self._evaluator.evaluate(
            _frozen({name: array.view() for name, array in training.state.items()}),
            copy.deepcopy(interval.hyperparameters),
            interval.evaluation_seed,
            interval.evaluation_episodes,
        )
        return replace(training, eval_return=plain_number(found, f"learner={self._name}: what evaluate returns"))

    def _saved(self, job: Job, training: Training, before: NDArray[Any], began: float) -> Outcome:
        interval = job.interval
        returns = window_of_returns(before, training.returns, job.window)
        outcome = Outcome(
            hyperparameters=interval.hyperparameters,
            env_steps=training.env_steps,
            until_steps=interval.until_steps,
            train_return=mean(returns) if self._says_something(training, interval) else math.nan,
            eval_return=training.eval_return,
            episodes=len(training.returns),
            wall_seconds=perf_counter() - began,
        )
        # An episode that diverged speaks for its own interval, but not for those that come after it.
        after: State = {**training.state, _RETURNS: returns[np.isfinite(returns)]}
        # Of each member the last one; students, who have numbers of their own, go on in the next generation or never.
        generation, member = interval.ref
        self._states = {
            ref: kept for ref, kept in self._states.items() if ref.member != member and ref.generation >= generation - 1
        }
        # A copy, which the learner cannot reach. Replay buffers are left out: they would fill the memory.
        if sum(array.nbytes for array in after.values()) <= _KEPT_BYTES:
            after = _frozen({name: array.copy() for name, array in after.items()})
            self._states[interval.ref] = job.save_to, after
        if job.held is not None:
            job.held.check()
        self._checkpoints.save(job.save_to, after, outcome)
        return outcome

    def _says_something(self, training: Training, interval: Interval) -> bool:
        """Whether the training return is to be looked at; else the evaluation speaks for the agent, or nothing does.

        Where no episode ended the last ones of the line of descent say what was before the interval, for a copy what
        its parent was. And episodes of before an agent diverged say nothing of what it is now.
        """
        if not training.returns and math.isfinite(training.eval_return):
            return self._evaluator is not None  # an evaluation on held-out levels is not for selection to see
        asked = interval.evaluation_episodes > 0 and math.isnan(training.eval_return)
        return not (asked and any(_diverged(array) for array in training.state.values()))

    def _teacher(self, job: Job) -> Teacher | None:
        if job.teacher_from is None:
            return None
        state = self._load(job.teacher_from)
        state.pop(_RETURNS, None)
        interval, hyperparameters = job.interval, self._checkpoints.outcome(job.teacher_from).hyperparameters
        return Teacher(state, hyperparameters, interval.taught_steps, interval.annealed_over)

    def _load(self, path: Path) -> State:
        for kept, state in self._states.values():
            if kept == path:
                return dict(state)
        return _frozen(self._checkpoints.load(path))


def evaluate(spec: LearnerSpec, checkpoint: Path, seed: int, episodes: int) -> float:
    """The mean return of a checkpoint's agent in the context of the final test, over episodes from ``seed`` on.

    Raises:
        MetapbtError: what the learner returns is no finite number, or it leaves instead of returning.
    """
    state = _frozen(load_state(checkpoint))
    state.pop(_RETURNS, None)
    hyperparameters = read_outcome(checkpoint).hyperparameters
    learner, what = spec.make(spec.test_context), f"learner={spec.name}: what evaluate returns"
    try:
        with contained():
            value = plain_number(learner.evaluate(state, hyperparameters, seed, episodes), what)
    except Left as left:
        raise MetapbtError(f"learner={spec.name}: evaluate raised {named(left.raised)}") from left
    if not math.isfinite(value):
        raise MetapbtError(f"{what} for the best agent must be a finite number, got {value}")
    return value


def _tried(function: Callable[..., Found], *arguments: Any) -> Found | Exception:
    """What a function returns, or what it raises."""
    try:
        return function(*arguments)
    except Exception as error:
        return error


def _diverged(array: NDArray[Any]) -> bool:
    return bool(np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all())


def _frozen(state: State) -> State:
    """The same arrays; a learner that wrote into them would change what a copy starts from."""
    for array in state.values():
        array.flags.writeable = False
    return state


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
