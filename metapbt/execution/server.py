"""The servers that workers are forked from: processes of ``multiprocessing`` that have loaded a learner once."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from metapbt.errors import MetapbtError, one_line
from metapbt.execution.preload import VARIABLE
from metapbt.execution.trainer import limit_threads
from metapbt.learners import module_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

_PRELOADED = ["metapbt.execution.preload", "metapbt.execution.worker"]
_PATIENCE = 10.0  # seconds for a server to end that was killed

_lock = threading.RLock()
_kept: Server | None = None  # for the next run


class Server:
    """One server; it ends with the last run that uses it, or with this process, however that comes.

    Attributes:
        began_with: what decides what its workers are like: this process, the learner's module, the environment.
        users: how many runs use it now.
    """

    def __init__(self, module: str) -> None:
        """Start it; it loads the module while this process goes on.

        Raises:
            MetapbtError: no process can be started.
        """
        self.began_with, self.users = _needed(module), 0
        # Not the one of multiprocessing, which others use, too.
        self._server: Any = forkserver.ForkServer()
        self._server.set_forkserver_preload(_PRELOADED)
        os.environ[VARIABLE] = json.dumps([module, *map(str, sys.path)])
        try:
            self._server.ensure_running()
        except OSError as error:
            raise MetapbtError(f"executor=processes cannot start workers here: {one_line(error)}") from error
        finally:
            del os.environ[VARIABLE]

    @property
    def pid(self) -> int | None:
        """Of the process, where there is one."""
        found: int | None = self._server._forkserver_pid
        return found

    def start(self, process: ForkServerProcess) -> None:
        """Start a process as a fork of the server; if that was killed, of one that is started again.

        Raises:
            OSError: there is no room for more processes.
            EOFError: the server ended meanwhile.
        """
        with _lock:
            everybodys = forkserver.connect_to_new_process
            forkserver.connect_to_new_process = self._server.connect_to_new_process
            try:
                process.start()
            except ConnectionRefusedError:
                self._await_end()
                process.start()
            finally:
                forkserver.connect_to_new_process = everybodys

    def release(self) -> None:
        """Called by a run that needs it no more."""
        with _lock:
            self.users -= 1
            if self is not _kept:
                self.stop()

    def stop(self) -> None:
        """End it, unless a run uses it."""
        if self.users or self.began_with[0] != os.getpid():
            return
        with suppress(OSError):
            if self.pid is not None:
                os.kill(self.pid, signal.SIGKILL)  # it may still load
            self._server._stop()

    def _await_end(self) -> None:
        """Wait until a server that answers nobody any more can be found to have ended, for then it is started again.

        The system takes down one thread after the other; until the last is gone, the process has not ended.
        """
        until = monotonic() + _PATIENCE
        while monotonic() < until:
            try:
                if self.pid is None or os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    return
            except ChildProcessError:  # somebody asked before
                return
            sleep(0.01)


def start(learner: str, threads: int) -> Server:
    """The server for a run, which releases it at its end.

    What a server has loaded, and the environment that it began with, stay as they are. So a run with a learner of the
    user's own, whose code may have changed since, gets one that no run has had; one of metapbt's own is kept while the
    environment stays the same.

    Args:
        learner: its name.
        threads: of numerical libraries, in this process, too: the server inherits what holds here.

    Raises:
        MetapbtError: no process can be started.
    """
    global _kept
    with _lock:
        server = _started(learner, threads)
        server.users += 1
        if module_of(learner).partition(".")[0] != "metapbt":
            _kept = None
        return server


def start_early(config: DictConfig) -> None:
    """Start the server that a run is going to ask for, before this process has loaded what the run needs itself.

    What is wrong with the configuration is for the run to say.
    """
    with suppress(Exception):
        if config.executor.name == "processes":
            _started(config.learner.name, config.executor.threads)


def _started(learner: str, threads: int) -> Server:
    """The server that is kept, or a new one in its place."""
    global _kept
    limit_threads(threads)
    module = module_of(learner)
    with _lock:
        if _kept is None or _kept.began_with != _needed(module):
            previous, _kept = _kept, None
            if previous is not None:
                previous.stop()
            _kept = Server(module)
        return _kept


def _needed(module: str) -> tuple[int, str, dict[str, str]]:
    return os.getpid(), module, dict(os.environ)
