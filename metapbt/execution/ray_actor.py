"""What lives on a worker of Ray: it makes the learner once, trains one job after another, and remembers what it made.

It sees no run directory: checkpoints come and go as arrays, with our own dataclasses around them.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from metapbt.errors import MetapbtError
from metapbt.execution.base import Failure, Job
from metapbt.execution.trainer import Trainer
from metapbt.execution.worker import Script
from metapbt.learners import LearnerSpec
from metapbt.learners.base import State
from metapbt.learners.contained import flush_streams
from metapbt.store.checkpoint import Files, Outcome


@dataclass(frozen=True, slots=True)
class Sent:
    """A checkpoint on its way between the run and a worker."""

    state: State
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of a job.

    Attributes:
        checkpoint: to be written.
        in_memory: the checkpoints that the worker need not be sent.
    """

    checkpoint: Sent
    in_memory: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Home:
    """Where the program runs that the learner's code is found by.

    Attributes:
        folder: its working directory.
        path: where it finds modules.
        script: what must be known of the user's script.
    """

    folder: str
    path: tuple[str, ...]
    script: Script | None

    @classmethod
    def of(cls, learner: LearnerSpec | None = None) -> Home:
        """This process's.

        Args:
            learner: that is to be found from there; None for those that lie in modules.

        Raises:
            MetapbtError: the learner is defined where no worker could read it.
        """
        folder = str(Path.cwd())
        script = None if learner is None else Script.of(learner)
        return cls(folder, tuple(each or folder for each in sys.path), script)

    def enter(self) -> None:
        """Let this process find modules as that program does, as far as the machine has its folders.

        Raises:
            MetapbtError: the script cannot be read here.
        """
        # Its order first: Ray puts the folder of the program's script in front, whose modules hide others.
        sys.path[:] = [*self.path, *(each for each in sys.path if each not in self.path)]
        with suppress(OSError):
            os.chdir(self.folder)
        if self.script is None:
            return
        if self.script.path is not None and not Path(self.script.path).is_file():
            raise MetapbtError(
                f"what is trained is defined in {self.script.path}, which {socket.gethostname()} cannot read: "
                "put it into a module that is installed there"
            )
        self.script.read()


class Actor:
    """One worker; every method but the constructor answers in plain data, whatever happens in it."""

    def __init__(self) -> None:
        """Begin; the learner is made by a call of its own, so that what goes wrong there can be said."""
        self._checkpoints = _Sent()

    def where(self) -> tuple[str, str]:
        """The machine's name, and that of the node."""
        from ray import get_runtime_context

        return socket.gethostname(), str(get_runtime_context().get_node_id())

    def make(self, learner: LearnerSpec, threads: int, home: Home) -> Failure | None:
        """Make the learner."""
        try:
            home.enter()
            self._trainer = Trainer(learner, threads, self._checkpoints)
        except BaseException as error:
            return Failure.of(error)
        return None

    def train(self, job: Job, names: Sequence[Path], *sent: Sent) -> Trained | Failure:
        """Train a job; ``sent`` are the checkpoints called ``names``, which it needs and this worker has not."""
        try:
            self._checkpoints.there = dict(zip(names, sent, strict=True))
            self._trainer.train(job)
            return Trained(self._checkpoints.there[job.save_to], tuple(self._trainer.in_memory))
        except BaseException as error:
            return Failure.of(error)
        finally:
            self._checkpoints.there = {}
            flush_streams()


class _Sent(Files):
    """Checkpoints that were sent, and the one that is to be."""

    def __init__(self) -> None:
        self.there: dict[Path, Sent] = {}

    def load(self, path: Path) -> State:
        return dict(self.there[path].state)

    def outcome(self, path: Path) -> Outcome:
        return self.there[path].outcome

    def save(self, path: Path, state: Mapping[str, NDArray[Any]], outcome: Outcome) -> None:
        self.there[path] = Sent(dict(state), outcome)
