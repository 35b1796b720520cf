"""What memory costs: a suggestion and the meta-training, by rows of metadata.

    python benchmarks/memory_cost.py [--rows 1000 10000 100000]

Seconds of the processor, on one thread. A suggestion is one exploit of a run with 40 rows of its own, from memory that
is read and trained; the first generation is four members. Reading turns records into numbers, once for each start of a
run. Memory is the largest resident size of the process after that row's work, imports included.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
import warnings

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from metapbt.history import Context, History, Record
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.space import Space

SPACE = Space({name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("a", "b", "c", "d")})
CONTEXTS, MEMBERS, GENERATIONS = 5, 4, 20


def synthetic_history(context: float, seed: int, generations: int = GENERATIONS) -> History:
    rng = np.random.default_rng(seed)
    records, returns = [], np.zeros(MEMBERS)
    for generation in range(generations):
        for member in range(MEMBERS):
            drawn = SPACE.sample(rng)
            returns[member] += 1 - (drawn["a"] - context / 5) ** 2 - (drawn["b"] - 0.8) ** 2 + 0.1 * rng.normal()
            records.append(Record(generation, member, None, "random", drawn, 10 * (generation + 1), returns[member]))
    return History(tuple(records))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    target = synthetic_history(1.5, seed=99, generations=10)
    columns = ("rows", "reading [s]", "meta-training [s]", "first generation [s]", "a suggestion [s]", "memory [MB]")
    table = Table(*columns)
    for rows in arguments.rows:
        runs = -(-rows // (MEMBERS * GENERATIONS))
        sources = tuple(
            SourceRun(Context({"feature": float(run % CONTEXTS)}), synthetic_history(run % CONTEXTS, seed=run))
            for run in range(runs)
        )
        explorer = MetaPB2Explorer(SPACE, Memory(Context({"feature": 1.5}), sources))
        marks = [time.process_time()]
        for step in ("_tasks", "_model", "_prior_trust"):
            getattr(explorer, step)
            marks.append(time.process_time())
        explorer.start(4, np.random.default_rng(0))
        marks.append(time.process_time())
        suggestions = []
        for repeat in range(8):
            began = time.process_time()
            explorer.propose(
                [target.leader()], [target.leader()], History(target.records), [], np.random.default_rng(repeat)
            )
            suggestions.append(time.process_time() - began)
        reading, training, judging, first = np.diff(marks)
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        shown = (reading, training, judging + first, statistics.median(suggestions))
        table.add_row(f"{rows:,}", *(f"{seconds:.2f}" for seconds in shown), f"{size:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
