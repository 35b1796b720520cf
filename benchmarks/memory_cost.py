"""What memory costs: a decision and the meta-training, by rows of metadata.

    python benchmarks/memory_cost.py [--rows 1000 10000 100000]
    python benchmarks/memory_cost.py --files 100x1000 1000x100 1000x1000

Seconds of the processor, on one thread. A decision ranks members by their values and suggests what one of them is to
train with, in a run with 32 to 60 rows of its own, from memory that is read and trained: the first of a process, and
the median of the seven that follow. Memory plans and recalls, whatever held-out contexts say, which is the dearest
that it can do. What they say, and the models of what became of agents, are part of the meta-training; the
first generation is four members. Reading turns records into numbers, once for each start of a
run. Memory is the largest resident size of the process after that row's work, imports included.

``--files`` writes as many finished runs of as many records, on a hundred contexts, and chooses and reads them all, each
in a process of its own: what is found, what is read, and what becomes rows.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from metapbt.history import Context, History, Record
from metapbt.memory import sources
from metapbt.memory.reading import read_sources
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.memory.tasks import Tasks
from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.space import Space
from metapbt.store import RunDirectory, RunInfo, find_runs, run_directory
from metapbt.store.done import Done
from metapbt.store.table import Identity, to_table, write_table

SPECIFICATION = {name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("a", "b", "c", "d")}
SPACE = Space(SPECIFICATION)
CONTEXTS, MEMBERS, GENERATIONS = 5, 4, 20
FILE_CONTEXTS = 100
DECISIONS = 8


def synthetic_history(context: float, seed: int, generations: int = GENERATIONS) -> History:
    rng = np.random.default_rng(seed)
    records, returns = [], np.zeros(MEMBERS)
    for generation in range(generations):
        for member in range(MEMBERS):
            drawn = SPACE.sample(rng)
            returns[member] += 1 - (drawn["a"] - context / 5) ** 2 - (drawn["b"] - 0.8) ** 2 + 0.1 * rng.normal()
            records.append(Record(generation, member, None, "random", drawn, 10 * (generation + 1), returns[member]))
    return History(tuple(records))


def write_runs(results: Path, runs: int, records: int) -> None:
    """Write finished runs as the store does, but for their flushing to the disk."""
    os.fsync = lambda descriptor: None
    for run in range(runs):
        context = Context({"feature": float(run % FILE_CONTEXTS), "other": 1.0}, ["feature"])
        history = synthetic_history(run % CONTEXTS, run, records // MEMBERS)
        path = run_directory(results, "an_env", context, "pb2", run // FILE_CONTEXTS)
        config = {
            "env": "an_env", "features": dict(context), "context": context.changed, "method": {"name": "pb2"},
            "learner": {"name": "ppo"}, "seed": run // FILE_CONTEXTS, "budget": {"steps": len(history), "interval": 1},
            "population": {"metric": "train_return", "size": MEMBERS}, "space": SPECIFICATION,
        }  # fmt: skip
        directory = RunDirectory(path)
        directory.open(config, resume=True)
        directory.begin(config)
        directory.journal.begin({})
        for generation in range(history.generations):
            directory.journal.append(history.generation(generation), {})
        write_table(directory.records, to_table(directory_identity(context, run), history))
        directory.mark_done(Done.of(history, history.best().ref, 0.0, 1))
        directory.release()


def directory_identity(context: Context, run: int) -> Identity:
    return Identity(f"run {run}", "an_env", context, "pb2", "pb2", "ppo", run // FILE_CONTEXTS)


def read_runs(results: Path) -> None:
    """Choose and read all runs; print the seconds of each step and the megabytes that it took."""
    target = Context({"feature": 1.5, "other": 1.0}, ["feature"])
    found: list[float] = []

    def find(place: Path) -> list[RunInfo]:
        began = time.process_time()
        runs = find_runs(place)
        found.append(time.process_time() - began)
        return runs

    sources.find_runs = find
    marks = [time.process_time()]
    chosen = sources.choose_sources(results, "an_env", "ppo", target, "all", 1)
    marks.append(time.process_time())
    memory = Memory(target, read_sources(chosen))
    marks.append(time.process_time())
    rows = Tasks.of(memory, SPACE).rows
    marks.append(time.process_time())
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    choosing, reading, encoding = np.diff(marks)
    shown = (found[0], choosing - found[0], reading, encoding, marks[-1] - marks[0])
    print(f"{len(memory.table):,}", f"{len(rows):,}", *(f"{seconds:.2f}" for seconds in shown), f"{size:,.0f}")


def files(layouts: Sequence[str]) -> None:
    columns = ("layout", "records", "rows", "find [s]", "choose [s]", "read [s]", "rows [s]", "all [s]")
    table = Table(*columns, "memory [MB]")
    for layout in layouts:
        with tempfile.TemporaryDirectory() as folder:
            runs, records = map(int, layout.split("x"))
            write_runs(Path(folder), runs, records)
            command = [sys.executable, __file__, "--read", folder]
            table.add_row(layout, *subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--files", nargs="+", metavar="RUNSxRECORDS")
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.files or arguments.read:
        files(arguments.files) if arguments.files else read_runs(arguments.read)
        return
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    target = synthetic_history(1.5, seed=99, generations=7 + DECISIONS)
    columns = ("rows", "reading [s]", "meta-training [s]", "hindsight, judging [s]", "first generation [s]")
    table = Table(*columns, "first decision [s]", "a decision [s]", "memory [MB]")
    for rows in arguments.rows:
        runs = -(-rows // (MEMBERS * GENERATIONS))
        remembered = tuple(
            SourceRun(Context({"feature": float(run % CONTEXTS)}), synthetic_history(run % CONTEXTS, seed=run))
            for run in range(runs)
        )
        explorer = MetaPB2Explorer(SPACE, Memory(Context({"feature": 1.5}), remembered))
        marks = [time.process_time()]
        for step in (lambda e: e.tasks, lambda e: e.meta.model, lambda e: (e.meta.prior_trust, e.meta.recalls)):
            step(explorer)
            marks.append(time.process_time())
        explorer.meta.__dict__.update(plans=True, recalls=True)
        explorer.start(4, np.random.default_rng(0))
        marks.append(time.process_time())
        decisions = []
        for generation in range(7, 7 + DECISIONS):
            history = History(tuple(record for record in target.records if record.generation <= generation))
            leader = [history.leader()]
            began = time.process_time()
            explorer.values(history)
            explorer.propose(leader, leader, history, [], np.random.default_rng(generation))
            decisions.append(time.process_time() - began)
        reading, training, judging, first = np.diff(marks)
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        shown = (reading, training, judging, first, decisions[0], statistics.median(decisions[1:]))
        table.add_row(f"{rows:,}", *(f"{seconds:.2f}" for seconds in shown), f"{size:,.0f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
