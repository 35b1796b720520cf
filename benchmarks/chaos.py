"""Kills at random moments: of runs, of their workers, of a study, of a Ray node; and whether anything was lost.

Each kind is killed fifty times, at moments drawn from a seed. What was killed is begun again, until it has ended; then
its records must be those of an uninterrupted run, bit by bit. Asynchronous runs with workers, whose order is that of
the clock, must end whole. Each kind's row is printed, and written into ``docs/reliability.md``.

    make chaos                                     # all kinds
    python benchmarks/chaos.py --kinds eras --kills 10
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

import metapbt
import metapbt.learners.ppo
import metapbt.runs.run
import metapbt.surrogates.acquisition
import metapbt.surrogates.time_varying  # noqa: F401 - loaded once, before the processes are forked that train
from metapbt.cli import main as main_command
from metapbt.errors import MetapbtError
from metapbt.files import write_text_atomically
from metapbt.log import counted
from metapbt.store.check import problem
from metapbt.store.results import find_runs, read_records

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
HEAD = ["| what was killed | kills | runs that ended | their records | seconds |", "| --- | --- | --- | --- | --- |"]
BEGIN, END = "<!-- chaos: written by make chaos -->", "<!-- end of chaos -->"
LONGEST = 300.0  # seconds that anything here may take
MOST_LOST = 3  # workers of one run: a fourth for the same interval would be a failure for good

QUADRATIC = ["env=quadratic", "method=pbt", "budget.steps=60", "budget.interval=4"]
CART_POLE = [
    "env=cart_pole", "method=pb2", "budget.steps=800", "budget.interval=200", "evaluation.episodes=2",
    "evaluation.test_episodes=2", "learner.n_envs=2", "learner.hyperparameters.n_steps=50",
]  # fmt: skip
WORKERS = ["executor=processes", "executor.workers=2"]


STUDY = """
sources: {env: cart_pole, method: pbt, context.pole_length: [0.2, 0.8],
          overrides: [budget.steps=400, budget.interval=200]}
targets: {after: sources, env: cart_pole, method: [pbt, pb2], context.pole_length: 0.5, seed: [0, 1],
          overrides: [budget.steps=400, budget.interval=200]}
"""


#: Kills something of a process; returns whether it found something.
Strike = Callable[[int, random.Random], bool]


class Lost(Exception):
    """Something was lost."""


@dataclass(frozen=True)
class Kind:
    """What is killed.

    Attributes:
        name: in the table.
        overrides: of the run; of a study, its file.
        whole: whether its records are to be those of an uninterrupted run; else it must only end whole.
        victim: what of it is killed: the ``process`` itself, a ``worker`` of it, or a ``node`` of its Ray.
    """

    name: str
    overrides: Sequence[str] | str
    whole: bool = True
    victim: str = "process"


KINDS = {
    "synchronous": Kind("a synchronous run (`cart_pole`, `pb2`)", [*CART_POLE, "executor=inline"]),
    "candidates": Kind("a run with candidates", [*QUADRATIC, "population.candidates=12", "executor=inline"]),
    "eras": Kind(
        "a run with eras",
        [*QUADRATIC, "eras.count=3", "eras.patience=2", "eras.distil_steps=8", "eras.teacher=false", "executor=inline"],
    ),
    "asynchronous": Kind(
        "an asynchronous run (three workers)",
        [*QUADRATIC, "population.asynchronous=true", "executor=processes", "executor.workers=3"],
        whole=False,
    ),
    "workers": Kind("a worker of a run", [*CART_POLE, *WORKERS], victim="worker"),
    "study": Kind("a study (two sources, four targets)", STUDY),
    "ray": Kind("a node of Ray", [*CART_POLE, "executor=ray", "executor.address=auto"], victim="node"),
}


def in_a_process(work: Callable[[], object], log: Path) -> int:
    """Start work in a forked process, which has all that is slow to load; returns its number."""
    number = os.fork()
    if number:
        return number
    status = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        work()
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def ended(number: int, seconds: float) -> int | None:
    """Wait so long for a process to end: its exit status, the signal's negative; None where it goes on."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(number, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.002)


def killed(number: int) -> int:
    """Kill a process of ours; returns how it ended, as :func:`ended` does."""
    os.kill(number, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def records(results: Path) -> pd.DataFrame:
    """What the runs under a directory recorded, without what is measured by the clock."""
    runs = find_runs(results, _raise)
    for run in runs:
        wrong = problem(run)
        if run.state != "done" or wrong is not None:
            raise Lost(f"{run.path} is {run.state}: {wrong or run.error}")
    return read_records(runs, _raise).drop(columns=["wall_seconds", "run_dir"])


def check(results: Path, expected: pd.DataFrame | None) -> None:
    """Whether runs that were killed ended with what was expected, or at all."""
    found = records(results)
    if expected is not None and not found.equals(expected):
        raise Lost(f"the records under {results} are others than those of an uninterrupted run")


def _raise(error: MetapbtError) -> None:
    raise error


def chaos(kind: Kind, kills: int, folder: Path, draw: random.Random, strike: Strike | None = None) -> int:
    """Kill a kind so often; returns how many runs ended meanwhile.

    Args:
        kind: which.
        kills: how often.
        folder: for all that is written.
        draw: the source of all randomness.
        strike: what kills a part of a process, and tells whether it found one; None to kill the process itself.

    Raises:
        Lost: something was.
    """

    def begin(name: str) -> int:
        return started(kind, folder / name, folder / f"{name}.log")

    began = time.monotonic()
    if ended(begin("whole"), LONGEST) != 0:
        raise Lost(f"an uninterrupted run failed: {(folder / 'whole.log').read_text()[-500:]}")
    usual = time.monotonic() - began
    expected = records(folder / "whole") if kind.whole else None
    share = 1.5 if strike is None else 0.2  # workers and nodes are there for a part of the time
    count, runs = 0, 0
    while count < kills or not runs:
        name = f"run_{runs}"
        began, before, process = time.monotonic(), count, begin(name)
        while (status := ended(process, draw.uniform(0, share * usual))) is None:
            if count == kills or (strike is not None and count - before == MOST_LOST):
                status = ended(process, LONGEST)
                break
            if strike is not None:
                count += strike(process, draw)
                continue
            status = killed(process)
            if status != -signal.SIGKILL:
                break  # it had ended before
            count, process = count + 1, begin(name)
        if status != 0:
            raise Lost(f"{name} ended with {status}: {(folder / f'{name}.log').read_text()[-500:]}")
        if count == before:  # the machine may have been busier when the first one ran
            usual = min(usual, time.monotonic() - began)
        check(folder / name, expected)
        runs += 1
    return runs


def started(kind: Kind, results: Path, log: Path) -> int:
    """Begin what a kind trains, or go on with it; returns the number of its process."""
    where = f"results_dir={results}"
    if isinstance(kind.overrides, str):
        study = results.parent / "study.yaml"
        study.write_text(kind.overrides)
        return in_a_process(lambda: _successful(main_command(["study", str(study), where])), log)
    arguments = [*kind.overrides, where]
    if kind.victim != "node":
        return in_a_process(lambda: metapbt.run(arguments), log)
    # Ray does not work in a process that was forked from one that uses it.
    with log.open("a") as file:
        return subprocess.Popen([sys.executable, "-m", "metapbt", "run", *arguments], stdout=file, stderr=file).pid


def _successful(status: int) -> None:
    if status:
        raise Lost(f"the command ended with status {status}")


@contextmanager
def striking(kind: Kind) -> Iterator[Strike | None]:
    """What kills a part of what a kind trains; for a node there is a cluster of Ray's meanwhile."""
    if kind.victim != "node":
        yield _strike_worker if kind.victim == "worker" else None
        return
    import ray
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 2, "object_store_memory": 100_000_000}
    quickly = {"health_check_period_ms": 200, "health_check_timeout_ms": 2000, "health_check_failure_threshold": 3}
    head = {**small, "num_cpus": 0, "include_dashboard": False, "_system_config": quickly}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(**small) for _ in range(2)]
    os.environ["RAY_ADDRESS"] = cluster.address

    def strike_node(process: int, draw: random.Random) -> bool:
        cluster.remove_node(nodes.pop(draw.randrange(len(nodes))), allow_graceful=False)
        nodes.append(cluster.add_node(**small))
        return True

    try:
        yield strike_node
    finally:
        del os.environ["RAY_ADDRESS"]
        ray.shutdown()
        cluster.shutdown()


def _strike_worker(process: int, draw: random.Random) -> bool:
    """Kill a worker of a run, if it has any now."""
    workers = [worker for server in _children(process) for worker in _children(server)]
    if not workers:
        return False
    try:
        os.kill(draw.choice(workers), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _children(process: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        return sorted(int(each) for task in tasks for each in (task / "children").read_text().split())
    except OSError:
        return []


def main() -> int:
    """Kill what is asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--kills", type=int, default=50, help="of each kind (default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="leave docs/reliability.md as it is")
    arguments = parser.parse_args()
    lost = 0
    for name in arguments.kinds:
        kind = KINDS[name]
        if kind.victim == "node" and find_spec("ray") is None:
            print(f"{name}: not tried, for Ray is not installed: pip install 'metapbt[ray]'")
            continue
        began = time.monotonic()
        print(f"{name}: {counted(arguments.kills, 'kill')} ...", flush=True)
        draw = random.Random(f"{arguments.seed} {name}")
        with TemporaryDirectory() as folder:
            try:
                with striking(kind) as strike:
                    runs = chaos(kind, arguments.kills, Path(folder), draw, strike)
                said = "those of an uninterrupted one" if kind.whole else "whole"
            except Lost as error:
                runs, said, lost = 0, f"LOST: {error}", lost + 1
        row = f"| {kind.name} | {arguments.kills} | {runs} | {said} | {time.monotonic() - began:.0f} |"
        print(row, flush=True)
        if not arguments.dry:
            write_row(kind, row)
    return 1 if lost else 0


def write_row(kind: Kind, row: str) -> None:
    """Put a kind's row into the page's table, in the place of its last one."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    table, after = rest.split(END)
    found = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines() if line.startswith("| ")}
    found[kind.name] = row
    rows = [found[each.name] for each in KINDS.values() if each.name in found]
    write_text_atomically(PAGE, "\n".join([before + BEGIN, "", *HEAD, *rows, "", END + after]))


if __name__ == "__main__":
    sys.exit(main())
