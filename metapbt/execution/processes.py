"""Members train side by side in worker processes of this machine."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from time import monotonic
from typing import Any

from metapbt.errors import MetapbtError, named
from metapbt.execution import server
from metapbt.execution.base import MOST_AT_ONCE, Failure, Job, checked_timeout, no_end
from metapbt.execution.server import Server
from metapbt.execution.worker import Answer, Script, work
from metapbt.learners import LearnerSpec
from metapbt.plain import whole_number
from metapbt.store.checkpoint import Outcome

_PATIENCE = 10.0  # seconds for a process to end that has closed its line, or was killed


class ProcessesExecutor:
    """Workers that live as long as the run; a member stays with the worker that has it in memory, where that is free.

    Workers are forked from a server that has loaded the learner once, in this run where it is of the user's own. They
    end at once when this process ends, however that comes, and take along what their learner started; so nothing is
    left behind.
    """

    def __init__(
        self, learner: LearnerSpec, threads: int = 1, workers: int | None = None, timeout: float | None = None
    ) -> None:
        """Prepare the workers; each starts with its first job.

        Args:
            learner: what trains the members.
            threads: of numerical libraries in each worker.
            workers: how many; None for as many as there are usable cores.
            timeout: seconds after which a worker that has not ended its interval is taken to hang, and killed; the same
                for making the learner. None waits for ever.

        Raises:
            MetapbtError: ``threads`` or ``workers`` is no count, ``timeout`` no time, or this process cannot have
                workers, or none that could find the learner.
        """
        if workers is None:
            workers = len(os.sched_getaffinity(0))
        self.at_once = count = whole_number("executor.workers", workers, 1, MOST_AT_ONCE)
        threads = whole_number("executor.threads", threads, 1, MOST_AT_ONCE)
        timeout = checked_timeout(timeout)
        if multiprocessing.current_process().daemon:
            raise MetapbtError(
                "executor=processes cannot start workers here: this process is daemonic (as those of "
                "multiprocessing.Pool are), and may have no children; choose executor=inline"
            )
        script = Script.of(learner)
        self._server = server.start(learner.name, threads)  # it loads the learner while this process prepares the rest
        self._workers = [_Worker(self._server, (learner, threads, script), timeout) for _ in range(count)]
        self._jobs: list[Job] = []
        self._ended: list[tuple[Job, Failure]] = []  # before they began
        self._is_closed = False

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let the jobs wait for workers, behind those that came before."""
        self._jobs.extend(jobs)

    def next(self) -> tuple[Job, Outcome | Failure]:
        """Wait for a worker to end its job. One that dies is a failure of that job, and starts anew with its next."""
        while True:
            self._start_jobs()
            if self._ended:
                return self._ended.pop(0)
            busy = [worker for worker in self._workers if worker.job is not None]
            if not busy:
                raise IndexError("nothing is under way")
            first = min(worker.deadline for worker in busy)
            wait(
                [each for worker in busy for each in worker.signs],
                max(first - monotonic(), 0) if first < math.inf else None,
            )
            for worker in busy:
                job, result = worker.job, worker.result()
                if job is not None and result is not None:
                    self._start_jobs()  # so that the worker need not wait for what is made of the result
                    return job, result

    def close(self) -> None:
        """End the workers at once."""
        self._jobs.clear()
        for worker in self._workers:
            worker.close()
        if not self._is_closed:
            self._is_closed = True
            self._server.release()

    def _start_jobs(self) -> None:
        free = [worker for worker in self._workers if worker.job is None]
        while free and self._jobs:
            job = self._jobs.pop(0)
            worker = next((worker for worker in free if worker.holds(job.start_from)), free[0])
            free.remove(worker)
            failure = worker.start(job)
            if failure is not None:
                self._ended.append((job, failure))


class _Worker:
    """One process, and what it has in memory.

    Attributes:
        job: that it trains; None while it waits.
        deadline: when it is taken to hang, on the monotonic clock; infinite without a timeout.
    """

    def __init__(self, server: Server, makes: tuple[Any, ...], timeout: float | None) -> None:
        self.job: Job | None = None
        self.deadline = math.inf
        self._server, self._makes, self._timeout = server, makes, timeout
        self._process: ForkServerProcess | None = None
        self._line: Connection | None = None
        self._is_ready = False
        self._held: dict[int, Path] = {}

    def holds(self, checkpoint: Path | None) -> bool:
        return checkpoint in self._held.values()

    @property
    def signs(self) -> list[Any]:
        """What to wait for: a message, or the process's end."""
        assert self._process is not None
        return [self._line, self._process.sentinel]

    def start(self, job: Job) -> Failure | None:
        """Let the process train a job; a failure where it cannot."""
        # One that waits says nothing: what can be read is its end, which is mostly known before its exit code is.
        ended = self._process is not None and self._process.exitcode is not None
        if ended or (self._line is not None and self._line.poll()):
            self.close()  # it was killed while it waited
        try:
            if self._process is None:
                self._begin()
            assert self._line is not None
            self._line.send(job)
        except (OSError, EOFError) as error:  # no more processes, no more memory
            self.close()
            return Failure.mishap(f"no worker could be started: {named(error)}")
        self.job = job
        self._begin_time()
        return None

    def result(self) -> Outcome | Failure | None:
        """What came of the job; None while it is under way."""
        assert self._line is not None
        assert self._process is not None
        try:
            if self._line.poll():
                return self._received(self._line.recv())
        except (OSError, EOFError):
            self._process.join(_PATIENCE)
            return self._ended(Failure.mishap(_end_in_words(self._process.exitcode)))
        if self._process.exitcode is not None:
            return self._ended(Failure.mishap(_end_in_words(self._process.exitcode)))
        if monotonic() >= self.deadline:
            return self._ended(Failure.mishap(no_end(self._timeout)))
        return None

    def close(self) -> None:
        if self._process is not None and self._process.pid is not None:
            # The whole group: what the learner started ends, too. The group may not be there yet, or no longer.
            with suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.join(_PATIENCE)
        if self._line is not None:
            self._line.close()
        self._process = self._line = self.job = None
        self._is_ready = False
        self._held.clear()

    def _begin(self) -> None:
        self._line, workers_end = multiprocessing.Pipe()
        self._process = ForkServerProcess(target=work, args=(*self._makes, workers_end))
        with _without_the_main_script(), workers_end:
            self._server.start(self._process)

    def _begin_time(self) -> None:
        self.deadline = math.inf if self._timeout is None else monotonic() + self._timeout

    def _received(self, message: Answer | Failure | None) -> Outcome | Failure | None:
        if message is None:
            self._is_ready = True
            self._begin_time()
            return None
        assert self.job is not None
        if isinstance(message, Failure):
            return self._ended(message)  # the learner could not be made
        ref, result = message
        if ref != self.job.interval.ref:
            return self._ended(Failure.mishap("the worker answered for another interval"))
        if isinstance(result, Failure) and result.kind == "mishap":
            return self._ended(result)  # the next job finds a fresh process
        if isinstance(result, Outcome):
            self._held[ref.member] = self.job.save_to
        self.job = None
        return result

    def _ended(self, failure: Failure) -> Failure:
        self.close()
        return failure


def _end_in_words(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the worker ended in the midst of it, with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    why = {"SIGKILL": ": out of memory?", "SIGSEGV": ": a fault in compiled code"}.get(name, "")
    return f"the worker was killed by signal {-code} ({name}){why}"


@contextmanager
def _without_the_main_script() -> Iterator[None]:
    """Let a worker that starts not run the user's script again.

    ``multiprocessing`` runs it in every new process, so that what it defines can be found; a script without
    ``if __name__ == "__main__":`` would train there, too. A worker whose learner is defined there reads it itself.
    """
    main = sys.modules["__main__"]
    hidden = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    try:
        for name in hidden:
            setattr(main, name, None)
        yield
    finally:
        for name, value in hidden.items():
            setattr(main, name, value)
