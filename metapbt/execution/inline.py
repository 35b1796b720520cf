"""Members train one after another in this process."""

from __future__ import annotations

from collections.abc import Sequence

from metapbt.execution.base import Failure, Job
from metapbt.execution.checkpoint import Outcome
from metapbt.execution.trainer import Trainer
from metapbt.learners import LearnerSpec


class InlineExecutor:
    """The simplest executor: those who are behind train first, so the order is always the same."""

    def __init__(self, learner: LearnerSpec, threads: int = 1) -> None:
        self._trainer = Trainer(learner, threads)
        self._jobs: list[Job] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let the jobs wait for their turns."""
        self._jobs.extend(jobs)
        self._jobs.sort(key=lambda waiting: waiting.interval.ref, reverse=True)

    def next(self) -> tuple[Job, Outcome | Failure]:
        """Train the job whose turn it is."""
        job = self._jobs.pop()
        try:
            return job, self._trainer.train(job)
        except Exception as error:
            return job, Failure.of(error)

    def close(self) -> None:
        """Forget the jobs."""
        self._jobs.clear()
