"""Members train on workers of Ray: of this machine, or of a cluster."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from metapbt.errors import MetapbtError, shown
from metapbt.execution.base import MOST_AT_ONCE, Failure, Job, checked_timeout, no_end
from metapbt.execution.ray_actor import Actor, Home, Sent, Trained
from metapbt.execution.ray_connection import Connection, import_ray
from metapbt.learners import LearnerSpec
from metapbt.log import LOGGER
from metapbt.plain import number, whole_number
from metapbt.store.checkpoint import Outcome, load_checkpoint, save_checkpoint

_LOOK = 1.0  # seconds after which to look for new nodes, and for workers that hang
_NO_ROOM = 60.0  # seconds without a worker after which it is said


class RayExecutor:
    """Stateful actors of Ray, each a process of its own; a member stays with the one that has it in memory.

    Checkpoints travel through Ray's object store, and this process alone writes them to the run directory; workers need
    not see its file system. An actor that is lost, alone or with its node, is a mishap of the interval that it trained:
    the others go on, and another actor trains it from the checkpoint before. Nodes that join are used.
    """

    def __init__(
        self,
        learner: LearnerSpec,
        threads: int = 1,
        workers: int | None = None,
        timeout: float | None = None,
        address: str | None = None,
        cpus: float = 1,
        gpus: float = 0,
    ) -> None:
        """Connect to Ray; each actor starts when there is a job for it.

        Args:
            learner: what trains the members.
            threads: of numerical libraries in each actor.
            workers: how many actors; None for as many as the nodes have room for.
            timeout: seconds after which an actor that has not ended its interval is taken to hang, and killed; the same
                for making the learner. None waits for ever.
            address: None for a Ray of this run's own on this machine, which ends with it; ``auto`` for the cluster that
                this machine is part of, or a cluster's ``host:port``.
            cpus: of each actor; a whole number, or a share of one.
            gpus: of each actor; a whole number, or a share of one, so that several share a GPU.

        Raises:
            MetapbtError: a setting is out of its range, Ray is not installed or cannot be reached, no node has room for
                one actor, or none could find the learner.
        """
        if workers is not None:
            workers = whole_number("executor.workers", workers, 1, MOST_AT_ONCE)
        threads = whole_number("executor.threads", threads, 1, MOST_AT_ONCE)
        self._timeout = checked_timeout(timeout)
        self._needs = {"CPU": _share("executor.cpus", cpus), "GPU": _share("executor.gpus", gpus)}
        if not any(self._needs.values()):
            raise MetapbtError("executor.cpus and executor.gpus must not both be 0")
        self._ray = import_ray("executor=ray")
        self._makes = (learner, threads, Home.of(learner))
        self._connection = Connection(address, "executor=ray", "executor.address")
        self._count = self.at_once = workers
        self._actors: list[_Actor] = []
        self._jobs: list[Job] = []
        self._ended: list[tuple[Job, Failure]] = []  # before they began
        self._idle_since = monotonic()
        # Where the number is given, nodes may be yet to come, as on a cluster that grows with what is asked of it.
        if workers is None and not self._room():
            self.close()
            raise MetapbtError(f"no node of Ray has room for {self._asked()}: it has {_largest(self._ray)}")

    def submit(self, jobs: Sequence[Job]) -> None:
        """Let the jobs wait for actors, behind those that came before."""
        self._jobs.extend(jobs)

    def next(self) -> tuple[Job, Outcome | Failure]:
        """Wait for an actor to end its job, and write the checkpoint. An actor that is lost is a failure of its job."""
        while True:
            self._start()
            if self._ended:
                return self._ended.pop(0)
            if not self._jobs and not any(actor.job for actor in self._actors):
                raise IndexError("nothing is under way")
            waited_for = {actor.call: actor for actor in self._actors if actor.call is not None}
            if not waited_for:
                sleep(_LOOK)  # until there is a node
                continue
            self._ray.wait(list(waited_for), num_returns=1, timeout=_LOOK)
            # All that have answered: whoever has is not to be ended for its time.
            done, _ = self._ray.wait(list(waited_for), num_returns=len(waited_for), timeout=0)
            for call, actor in waited_for.items():
                job, result = actor.job, actor.result(call in done)
                if isinstance(result, Failure) and job is None and self._jobs:
                    job = self._jobs.pop(0)  # no actor for it: it is its failure
                if actor.is_lost:
                    self._remove(actor)
                if job is None or result is None:
                    continue
                self._start()  # so that the actor need not wait for what is made of the result
                return job, result if isinstance(result, Failure) else _written(job, result.checkpoint)

    def close(self) -> None:
        """End the actors at once, and the Ray that was started for them."""
        self._jobs.clear()
        self._ended.clear()
        for actor in self._actors:
            actor.close()
        self._actors.clear()
        self._connection.close()

    def _remove(self, lost: _Actor) -> None:
        """Forget an actor, and those that wait on its node, which may be gone with it: a job's retries are few."""
        beside = [actor for actor in self._actors if actor.waits and actor.node == lost.node]
        for actor in beside:
            actor.close()
        self._actors = [actor for actor in self._actors if actor is not lost and actor not in beside]

    def _start(self) -> None:
        """Give jobs to actors that wait, and start more of these where jobs are left and there is room."""
        waiting = [actor for actor in self._actors if actor.waits]
        while waiting and self._jobs:
            job = self._jobs.pop(0)
            actor = next((actor for actor in waiting if job.start_from in actor.in_memory), waiting[0])
            waiting.remove(actor)
            try:
                actor.train(job)
            except Exception as error:  # a checkpoint that cannot be read, an object store that is full
                self._ended.append((job, Failure.of(error)))
        starting = sum(not actor.is_ready for actor in self._actors)
        if len(self._jobs) > starting:
            room = (self._room() if self._count is None else self._count) - len(self._actors)
            for _ in range(min(room, len(self._jobs) - starting)):
                self._actors.append(_Actor(self._ray, self._needs, self._makes, self._timeout))
        self._say_that_there_is_no_room()

    def _room(self) -> int:
        """How many actors the nodes have room for, whoever else uses them."""
        return sum(
            min(int(resources.get(name, 0) / needed + 1e-9) for name, needed in self._needs.items() if needed)
            for resources in _nodes(self._ray)
        )

    def _say_that_there_is_no_room(self) -> None:
        if not self._jobs or any(actor.is_there for actor in self._actors):
            self._idle_since = monotonic()
        elif monotonic() > self._idle_since + _NO_ROOM:
            LOGGER.warning("waiting for a node of Ray with room for %s", self._asked())
            self._idle_since = monotonic()

    def _asked(self) -> str:
        return " and ".join(f"executor.{name.lower()}s={needed:g}" for name, needed in self._needs.items() if needed)


class _Actor:
    """This process's end of one actor.

    Attributes:
        call: what it has been asked and not answered; None while it waits.
        job: that it trains; None while it waits or is made.
        in_memory: the checkpoints that it need not be sent.
        node: the name that Ray has for where it is; None until that is known.
    """

    def __init__(self, ray: Any, needs: dict[str, float], makes: tuple[Any, ...], timeout: float | None) -> None:
        self.job: Job | None = None
        self.in_memory: tuple[Path, ...] = ()
        self.is_there = self.is_ready = self.is_lost = False
        self._ray, self._makes, self._timeout = ray, makes, timeout
        self.node: str | None = None
        self._host = "a node"
        self._deadline = math.inf  # while it waits for room, too
        # Spread, so that a node that is lost takes few members along.
        made_by = ray.remote(
            num_cpus=needs["CPU"], num_gpus=needs["GPU"], max_restarts=0, max_task_retries=0,
            scheduling_strategy="SPREAD",
        )  # fmt: skip
        self._actor = made_by(Actor).remote()
        self.call: Any = self._actor.where.remote()

    @property
    def waits(self) -> bool:
        """Whether it could train."""
        return self.is_ready and self.call is None

    def train(self, job: Job) -> None:
        """Let it train a job."""
        needed = {path for path in (job.start_from,) if path is not None and path not in self.in_memory}
        needed |= {path for path in (job.teacher_from,) if path is not None}
        names = sorted(needed)
        sent = [Sent(*load_checkpoint(path)) for path in names]
        self._ask(self._actor.train.remote(replace(job, held=None), names, *sent))
        self.job = job

    def result(self, answered: bool) -> Trained | Failure | None:
        """What came of the job, or why there is no actor; None while it goes on."""
        if not answered:
            if monotonic() < self._deadline:
                return None
            return self._lost(no_end(self._timeout))
        try:
            answer = self._ray.get(self.call)
        except Exception as error:  # of Ray's own: an actor says in plain data what goes wrong in it
            return self._lost(_in_words(error, self._host), str(error))
        self.call = None
        if isinstance(answer, Failure) and (answer.kind == "mishap" or not self.is_ready):
            self.close()
            return answer
        if not self.is_there:
            self.is_there = True
            self._host, self.node = answer
            self._ask(self._actor.make.remote(*self._makes))
            return None
        if not self.is_ready:
            self.is_ready = True
            return None
        if isinstance(answer, Trained):
            self.in_memory = answer.in_memory
        self.job = None
        found: Trained | Failure = answer
        return found

    def close(self) -> None:
        """End it at once."""
        with suppress(Exception):  # it may be gone
            self._ray.kill(self._actor, no_restart=True)
        self.call = self.job = None
        self.is_there = self.is_ready = False
        self.is_lost = True

    def _ask(self, call: Any) -> None:
        self.call = call
        self._deadline = math.inf if self._timeout is None else monotonic() + self._timeout

    def _lost(self, why: str, details: str | None = None) -> Failure:
        self.close()
        return Failure(why, why if details is None else details, "mishap")


def _written(job: Job, checkpoint: Sent) -> Outcome | Failure:
    try:
        if job.held is not None:
            job.held.check()
        save_checkpoint(job.save_to, checkpoint.state, checkpoint.outcome)
    except Exception as error:
        return Failure.of(error)
    return checkpoint.outcome


def _in_words(error: Exception, host: str) -> str:
    if "No module named 'metapbt'" in str(error):
        return "workers of Ray cannot import metapbt: install it on every node of the cluster"
    kind = type(error).__name__
    ended = "its process or its node ended"
    why = {"OutOfMemoryError": "out of memory", "ActorDiedError": ended, "NodeDiedError": ended}.get(kind, kind)
    return f"the worker of Ray on {host} was lost ({why})"


def _nodes(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _largest(ray: Any) -> str:
    most = {name: max((node.get(name, 0) for node in _nodes(ray)), default=0) for name in ("CPU", "GPU")}
    return f"at most {most['CPU']:g} CPUs and {most['GPU']:g} GPUs on one node"


def _share(name: str, value: Any) -> float:
    """A number of CPUs or GPUs, as Ray can give them."""
    found = number(value)
    if found is None or not (0 <= found < 1 or (found <= MOST_AT_ONCE and found == int(found))):
        raise MetapbtError(f"{name} must be a whole number, or a share of one such as 0.5, got {shown(value)}")
    return float(found)
