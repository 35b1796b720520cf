"""How long one suggestion takes, by rows of history (PB2) and of metadata (meta_pb2).

    python benchmarks/suggestion.py

Prints medians over repeated suggestions in this one process, on one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from metapbt.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.explorers.pb2 import PB2Explorer
from metapbt.records import History, Memory, Record, SourceRun
from metapbt.space import Space

ROWS = (20, 100, 300, 1000)
REPEATS = 5
SPACE = Space({name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("a", "b", "c", "d")})


def made_up_history(rows: int, members: int = 4, seed: int = 0) -> History:
    rng = np.random.default_rng(seed)
    records, returns = [], np.zeros(members)
    for generation in range(rows // members):
        for member in range(members):
            drawn = SPACE.sample(rng)
            returns[member] += 1 - (drawn["a"] - 0.3) ** 2 - (drawn["b"] - 0.8) ** 2 + 0.1 * rng.normal()
            records.append(Record(generation, member, None, "random", drawn, 10 * (generation + 1), returns[member]))
    return History(tuple(records))


def median_seconds(action: Callable[[int], object]) -> float:
    seconds = []
    for repeat in range(REPEATS):
        began = time.perf_counter()
        action(repeat)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def main() -> None:
    torch.set_num_threads(1)
    table = Table("rows", "pb2, one suggestion [s]", "meta_pb2, training once [s]", "meta_pb2, one suggestion [s]")
    target = made_up_history(40, seed=99)
    for rows in ROWS:
        past = made_up_history(rows)
        pb2 = PB2Explorer(SPACE)
        plain = median_seconds(
            lambda i, pb2=pb2, past=past: pb2.propose(past.best(), past, [], np.random.default_rng(i))
        )
        contexts = [{"feature": float(i)} for i in range(4)]
        sources = tuple(SourceRun(c, made_up_history(rows // 4, seed=i)) for i, c in enumerate(contexts))
        meta = MetaPB2Explorer(SPACE, Memory({"feature": 1.5}, sources))
        began = time.perf_counter()
        meta.start(1, np.random.default_rng(0))
        trained = time.perf_counter() - began
        suggested = median_seconds(
            lambda i, meta=meta: meta.propose(target.best(), target, [], np.random.default_rng(i))
        )
        table.add_row(str(rows), f"{plain:.3f}", f"{trained:.2f}", f"{suggested:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
