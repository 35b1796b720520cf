"""What a generation's decisions cost, by members: selection, explore and, for PB2, the surrogate.

    python benchmarks/population.py

The goal is a cost linear in members. Prints the median over three generations, on one thread.
"""

from __future__ import annotations

import statistics
import time
import warnings

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from metapbt import Space, Tuner

SIZES = (4, 16, 64, 256, 1024)
SPACE = Space({name: {"type": "float", "low": 0.0, "high": 1.0} for name in ("a", "b", "c", "d")})


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


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = Table("members", *(f"{m}: {what}" for m in ("pbt", "pb2") for what in ("seconds", "ms for each member")))
    for size in SIZES:
        cells = []
        for method in ("pbt", "pb2"):
            seconds = seconds_for_a_generation(method, size)
            cells += [f"{seconds:.4f}", f"{1000 * seconds / size:.2f}"]
        table.add_row(f"{size:,}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
