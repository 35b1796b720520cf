"""What a worker process does: it makes the learner once, and trains one job after another."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from metapbt.errors import MetapbtError, named
from metapbt.execution.base import Failure, Job
from metapbt.execution.trainer import Trainer
from metapbt.history import Ref
from metapbt.learners import LearnerSpec
from metapbt.learners.contained import STOPPING, flush_streams
from metapbt.store.checkpoint import Outcome

#: A job and what came of it.
Answer = tuple[Ref, Outcome | Failure]

MAIN = "__main__:"  # what names of objects begin with that the user's script defines


@dataclass(frozen=True, slots=True)
class Script:
    """What a worker must know of the program that the user runs.

    Attributes:
        path: of the user's script, where it defines what is trained, or trained on: a learner called
            ``__main__:Name``, an environment, an object among the settings; None where it does not.
        package: that the script belongs to.
        sent: pickled by value: such objects as they are now, by name, where the script can be read only up to an
            earlier run; and Gymnasium's spec of the environment, which may be registered in this process alone.
    """

    path: str | None
    package: str | None
    sent: bytes

    @classmethod
    def of(cls, learner: LearnerSpec) -> Script | None:
        """This process's; None where a worker needs nothing of it.

        Raises:
            MetapbtError: something is defined in no file that a worker could read, or cannot be sent to one.
        """
        named_there = sorted(set(_named_in_main([learner.name, learner.env, learner.settings])))
        spec = getattr(sys.modules.get("gymnasium"), "registry", {}).get(learner.env.removeprefix(MAIN))
        if not named_there:
            return None if spec is None else cls(None, None, _pickled({}, spec, learner.env))
        main = sys.modules["__main__"]
        path = getattr(main, "__file__", None)
        if path is None or not Path(path).is_file():
            raise MetapbtError(
                f"'{named_there[0]}' is defined where workers cannot read it (a notebook, python -c, standard "
                "input): put it into a module, or choose executor=inline"
            )
        names = [each.removeprefix(MAIN) for each in named_there] if _begun > 1 else []
        now = {name: getattr(main, name) for name in names if hasattr(main, name)}
        return cls(str(Path(path).absolute()), getattr(main, "__package__", None), _pickled(now, spec, named_there[0]))

    def read(self) -> None:
        """Let this process know what the script defines, up to where it starts a run, and what was sent.

        ``__name__`` is ``__mp_main__``, as in every worker of ``multiprocessing``. A script without
        ``if __name__ == "__main__":`` comes to its run; `leave_script` ends it there.
        """
        if self.path is not None:
            self._read(self.path)
        objects, spec = pickle.loads(self.sent)  # of this run's own process
        vars(sys.modules["__main__"]).update(objects)
        if spec is None:
            return
        import gymnasium

        with suppress(Exception):  # it says why when the environment is made
            if isinstance(spec.entry_point, str):  # its module may register it, too
                importlib.import_module(spec.entry_point.partition(":")[0])
        gymnasium.registry[spec.id] = spec

    def _read(self, path: str) -> None:
        global _reading
        module = ModuleType("__mp_main__")
        module.__file__, module.__package__ = path, self.package
        sys.modules["__main__"] = sys.modules["__mp_main__"] = module
        _reading = True
        try:
            exec(compile(Path(path).read_bytes(), path, "exec"), vars(module))
        except _StartsRun:
            pass
        finally:
            _reading = False


def _named_in_main(value: Any) -> Iterator[str]:
    """The names in settings that are of objects which the user's script defines."""
    if isinstance(value, str):
        if value.startswith(MAIN):
            yield value
    elif isinstance(value, Mapping):
        yield from _named_in_main(list(value.values()))
    elif isinstance(value, Sequence):
        for each in value:
            yield from _named_in_main(each)


def _pickled(objects: Mapping[str, Any], spec: Any, name: str) -> bytes:
    import cloudpickle

    try:
        found: bytes = cloudpickle.dumps((objects, spec))
    except Exception as error:  # whatever the user's objects raise
        raise MetapbtError(
            f"'{name}' cannot be sent to workers ({named(error)}): put it into a module and call it "
            f"module:{name.removeprefix(MAIN)}, or choose executor=inline"
        ) from error
    return found


class _StartsRun(BaseException):
    """A script that is only read has come to where it starts a run."""


_reading = False  # whether this process reads the user's script, to know what it defines
_begun = 0  # how many runs this process has begun


def leave_script() -> None:
    """Called where a run would start: goes no further in a process that only reads what the script defines."""
    global _begun
    if _reading:
        raise _StartsRun
    _begun += 1


def work(learner: LearnerSpec, threads: int, script: Script | None, line: Connection) -> None:
    """Train what comes along the line.

    Sends None once the learner is made, and then for each job which it was and what came of it; a `Failure` where the
    learner cannot be made.
    """
    # A group of its own: whatever the learner starts ends with this process. Ctrl-C and a cluster's SIGTERM are for the
    # main process to act on. Signals that are ignored would be in what the learner starts, too; a handler is not.
    os.setpgid(0, 0)
    for number in STOPPING:
        signal.signal(number, _let_pass)
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
        job = line.recv()
        result = _result(trainer, job)
        flush_streams()
        line.send((job.interval.ref, result))


def _let_pass(number: int, frame: FrameType | None) -> None:
    """Do nothing about a signal."""


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
