"""Which runs are in a Slurm queue: each job says in its comment which runs its array is made of (``jobs/slurm.sh``)."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from metapbt.errors import MetapbtError

_FORMAT = "%F\t%K\t%T\t%Z\t%k"  # the array's job, the task, its state, where it works, its comment
_SECONDS = 30  # that a controller may take to answer
_NO_CLUSTER = "Could not establish a configuration source"  # what Slurm's commands say on a machine that is in none


@dataclass(frozen=True)
class Queued:
    """A run in the queue.

    Attributes:
        path: its directory, resolved.
        array: the job's number, and
        task: the run's within its array: together they are ``scancel``'s name for it, ``<array>_<task>``.
        running: False while it waits.
    """

    path: Path
    array: str
    task: int
    running: bool


def queued_runs(below: Path) -> list[Queued]:
    """Which runs under a directory this user has in the queue.

    Args:
        below: where the runs are kept.

    Returns:
        Nothing where there is no ``squeue`` that this user may call, or this machine belongs to no cluster.

    Raises:
        MetapbtError: ``squeue`` does not answer.
    """
    command = ["squeue", "--array", "--noheader", f"--user={os.getuid()}", f"--format={_FORMAT}"]
    if shutil.which(command[0]) is None:
        return []
    try:
        answer = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = (error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else "") or str(error)
        if _NO_CLUSTER in said:
            return []
        raise MetapbtError(
            f"squeue does not answer, so it is unknown which runs wait or train on the cluster: {said}"
        ) from error
    place = below.resolve()
    found = (_queued(line) for line in answer.stdout.splitlines())
    return [run for run in found if run is not None and run.path.is_relative_to(place)]


def _queued(line: str) -> Queued | None:
    array, _, rest = line.partition("\t")
    task, _, rest = rest.partition("\t")
    state, _, rest = rest.partition("\t")
    directory, _, comment = rest.partition("\t")
    mark, _, rest = comment.partition(" ")
    seeds, _, above = rest.partition(" ")
    if mark != "metapbt" or not above or not task.isdecimal() or int(task) >= len(seeds.split(",")):
        return None  # of something else
    path = (Path(directory) / above / f"seed_{seeds.split(',')[int(task)]}").resolve()
    return Queued(path, array, int(task), running=state not in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"))
