"""How far ahead a memory sees: forecasts of lines of descent of each context from runs on the others.

    python benchmarks/foresight.py                            # the memory that ships, with several numbers of rows
    python benchmarks/foresight.py --results results --rows 600

    python benchmarks/foresight.py --values                   # what the values foresee by which copies are chosen
    python benchmarks/foresight.py --hints                    # and what it tells to be near good members of the others

Every context (ten of them at most, spread over all) is held out in turn. Each of its lines of descent is forecast over
so many intervals from its first return alone, with what it trained with in them, by models that were trained on the
others and are conditioned on so many of their rows. Shown are correlations of forecast and real changes, each less the
mean of its time: means over contexts with their standard errors.

With ``--values`` agents are valued at every interval, from the return that it began with and what was then trained
with: if they keep that, if they plan to change it at every interval, and by what became of such agents in the sources
(`metapbt.memory.planning`). Shown is how the values correlate with the best return that the agent, or who descended
from it, had some intervals later: of those with equal returns (partial correlations given the return), of those for
whom another value is equal, too, and of all.

With ``--hints`` the same is asked of how near the hyperparameters that were trained with lie to those of good members
of the other contexts (`metapbt.memory.hints`), in partial correlations given the return: if good is of whom most came,
as for ``meta_pb2``, who gained most in the interval, or anybody, drawn at random.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from metapbt.memory.cache import ModelCache
from metapbt.memory.candidates import NEAR
from metapbt.memory.encoder import Array
from metapbt.memory.hindsight import INTERVALS
from metapbt.memory.hints import Hints
from metapbt.memory.nearest import Nearest
from metapbt.memory.planning import outlook, telling
from metapbt.memory.reading import read_sources
from metapbt.memory.shipped import shipped_dir
from metapbt.memory.source_runs import Memory
from metapbt.memory.tasks import Tasks
from metapbt.memory.training import FARTHEST, Learned, correlation, enough, learned
from metapbt.space import Space
from metapbt.store.results import RunInfo, find_runs
from metapbt.store.run_directory import RunDirectory

AFTER = (2, 4, 8)  # intervals
LATER = [f"{ahead} intervals later" for ahead in AFTER]


def main() -> None:
    """Print a table for each environment, learner and search space."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=Path, default=shipped_dir(), help="runs to learn from (what ships)")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 200, 400, 600, 1000])
    parser.add_argument("--values", action="store_true", help="what the values foresee, instead")
    parser.add_argument("--hints", action="store_true", help="what it tells to be near good members, instead")
    parser.add_argument("--plain", action="store_true", help="a plain Gaussian process instead of the deep kernel")
    arguments = parser.parse_args()

    def kind(run: RunInfo) -> tuple[str, str, str]:
        return run.env, run.learner, json.dumps(RunDirectory(run.path).config()["space"])

    for (env, learner, space), group in itertools.groupby(sorted(find_runs(arguments.results), key=kind), kind):
        runs = list(group)
        tuned, cache = Space(json.loads(space)), ModelCache.beside([arguments.results])
        tasks = Tasks.of(Memory(runs[0].context, read_sources(runs)), tuned)
        models = learned(tasks, not arguments.plain, cache)
        if arguments.values or arguments.hints:
            title = f"{env}, {learner}"
            if arguments.values:
                horizon = max(models.horizon(), 2)
                recalled = learned(tasks.in_hindsight(INTERVALS), False, cache)
                asked = values(title, models, recalled, tuned)
                told = telling(models, recalled, tuned, horizon, not arguments.plain, cache)
                for name, each in vars(told).items():
                    found = mean_and_error(each[np.isfinite(each)].tolist())
                    print(f"{title}: {name.replace('_', ' ')} over 2 to {horizon} intervals: {found}")
                print(f"{title}: it {'plans' if told.plan else 'keeps'}{' and recalls' if told.recall else ''}")
            else:
                asked = hints(title, models)
            Console(width=140).print(asked)
            continue
        table = Table(title=f"{env}, {learner}: it looks {models.horizon()} intervals ahead", box=box.MARKDOWN)
        for column in ("rows", *(f"{intervals}" for intervals in range(1, FARTHEST + 1))):
            table.add_column(column, justify="right", no_wrap=True)
        for rows in arguments.rows:
            cells = []
            for found in models.foresight(rows):
                cells.append(mean_and_error(found))
            table.add_row(f"{rows}", *cells)
        Console(width=140).print(table)


def values(title: str, models: Learned, recalled: Learned, space: Space) -> Table:
    """A table of what values foresee."""
    rows: dict[str, list[list[float]]] = {
        name: [[] for _ in AFTER]
        for name in (
            "of equal returns: keeping", "of equal returns: planning", "of equal returns: recalled",
            "and equal plans: keeping", "and equal keeping: planning",
            "and equal keeping: recalled", "and equal plans: recalled",
            "of all: the return", "of all: keeping", "of all: planning, before the choice",
        )
    }  # fmt: skip
    horizon = models.horizon()
    for context in models.without:
        seen = outlook(models, recalled, context, space, max(horizon, 2))
        for place, ahead in enumerate(AFTER):
            told = seen.told(ahead)
            if not enough(told.times):
                continue
            asked: tuple[tuple[Array, tuple[Array, ...]], ...] = (
                (told.keeping, (told.begun,)), (told.planning, (told.begun,)), (told.recalled, (told.begun,)),
                (told.keeping, (told.begun, told.planning)), (told.planning, (told.begun, told.keeping)),
                (told.recalled, (told.begun, told.keeping)), (told.recalled, (told.begun, told.planning)),
                (told.begun, ()), (told.keeping, ()), (told.ranked, ()),
            )  # fmt: skip
            for found, (value, given) in zip(rows.values(), asked, strict=True):
                found[place].append(float(np.nan_to_num(correlation(told.best, value, told.times, given))))
    return table_of(f"{title}: plans look {horizon} intervals ahead", rows, "value", *LATER)


def hints(title: str, models: Learned) -> Table:
    """A table of what it tells to train with something like what good members of other contexts did, and where they
    lie: the share of their coordinates that are a bound."""
    rules = ("of whom most came", "who gained most", "anybody")
    found: dict[str, list[list[float]]] = {rule: [[] for _ in (*AFTER, "bounds")] for rule in rules}
    tasks = models.tasks
    for context, model in models.without.items():
        lines, (_, others) = tasks.lines(context), tasks.held_out(context)
        points, times = tasks.whole.points[tasks.whole.contexts == context], lines.rows.times
        elsewhere = tasks.samples.contexts != context
        merits = (tasks.merits[elsewhere], others.changes, np.random.default_rng(0).random(len(others)))
        nearest = Nearest(others.inputs, model.relevance[: model.given])
        for rule, merit in zip(rules, merits, strict=True):
            good = Hints(nearest, tasks.samples.points[elsewhere], merit)
            near, bounds = np.full(len(points), np.nan), []
            for time in np.unique(times[lines.origins >= 0]):
                now = np.flatnonzero((times == time) & (lines.origins >= 0))
                some = good(lines.rows.inputs[now, : model.given].mean(axis=0))
                gaps = ((points[now, None] - some) ** 2).sum(axis=2)
                near[now] = np.log(np.exp(-gaps / (2 * NEAR**2)).mean(axis=1) + 1e-12)
                bounds.append(np.mean((some == 0) | (some == 1)))
            for place, ahead in enumerate(AFTER):
                best = lines.best_after(ahead)
                told = np.flatnonzero(np.isfinite(best) & np.isfinite(near))
                if enough(times[told]):
                    begun = lines.rows.inputs[told, 1]
                    correlated = correlation(best[told], near[told], times[told], (begun,))
                    found[rule][place].append(float(np.nan_to_num(correlated)))
            found[rule][-1].append(float(np.mean(bounds)))
    return table_of(title, found, "near those", *LATER, "coordinates at a bound")


def table_of(title: str, rows: Mapping[str, Sequence[Sequence[float]]], first: str, *others: str) -> Table:
    """Means over contexts, of what is found in each, a row for each name."""
    table = Table(title=title, box=box.MARKDOWN)
    table.add_column(first, no_wrap=True)
    for column in others:
        table.add_column(column, justify="right", no_wrap=True)
    for name, columns in rows.items():
        table.add_row(name, *map(mean_and_error, columns))
    return table


def mean_and_error(found: Sequence[float]) -> str:
    """The mean over contexts with its standard error."""
    error = np.std(found, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.nan
    return f"{np.mean(found):.2f} ± {error:.2f}" if found else ""


if __name__ == "__main__":
    main()
