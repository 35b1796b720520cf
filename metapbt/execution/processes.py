"""Members train side by side in worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from metapbt.errors import MetapbtError
from metapbt.execution.base import Failure, Task, Trainer, limit_threads
from metapbt.execution.checkpoint import Outcome
from metapbt.learners import LearnerSpec


class ProcessesExecutor:
    """Workers that live as long as the run; a member stays with the worker that has it in memory, where that is free.

    Workers are forked from a server that has loaded the learner once. They hold one end of a pipe and end at once
    when the other end closes, whether this process closes it or is killed; so nothing is left behind.
    """

    def __init__(self, learner: LearnerSpec, threads: int = 1, workers: int | None = None) -> None:
        """Prepare the workers; each starts with its first task.

        Args:
            learner: what trains the members.
            threads: of numerical libraries in each worker.
            workers: how many; None for as many as there are usable cores.

        Raises:
            MetapbtError: ``workers`` is below 1.
        """
        if workers is not None and workers < 1:
            raise MetapbtError(f"executor.workers must be >= 1, got {workers}")
        limit_threads(threads)  # inherited by the server, so that it holds for what it loads
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([learner.module])
        forkserver.ensure_running()  # it loads the learner while this process prepares the rest
        count = workers or len(os.sched_getaffinity(0))
        self._workers = [_Worker(context, learner, threads) for _ in range(count)]
        self._tasks: list[Task] = []

    def submit(self, task: Task) -> None:
        """Let the task wait for a worker, behind those that came before."""
        self._tasks.append(task)

    def next(self) -> tuple[Task, Outcome | Failure]:
        """Wait for a worker to end its task. One that dies is a failure of that task, and starts anew with its next."""
        self._start_tasks()
        busy = {worker.future: worker for worker in self._workers if worker.future is not None}
        if not busy:
            raise IndexError("nothing is under way")
        ended, _ = wait(busy, return_when=FIRST_COMPLETED)
        result = busy[ended.pop()].collect()
        self._start_tasks()  # so that the worker need not wait for what is made of the result
        return result

    def close(self) -> None:
        """End the workers at once."""
        self._tasks.clear()
        for worker in self._workers:
            worker.close()

    def _start_tasks(self) -> None:
        free = [worker for worker in self._workers if worker.future is None]
        while free and self._tasks:
            task = self._tasks.pop(0)
            worker = next((worker for worker in free if worker.holds(task.start_from)), free[0])
            free.remove(worker)
            worker.start(task)


class _Worker:
    """One process, and what it has in memory."""

    def __init__(self, context: ForkServerContext, learner: LearnerSpec, threads: int) -> None:
        self.future: Future[Outcome] | None = None
        self._context, self._learner, self._threads = context, learner, threads
        self._pool: ProcessPoolExecutor | None = None
        self._line: Connection | None = None
        self._task: Task | None = None
        self._held: dict[int, Path] = {}

    def holds(self, checkpoint: Path | None) -> bool:
        return checkpoint in self._held.values()

    def start(self, task: Task) -> None:
        if self._pool is None:
            workers_end, self._line = self._context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(
                1,
                mp_context=self._context,
                initializer=_prepare_worker,
                initargs=(self._learner, self._threads, workers_end),
            )
        self._task, self.future = task, self._pool.submit(_train, task)

    def collect(self) -> tuple[Task, Outcome | Failure]:
        """The ended task with its result."""
        assert self._task is not None
        assert self.future is not None
        task, future = self._task, self.future
        self._task = self.future = None
        error = future.exception()
        if error is None:
            self._held[task.member] = task.save_to
            return task, future.result()
        if isinstance(error, BrokenProcessPool):
            self.close()  # the next task starts a new process
        return task, Failure.of(error)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._line = self._task = self.future = None
        self._held.clear()


_trainer: Trainer  # of this process


def _prepare_worker(learner: LearnerSpec, threads: int, line: Connection) -> None:
    global _trainer
    # Ctrl-C and a cluster's SIGTERM reach the whole process group; it is for the main process to act on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    _trainer = Trainer(learner, threads)


def _end_with(line: Connection) -> None:
    line.poll(None)  # nothing is ever sent: it returns when the other end closes
    os._exit(1)


def _train(task: Task) -> Outcome:
    return _trainer.train(task)
