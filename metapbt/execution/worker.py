"""What a worker process does: it makes the learner once, and trains one job after another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType

from metapbt.errors import MetapbtError
from metapbt.execution.base import Failure, Job
from metapbt.execution.trainer import Trainer
from metapbt.learners import LearnerSpec
from metapbt.store.checkpoint import Outcome


@dataclass(frozen=True, slots=True)
class Script:
    """The user's script, in which a learner called ``__main__:Name`` is defined."""

    path: str
    package: str | None

    @classmethod
    def of(cls, learner: LearnerSpec) -> Script | None:
        """This process's, where the learner is defined there.

        Raises:
            MetapbtError: it is, but in no file that a worker could read.
        """
        if learner.module != "__main__":
            return None
        main = sys.modules["__main__"]
        path = getattr(main, "__file__", None)
        if path is None or not Path(path).is_file():
            raise MetapbtError(
                f"learner '{learner.name}' is defined where workers cannot read it (a notebook, python -c, standard "
                "input): put it into a module, or choose executor=inline"
            )
        return cls(str(Path(path).absolute()), getattr(main, "__package__", None))

    def read(self) -> None:
        """Let this process know what the script defines, up to where it starts a run.

        ``__name__`` is ``__mp_main__``, as in every worker of ``multiprocessing``. A script without
        ``if __name__ == "__main__":`` comes to its run; `leave_script` ends it there.
        """
        global _reading
        module = ModuleType("__mp_main__")
        module.__file__, module.__package__ = self.path, self.package
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module
        _reading = True
        try:
            exec(compile(Path(self.path).read_bytes(), self.path, "exec"), vars(module))
        except _StartsRun:
            pass
        finally:
            _reading = False


class _StartsRun(BaseException):
    """A script that is only read has come to where it starts a run."""


_reading = False  # whether this process reads the user's script, to know what it defines


def leave_script() -> None:
    """Called where a run would start: goes no further in a process that only reads what the script defines."""
    if _reading:
        raise _StartsRun


def work(learner: LearnerSpec, threads: int, script: Script | None, line: Connection) -> None:
    """Train what comes along the line.

    Sends None once the learner is made, and then for each job what came of it; a `Failure` where the learner
    cannot be made.
    """
    # A group of its own: whatever the learner starts ends with this process. Ctrl-C and a cluster's SIGTERM are for the
    # main process to act on.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        if script is not None:
            script.read()
        trainer = Trainer(learner, threads)
    except BaseException as error:
        line.send(Failure.of(error))
        return
    line.send(None)
    while True:
        result = _result(trainer, line.recv())
        flush_streams()
        line.send(result)


def flush_streams() -> None:
    """Let what a learner printed be seen."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # the learner may have closed it
            stream.flush()


def _result(trainer: Trainer, job: Job) -> Outcome | Failure:
    try:
        return trainer.train(job)
    except BaseException as error:
        return Failure.of(error)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
