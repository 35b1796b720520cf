"""Members train side by side in worker processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from metapbt.errors import MetapbtError
from metapbt.execution.base import Failure, Job
from metapbt.execution.checkpoint import Outcome
from metapbt.execution.trainer import Trainer, limit_threads
from metapbt.learners import LearnerSpec


class ProcessesExecutor:
    """Workers that live as long as the run; a member stays with the worker that has it in memory, where that is free.

    Workers are forked from a server that has loaded the learner once. They hold one end of a pipe and end at once
    when the other end closes, whether this process closes it or is killed; so nothing is left behind.
    """

    def __init__(self, learner: LearnerSpec, threads: int = 1, workers: int | None = None) -> None:
        """Prepare the workers; each starts with its first job.

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
        self._jobs: list[Job] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let the jobs wait for workers, behind those that came before."""
        self._jobs.extend(jobs)

    def next(self) -> tuple[Job, Outcome | Failure]:
        """Wait for a worker to end its job. One that dies is a failure of that job, and starts anew with its next."""
        self._start_jobs()
        busy = {worker.future: worker for worker in self._workers if worker.future is not None}
        if not busy:
            raise IndexError("nothing is under way")
        ended, _ = wait(busy, return_when=FIRST_COMPLETED)
        result = busy[ended.pop()].collect()
        self._start_jobs()  # so that the worker need not wait for what is made of the result
        return result

    def close(self) -> None:
        """End the workers at once."""
        self._jobs.clear()
        for worker in self._workers:
            worker.close()

    def _start_jobs(self) -> None:
        free = [worker for worker in self._workers if worker.future is None]
        while free and self._jobs:
            job = self._jobs.pop(0)
            worker = next((worker for worker in free if worker.holds(job.start_from)), free[0])
            free.remove(worker)
            worker.start(job)


class _Worker:
    """One process, and what it has in memory."""

    def __init__(self, context: ForkServerContext, learner: LearnerSpec, threads: int) -> None:
        self.future: Future[Outcome] | None = None
        self._context, self._learner, self._threads = context, learner, threads
        self._pool: ProcessPoolExecutor | None = None
        self._line: Connection | None = None
        self._job: Job | None = None
        self._held: dict[int, Path] = {}

    def holds(self, checkpoint: Path | None) -> bool:
        return checkpoint in self._held.values()

    def start(self, job: Job) -> None:
        if self._pool is None:
            workers_end, self._line = self._context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(
                1,
                mp_context=self._context,
                initializer=_prepare_worker,
                initargs=(self._learner, self._threads, workers_end),
            )
        with _without_the_main_script(self._learner):
            self._job, self.future = job, self._pool.submit(_train, job)

    def collect(self) -> tuple[Job, Outcome | Failure]:
        """The ended job with its result."""
        assert self._job is not None
        assert self.future is not None
        job, future = self._job, self.future
        self._job = self.future = None
        error = future.exception()
        if error is None:
            self._held[job.interval.ref.member] = job.save_to
            return job, future.result()
        if isinstance(error, BrokenProcessPool):
            self.close()  # the next job starts a new process
        return job, Failure.of(error)

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._line = self._job = self.future = None
        self._held.clear()


@contextmanager
def _without_the_main_script(learner: LearnerSpec) -> Iterator[None]:
    """Let a worker that starts not run the user's script again.

    ``multiprocessing`` runs it in every new process, so that what it defines can be found; a script without
    ``if __name__ == "__main__":`` would train there, too. Workers need no more than the learner's module.
    """
    main = sys.modules["__main__"]
    hidden = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    if learner.module == "__main__":
        hidden = {}
    try:
        for name in hidden:
            setattr(main, name, None)
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)


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


def _train(job: Job) -> Outcome:
    return _trainer.train(job)
