"""The server that workers are forked from: a process of ``multiprocessing`` that has loaded the learner once."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import suppress
from multiprocessing import forkserver
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


def start(learner: str, threads: int) -> None:
    """Start the server, where none runs yet; it loads the learner while this process goes on.

    Args:
        learner: its name.
        threads: of numerical libraries, in this process, too: the server inherits what holds here.

    Raises:
        MetapbtError: no process can be started.
    """
    limit_threads(threads)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    os.environ[VARIABLE] = module_of(learner)
    try:
        forkserver.ensure_running()
    except ChildProcessError:  # it is the server of the process that this one was forked from
        server: Any = forkserver._forkserver
        server.__init__()
        context.set_forkserver_preload(_PRELOADED)
        forkserver.ensure_running()
    except OSError as error:
        raise MetapbtError(f"executor=processes cannot start workers here: {one_line(error)}") from error
    finally:
        del os.environ[VARIABLE]


def start_early(config: DictConfig) -> None:
    """Start the server that a run is going to ask for, before this process has loaded what the run needs itself.

    What is wrong with the configuration is for the run to say.
    """
    with suppress(Exception):
        if config.executor.name == "processes":
            start(config.learner.name, config.executor.threads)


def await_end() -> None:
    """Wait until a server that answers nobody any more can be found to have ended, for then it is started again.

    The system takes down one thread after the other; until the last is gone, the process has not ended.
    """
    server: Any = forkserver._forkserver
    until = monotonic() + _PATIENCE
    while monotonic() < until:
        try:
            if os.waitid(os.P_PID, server._forkserver_pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                return
        except (ChildProcessError, TypeError):  # somebody asked before
            return
        sleep(0.01)
