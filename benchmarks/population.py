"""A population's time: what a generation's decisions cost, and how much of a run its workers train.

    python benchmarks/population.py                      # decisions, by members
    python benchmarks/population.py --run                # four landers through `metapbt run`, on one core and on two
    python benchmarks/population.py --run --sleeping     # the same, but training sleeps as long as it would take

The goal of decisions is a cost linear in members: medians over three generations, on one thread.

``--run`` says how many steps a second there are, everything included (start, evaluation, selection, surrogate, files),
and where (workers x wall time) goes: *busy* is training and evaluating; the rest is waiting, for the first interval
(*start*), *between* intervals, for the last one (*tail*), and for the test at the *end*. It needs a machine that does
nothing else. With ``--sleeping`` other processes hardly matter: an interval takes as long as was measured on a quiet
machine, a part of it by each epoch, but it sleeps. That shows how well intervals are put one after another.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from traced import TRACE, SleepingPPO, TracedPPO

from metapbt import Space, Tuner

SIZES = (4, 16, 64, 256, 1024)
SPACE = Space({name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("a", "b", "c", "d")})
MEMBERS = 4


def seconds_for_a_generation(method: str, size: int) -> float:
    tuner, rng = Tuner(SPACE, method, population_size=size), np.random.default_rng(0)
    tuner.start()
    returns, seconds = np.zeros(size), []
    for generation in range(4):
        returns += [1 - abs(a.hyperparameters["a"] - 0.3) for a in tuner.assignments.values()] + 0.1 * rng.normal(
            size=size
        )
        began = time.perf_counter()
        tuner.tell([generation + 1] * size, returns.tolist())
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def decisions() -> Table:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = Table("members", *(f"{m}: {what}" for m in ("pbt", "pb2") for what in ("seconds", "ms for each member")))
    for size in SIZES:
        cells = []
        for method in ("pbt", "pb2"):
            seconds = seconds_for_a_generation(method, size)
            cells += [f"{seconds:.4f}", f"{1000 * seconds / size:.2f}"]
        table.add_row(f"{size:,}", *cells)
    return table


@dataclass(frozen=True)
class Measured:
    """One run: its rate, where its workers' time went, and what it took.

    Attributes:
        rate: environment steps of all members in a second.
        shares: of (workers x wall time), by ``SHARES``.
        cpu: seconds of a core in training and evaluation, and in the main process.
        memory: bytes of all processes.
    """

    rate: float
    shares: tuple[float, ...]
    cpu: tuple[float, float]
    memory: int


SHARES = ("busy", "start", "between", "tail", "end")


def measured(env: str, steps: int, workers: int, sleeping: bool) -> Measured:
    """Train four members through the command, on as many cores as there are workers."""
    cores = sorted(os.sched_getaffinity(0))
    learner = SleepingPPO if sleeping else TracedPPO
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace")
        overrides = [
            f"env={env}", f"budget.steps={steps}", "learner=ppo", f"learner.name=traced:{learner.__name__}",
            "executor=processes", f"executor.workers={workers}", f"results_dir={folder}",
        ]  # fmt: skip
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "metapbt", "run", *overrides],
            env={**os.environ, TRACE: str(trace), "PYTHONPATH": path},
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, cores if sleeping else cores[:workers]),
        )
        memory, status, used = _watched(process.pid)
        ended = time.monotonic()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"metapbt run {' '.join(overrides)} failed")
        intervals = [json.loads(line) for line in trace.read_text().splitlines()]
    training_cpu = sum(cpu for _, _, _, cpu in intervals)
    shares = _shares(intervals, began, ended, workers)
    return Measured(MEMBERS * steps / (ended - began), shares, (training_cpu, used.ru_utime + used.ru_stime), memory)


def _shares(
    intervals: Sequence[tuple[int, float, float, float]], began: float, ended: float, workers: int
) -> tuple[float, ...]:
    """Shares of a run's time, of a trace's processes, begins and ends."""
    first: dict[int, float] = {}
    final: dict[int, float] = {}
    for process, begin, end, _ in intervals:
        first[process] = min(begin, first.get(process, begin))
        final[process] = max(end, final.get(process, end))
    last, whole = max(final.values()), workers * (ended - began)
    busy = sum(end - begin for _, begin, end, _ in intervals)
    start = sum(begin - began for begin in first.values())
    tail, end = sum(last - own for own in final.values()), workers * (ended - last)
    return tuple(part / whole for part in (busy, start, whole - busy - start - tail - end, tail, end))


def run(env: str, steps: int, repeats: int, sleeping: bool) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("the population is timed on two cores, and this process may use one only")
    found: dict[int, list[Measured]] = {1: [], 2: []}
    for _ in range(repeats):
        for workers, runs in found.items():
            runs.append(measured(env, steps, workers, sleeping))
    table = Table("cores", "steps/s", *SHARES, "CPU s: training", "main", title=f"{env}, {MEMBERS} x {steps:,} steps")
    for workers, runs in found.items():
        shares = [statistics.median(values) for values in zip(*(run.shares for run in runs), strict=True)]
        cpu = [statistics.median(values) for values in zip(*(run.cpu for run in runs), strict=True)]
        rates = statistics.median(run.rate for run in runs)
        table.add_row(str(workers), f"{rates:,.0f}", *(f"{s:.1%}" for s in shares), *(f"{c:.1f}" for c in cpu))
    one, two = (statistics.median(run.rate for run in runs) for runs in found.values())
    console = Console()
    console.print(table)
    console.print(f"two cores are {two / one:.2f} times as fast as one; goal: 95% busy")
    console.print(
        f"memory of all processes: {max(r.memory for rs in found.values() for r in rs) / 1e9:.2f} GB (goal: 1.5)"
    )


def _watched(pid: int) -> tuple[int, int, resource.struct_rusage]:
    """Wait for a process; the most memory that it and all that it started had, its status, and what it used."""
    most = 0
    while True:
        ended, status, used = os.wait4(pid, os.WNOHANG)
        if ended:
            return most, status, used
        most = max(most, sum(_proportional_bytes(each) for each in _family(pid)))
        time.sleep(0.5)


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))
    except OSError:  # it has ended
        return


def _proportional_bytes(pid: int) -> int:
    """The memory of a process, what it shares with others in parts."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", action="store_true", help="four members through metapbt run")
    parser.add_argument("--sleeping", action="store_true", help="of --run: sleep instead of training")
    parser.add_argument("--env", default="lunar_lander", help="of --run (lunar_lander)")
    parser.add_argument("--steps", type=int, default=400_000, help="of --run, of each member (400000)")
    parser.add_argument("--repeats", type=int, default=1, help="of --run (1)")
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.env, arguments.steps, arguments.repeats, arguments.sleeping)
    else:
        Console().print(decisions())


if __name__ == "__main__":
    main()
