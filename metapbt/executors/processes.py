"""Members train side by side in worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection

from metapbt.errors import MetapbtError
from metapbt.executors.base import Failure, Task, limit_threads, make_learner, train_member
from metapbt.executors.checkpoint import Outcome
from metapbt.learners import LearnerSpec
from metapbt.learners.base import Learner


class ProcessesExecutor:
    """A pool of workers that lives as long as the run.

    Workers are forked from a server that has loaded the learner once. They hold one end of a pipe and end at once
    when the other end closes, whether this process closes it or is killed; so nothing is left behind.
    """

    def __init__(self, learner: LearnerSpec, threads: int = 1, workers: int | None = None) -> None:
        """Prepare the pool; workers start with the first tasks.

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
        self._learner = learner
        self._threads = threads
        self._workers = workers or len(os.sched_getaffinity(0))
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([learner.module])
        self._pool: ProcessPoolExecutor | None = None
        self._line: Connection | None = None

    def train(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Outcome | Failure]]:
        """Train the tasks side by side; a worker that dies is a failure of the tasks that were under way."""
        pool = self._pool or self._start()
        futures = {pool.submit(_train, task): task for task in tasks}
        for future in as_completed(futures):
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                self.close()  # the next call starts a new pool
            yield futures[future], future.result() if error is None else Failure.of(error)

    def close(self) -> None:
        """End the workers at once."""
        if self._line is not None:
            self._line.close()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._line = None

    def _start(self) -> ProcessPoolExecutor:
        workers_end, self._line = self._context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            self._workers,
            mp_context=self._context,
            initializer=_prepare_worker,
            initargs=(self._learner, self._threads, workers_end),
        )
        return self._pool


_learner: Learner  # of this worker


def _prepare_worker(learner: LearnerSpec, threads: int, line: Connection) -> None:
    global _learner
    # Ctrl-C and a cluster's SIGTERM reach the whole process group; it is for the main process to act on them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    _learner = make_learner(learner, threads)


def _end_with(line: Connection) -> None:
    line.poll(None)  # nothing is ever sent: it returns when the other end closes
    os._exit(1)


def _train(task: Task) -> Outcome:
    return train_member(_learner, task)
