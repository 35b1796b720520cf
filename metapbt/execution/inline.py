"""Members train one after another in this process."""

from __future__ import annotations

from metapbt.execution.base import Failure, Task, Trainer
from metapbt.execution.checkpoint import Outcome
from metapbt.learners import LearnerSpec


class InlineExecutor:
    """The simplest executor: those who are behind train first, so the order is always the same."""

    def __init__(self, learner: LearnerSpec, threads: int = 1) -> None:
        self._trainer = Trainer(learner, threads)
        self._tasks: list[Task] = []

    def submit(self, task: Task) -> None:
        """Let the task wait for its turn."""
        self._tasks.append(task)
        self._tasks.sort(key=lambda waiting: (waiting.generation, waiting.member), reverse=True)

    def next(self) -> tuple[Task, Outcome | Failure]:
        """Train the task whose turn it is."""
        task = self._tasks.pop()
        try:
            return task, self._trainer.train(task)
        except Exception as error:
            return task, Failure.of(error)

    def close(self) -> None:
        """Forget the tasks."""
        self._tasks.clear()
