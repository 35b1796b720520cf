"""Kills at random moments: of runs, of their workers, of a study, of a Ray node; and whether anything was lost.

Each kind is killed fifty times, at moments drawn from a seed. What was killed is begun again, until it has ended; then
its records must be those of an uninterrupted run, bit by bit. Asynchronous runs with workers, whose order is that of the
clock, must end whole. The table is printed and written into ``docs/reliability.md``.

    make chaos                                     # all kinds
    python benchmarks/chaos.py --kinds eras --kills 10
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
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
from metapbt.errors import MetapbtError
from metapbt.files import write_text_atomically
from metapbt.log import counted
from metapbt.store.check import problem
from metapbt.store.results import find_runs, read_records

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- chaos: written by make chaos -->", "<!-- end of chaos -->"
LONGEST = 300.0  # seconds that anything here may take
MOST_LOST = 3  # workers of one run: a fourth for the same interval would be a failure for good

QUADRATIC = ["env=quadratic", "method=pbt", "budget.steps=60", "budget.interval=4"]
CART_POLE = [
    "env=cart_pole", "method=pb2", "budget.steps=1200", "budget.interval=200", "evaluation.episodes=2",
    "evaluation.test_episodes=2", "learner.n_envs=2", "learner.hyperparameters.n_steps=50",
]  # fmt: skip
WORKERS = ["executor=processes", "executor.workers=2"]


class Lost(Exception):
    """Something was lost."""


@dataclass(frozen=True)
class Kind:
    """What is killed.

    Attributes:
        name: in the table.
        overrides: of the run.
        whole: whether its records are to be those of an uninterrupted run; else it must only end whole.
        workers: whether its workers are killed, not itself.
    """

    name: str
    overrides: Sequence[str]
    whole: bool = True
    workers: bool = False


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
    "workers": Kind("a worker of a run", [*CART_POLE, *WORKERS], workers=True),
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


def kill(number: int) -> bool:
    """Kill a process of ours, if it is still there."""
    os.kill(number, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == -signal.SIGKILL


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


def chaos(kind: Kind, kills: int, folder: Path, draw: random.Random) -> int:
    """Kill a kind so often; returns how many runs ended meanwhile.

    Raises:
        Lost: something was.
    """

    def begin(name: str) -> int:
        arguments = [*kind.overrides, f"results_dir={folder / name}"]
        return in_a_process(lambda: metapbt.run(arguments), folder / f"{name}.log")

    began = time.monotonic()
    if ended(begin("whole"), LONGEST) != 0:
        raise Lost(f"an uninterrupted run failed: {(folder / 'whole.log').read_text()[-500:]}")
    usual = time.monotonic() - began
    expected = records(folder / "whole") if kind.whole else None
    count, runs = 0, 0
    strike = _strike_worker if kind.workers else kill
    while count < kills or not runs:
        name = f"run_{runs}"
        process, before = begin(name), count
        while (status := ended(process, draw.uniform(0, usual))) is None:
            if count == kills or (kind.workers and count - before == MOST_LOST):
                status = ended(process, LONGEST)
                break
            if strike(process, *([draw] if kind.workers else [])):
                count += 1
                if not kind.workers:
                    process = begin(name)
        if status != 0:
            raise Lost(f"{name} ended with {status}: {(folder / f'{name}.log').read_text()[-500:]}")
        check(folder / name, expected)
        runs += 1
    return runs


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


def absent(kind: str) -> str | None:
    """Why a kind cannot be killed here; None where it can."""
    if kind == "study" and find_spec("metapbt.study.local") is None:
        return "not there yet"
    if kind == "ray" and find_spec("ray") is None:
        return "Ray is not installed: pip install 'metapbt[ray]'"
    return None


def main() -> int:
    """Kill what is asked for, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--kills", type=int, default=50, help="of each kind (default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="leave docs/reliability.md as it is")
    arguments = parser.parse_args()
    rows, lost = (
        ["| what was killed | kills | runs that ended | records | seconds |", "| --- | --- | --- | --- | --- |"],
        0,
    )
    for name in arguments.kinds:
        kind = KINDS[name]
        why = absent(name)
        if why is not None:
            rows.append(f"| {kind.name} | 0 | 0 | not tried: {why} | |")
            continue
        began = time.monotonic()
        print(f"{name}: {counted(arguments.kills, 'kill')} ...", flush=True)
        with TemporaryDirectory() as folder:
            try:
                runs = chaos(kind, arguments.kills, Path(folder), random.Random(f"{arguments.seed} {name}"))
                said = "all equal to an uninterrupted run's" if kind.whole else "whole"
            except Lost as error:
                runs, said, lost = 0, f"LOST: {error}", lost + 1
        rows.append(f"| {kind.name} | {arguments.kills} | {runs} | {said} | {time.monotonic() - began:.0f} |")
        print(rows[-1], flush=True)
    print("\n".join(rows))
    if not arguments.dry:
        before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
        write_text_atomically(PAGE, "\n".join([f"{before}{BEGIN}", *rows, f"{END}{rest.split(END)[1]}"]))
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
