"""A study's runs as tasks of Ray, spread over the nodes of a cluster.

Which run starts when, and what becomes of it, is the same as on one machine. A run whose worker or node is lost is
started again elsewhere by Ray, and goes on from its directory, which all nodes must see.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from metapbt.config import compose
from metapbt.errors import MetapbtError, one_line
from metapbt.execution.ray_actor import Home
from metapbt.execution.ray_connection import Connection as RayConnection
from metapbt.execution.ray_connection import import_ray
from metapbt.files import make_folder
from metapbt.log import counted
from metapbt.study.local import run_study
from metapbt.study.runner import Runner, answered
from metapbt.study.study import Study, StudyRun

_RETRIES = 3  # of a run whose worker or node is lost
_PATIENCE = 300.0  # seconds for a node to look for the results


def run_on_ray(study: Study, again: str, jobs: int | None = None, only_failed: bool = False) -> dict[StudyRun, str]:
    """Train all runs of a study that are not done on a Ray cluster; see `metapbt.study.local.run_study`.

    Args:
        study: what to train; ``cluster.address`` among its overrides says where.
        again: the command that goes on with it, for people.
        jobs: runs at a time, at most; None for as many as there are cores.
        only_failed: train only those that failed, and those that could not start because of them.

    Returns:
        Of each run that did not end well, why; in the order of the study.

    Raises:
        MetapbtError: Ray is not installed, there is no such cluster, a node does not see the results, a run asks for
            more cores than any node has, or it was refused before anything trained.
        Interrupted: Ctrl-C or SIGTERM; everything finished is saved.
    """
    ray = import_ray("cluster=ray")
    connection = RayConnection(compose(study.runs[0].overrides).cluster.address, "cluster=ray", "cluster.address")
    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        cores = [int(node["Resources"].get("CPU", 0)) for node in nodes]
        for run in study.runs:
            if run.cores is not None and run.cores > max(cores):
                raise MetapbtError(
                    f"{run.title} asks for {run.cores} cores, but no node of Ray has more than {max(cores)}: choose "
                    "executor.workers"
                )
        if not sum(cores):
            raise MetapbtError("no node of Ray has a CPU to train on")
        _check_seen(ray, [node["NodeID"] for node in nodes], Path.cwd() / study.results_dir)
        print(f"on Ray: {counted(len(nodes), 'node')}, {counted(sum(cores), 'core')}", flush=True)
        runner = partial(_RayRunner, ray, Home.of())
        return run_study(study, again, jobs, only_failed, sum(cores), runner, max(cores))
    finally:
        connection.close()


def _check_seen(ray: Any, nodes: Sequence[str], folder: Path) -> None:
    """Refuse where a node does not see the results, or another folder in their place."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    make_folder(folder)
    word = secrets.token_hex(8)
    probe = folder / f".metapbt-{word}.tmp"
    probe.write_text(word)
    try:
        look = ray.remote(num_cpus=0, max_retries=0)(_seen)
        asked = [
            look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(str(probe), word)
            for node in nodes
        ]
        blind = [host for host in ray.get(asked, timeout=_PATIENCE) if host is not None]
    except Exception as error:  # of Ray's own
        raise MetapbtError(f"a node of Ray does not answer: {one_line(error)}") from error
    finally:
        with suppress(OSError):
            probe.unlink()
    if blind:
        raise MetapbtError(
            f"{folder} is not seen, or may not be written, on {', '.join(sorted(set(blind)))}: cluster=ray needs a "
            "results_dir on a file system that all nodes of Ray share"
        )


def _seen(probe: str, word: str) -> str | None:
    """On a node: its name, where it does not see a file of this content in a folder that it may write."""
    import socket

    with suppress(OSError):
        if Path(probe).read_text() == word and os.access(Path(probe).parent, os.W_OK):
            return None
    return socket.gethostname()


def _task(what: str, overrides: Sequence[str], home: Home) -> dict[str, Any]:
    """On a worker: what comes of a run."""
    home.enter()
    return answered(what, overrides)


class _RayRunner(Runner):
    """Trains each run as a task of Ray's; a thread waits for it, so that the study can wait as for a process."""

    def __init__(self, ray: Any, home: Home) -> None:
        self._ray, self._home = ray, home
        self._line, self._other = Pipe()
        self.signs = (self._line,)
        self._call: Any = None

    def ask(self, what: str, overrides: Sequence[str], cores: int = 1) -> None:
        task = self._ray.remote(num_cpus=cores, max_retries=_RETRIES, scheduling_strategy="SPREAD")(_task)
        self._call = task.remote(what, list(overrides), self._home)
        threading.Thread(target=_await, args=(self._ray, self._call, self._other), daemon=True).start()

    def forget_old(self) -> None:
        """What a learner prints is in Ray's logs."""

    def answer(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._line.recv_bytes())
        return found

    def stop(self) -> None:
        self._cancel(force=False)

    def kill(self) -> None:
        self._cancel(force=True)

    def close(self) -> None:
        self.kill()
        self._line.close()

    def _cancel(self, force: bool) -> None:
        if self._call is not None:
            with suppress(Exception):  # it has ended
                self._ray.cancel(self._call, force=force)


def _await(ray: Any, call: Any, line: Connection) -> None:
    """Pass on what came of a task."""
    try:
        answer = ray.get(call)
    except ray.exceptions.TaskCancelledError:
        answer = {"stopped": True}
    except Exception as error:
        kind = type(error).__name__
        why = {"WorkerCrashedError": "its process ended", "NodeDiedError": "its node was lost"}.get(kind, kind)
        answer = {"died": f"Ray lost the run {_RETRIES + 1} times ({why})"}
        if isinstance(error, ray.exceptions.RayTaskError):
            answer = {"died": f"it could not be started on a worker of Ray: {one_line(error.cause)}"}
    with suppress(OSError):  # the study has ended
        line.send_bytes(json.dumps(answer).encode())
