"""Members train one after another in this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from metapbt.errors import MetapbtError
from metapbt.execution.base import MOST_AT_ONCE, Failure, Job
from metapbt.execution.trainer import Trainer
from metapbt.learners import LearnerSpec
from metapbt.plain import whole_number
from metapbt.store.checkpoint import Outcome


class InlineExecutor:
    """The simplest executor: those who are behind train first, so the order is always the same."""

    at_once = 1

    def __init__(self, learner: LearnerSpec, threads: int = 1, timeout: float | None = None) -> None:
        """Make the learner in this process.

        Args:
            learner: what trains the members.
            threads: of numerical libraries.
            timeout: None: here nothing could end a learner that hangs.

        Raises:
            MetapbtError: the learner cannot be made, ``threads`` is no count, or there is a ``timeout``.
        """
        if timeout is not None:
            raise MetapbtError("executor.timeout needs executor=processes: nothing can end a learner of this process")
        self._trainer = Trainer(learner, whole_number("executor.threads", threads, 1, MOST_AT_ONCE))
        self._jobs: list[Job] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let the jobs wait for their turns."""
        self._jobs.extend(jobs)
        self._jobs.sort(key=lambda waiting: waiting.interval.ref, reverse=True)

    def next(self) -> tuple[Job, Outcome | Failure]:
        """Train the job whose turn it is."""
        job = self._jobs.pop()
        try:
            with without_exit():
                return job, self._trainer.train(job)
        except Exception as error:
            return job, Failure.of(error)

    def close(self) -> None:
        """Forget the jobs."""
        self._jobs.clear()


@contextmanager
def without_exit() -> Iterator[None]:
    """Let ``os._exit``, which would end the run without a word, be an error where the learner calls it.

    Not in processes that it forks, nor in other threads: these end as ever.
    """
    leave, process, thread = os._exit, os.getpid(), threading.get_ident()

    def refuse(status: int) -> NoReturn:
        if (os.getpid(), threading.get_ident()) != (process, thread):
            leave(status)
        raise SystemExit(f"os._exit({status})")

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave
