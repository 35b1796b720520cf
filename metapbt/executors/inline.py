"""Members train one after another in this process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from metapbt.executors.base import Failure, Task, make_learner, train_member
from metapbt.executors.checkpoint import Outcome
from metapbt.learners import LearnerSpec


class InlineExecutor:
    """The simplest executor: a loop."""

    def __init__(self, learner: LearnerSpec, threads: int = 1) -> None:
        self._learner = make_learner(learner, threads)

    def train(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Outcome | Failure]]:
        """Train the tasks in order."""
        for task in tasks:
            try:
                result: Outcome | Failure = train_member(self._learner, task)
            except Exception as error:
                result = Failure.of(error)
            yield task, result

    def close(self) -> None:
        """Nothing to give back."""
