"""How far ahead a memory sees: forecasts of lines of descent of each context from runs on the others.

    python benchmarks/foresight.py                            # the memory that ships, with several numbers of rows
    python benchmarks/foresight.py --results results --rows 600

Every context (ten of them at most, spread over all) is held out in turn. Each of its lines of descent is forecast over
so many intervals from its first return alone, with what it trained with in them, by models that were trained on the
others and are conditioned on so many of their rows. Shown are correlations of forecast and real changes, each less the
mean of its time: means over contexts with their standard errors.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from metapbt.memory.cache import ModelCache
from metapbt.memory.reading import read_sources
from metapbt.memory.shipped import shipped_dir
from metapbt.memory.source_runs import Memory
from metapbt.memory.tasks import Tasks
from metapbt.memory.training import FARTHEST, learned
from metapbt.space import Space
from metapbt.store.results import RunInfo, find_runs
from metapbt.store.run_directory import RunDirectory


def main() -> None:
    """Print a table for each environment, learner and search space."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=shipped_dir(), help="runs to learn from (what ships)")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 200, 400, 600, 1000])
    parser.add_argument("--plain", action="store_true", help="a plain Gaussian process instead of the deep kernel")
    arguments = parser.parse_args()

    def kind(run: RunInfo) -> tuple[str, str, str]:
        return run.env, run.learner, json.dumps(RunDirectory(run.path).config()["space"])

    for (env, learner, space), group in itertools.groupby(sorted(find_runs(arguments.results), key=kind), kind):
        runs = list(group)
        tasks = Tasks.of(Memory(runs[0].context, read_sources(runs)), Space(json.loads(space)))
        models = learned(tasks, not arguments.plain, ModelCache.beside([arguments.results]))
        table = Table(title=f"{env}, {learner}: it looks {models.horizon()} intervals ahead", box=box.MARKDOWN)
        for column in ("rows", *(f"{intervals}" for intervals in range(1, FARTHEST + 1))):
            table.add_column(column, justify="right", no_wrap=True)
        for rows in arguments.rows:
            cells = []
            for found in models.foresight(rows):
                error = np.std(found, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.nan
                cells.append(f"{np.mean(found):.2f} ± {error:.2f}" if found else "")
            table.add_row(f"{rows}", *cells)
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
