"""What the decisions of finished runs cost, as a share of what training and evaluation took.

    metapbt run env=lunar_lander context.leg_height=3.2 method=meta_pb2 results_dir=results/cost
    python benchmarks/decision_share.py results/cost

At every decision of each run its explorer is asked again, from the history as it was: ranking members by their values,
where it does that, and choosing hyperparameters for those who became copies. PB2 is asked the same. Seconds of the
processor, on one thread, and their share of what training and evaluation took in the whole run.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from metapbt.population.explorers.base import Explorer
from metapbt.population.explorers.meta_pb2 import MetaPB2Explorer
from metapbt.population.explorers.pb2 import PB2Explorer
from metapbt.report.knowledge import Decision, decision_after, explorer_of
from metapbt.runs.run import Run
from metapbt.store.results import find_runs


def seconds(explorer: Explorer, decision: Decision, seed: int) -> float:
    """What one decision takes."""
    began = time.process_time()
    if isinstance(explorer, MetaPB2Explorer):
        explorer.values(decision.history)
    explorer.propose(
        decision.children, decision.parents, decision.history, decision.pending, np.random.default_rng(seed)
    )
    return time.process_time() - began


def decisions(run: Run) -> list[Decision]:
    """Those of a run that made copies."""
    generations = sorted({record.generation - 1 for record in run.history if record.parent is not None})
    return [decision_after(run, generation) for generation in generations if generation < run.history.generations]


def main() -> None:
    """Print a row for each run and each of its own method and PB2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="finished runs, one at least")
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = Table("run", "asked", "decisions", "median [s]", "all [s]", "of training", box=box.MARKDOWN)
    for found in find_runs(parser.parse_args().results):
        run = Run.load(found.path)
        asked = decisions(run)
        if not asked:
            continue
        trained = sum(record.wall_seconds for record in run.history)
        own = explorer_of(run, train=True)
        for name, explorer in ((run.info.method, own), ("pb2", PB2Explorer(own.space))):
            if isinstance(explorer, MetaPB2Explorer):
                explorer.start(1, np.random.default_rng(0))  # it reads its memory and its models
            seconds(explorer, asked[0], 0)  # imports
            taken = [seconds(explorer, decision, place) for place, decision in enumerate(asked)]
            table.add_row(
                f"{run.info.context.label} {run.info.method}", name, f"{len(taken)}",
                f"{statistics.median(taken):.3f}", f"{sum(taken):.2f}", f"{sum(taken) / trained:.1%}",
            )  # fmt: skip
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
