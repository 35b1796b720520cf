"""Members train together in this process, as far as the learner can train several by one call."""

from __future__ import annotations

from metapbt.execution.base import Failure, Job
from metapbt.execution.inline import InlineExecutor, without_exit
from metapbt.learners import LearnerSpec
from metapbt.store.checkpoint import Outcome


class VectorisedExecutor(InlineExecutor):
    """Hands all jobs that wait to the learner at once (``Learner.train_many``).

    With ``learner.engine=jax`` members whose programs are the same train in one compiled call. Any other learner trains
    them one after another. In an asynchronous run members are judged one after another, in the order of their numbers,
    and the next intervals of all of them are trained together.
    """

    def __init__(self, learner: LearnerSpec, threads: int = 1, timeout: float | None = None) -> None:
        """Make the learner in this process; arguments and errors as of ``InlineExecutor``."""
        super().__init__(learner, threads, timeout)
        self._ended: list[tuple[Job, Outcome | Failure]] = []

    def next(self) -> tuple[Job, Outcome | Failure]:
        """The next of the jobs that have ended; where none is left, all that wait are trained."""
        if not self._ended:
            jobs = self._jobs[::-1]
            self._jobs.clear()
            with without_exit():
                results = self._trainer.train_many(jobs)
            self._ended = [
                (job, Failure.of(result) if isinstance(result, Exception) else result)
                for job, result in zip(jobs, results, strict=True)
            ]
        return self._ended.pop(0)

    def close(self) -> None:
        """Forget the jobs."""
        super().close()
        self._ended.clear()
