"""Where suggestions lie: how many of their coordinates are a bound of the space, and what they are worth.

    python benchmarks/edges.py                                # 30 seeds on the synthetic problem
    python benchmarks/edges.py --seeds 100 --instances 200    # instances 200 to 299
    python benchmarks/edges.py --runs results/demo            # what finished runs suggested

The best hyperparameters of the synthetic problem (docs/synthetic_problems.md) lie between 0.1 and 0.9, so a suggestion
at a bound is never knowledge. PB2 plays a run for each seed; at every decision of it several rules are asked for a
copy's hyperparameters, given the same parent and the same rows: PB2 itself, PB2 in trust regions of several sizes, Ray
Tune's PB2 where Ray is installed, a random draw, and keeping what the parent has. Of each answer counted are the
coordinates within 0.001 of a bound, and its rate: how fast an agent learns with it, 1 being the best possible. Then the
PB2s play runs of their own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import synthetic_problems as problems
from rich import box
from rich.console import Console
from rich.table import Table

from metapbt.envs import make_context
from metapbt.history import Budget, History, Record
from metapbt.learners.problems.synthetic import SyntheticLearner
from metapbt.population.explorers.pb2 import PB2Explorer
from metapbt.space import Hyperparameters, Space

NEAR = 1e-3
PROBLEM = "drifting"
TARGET = {"noise": 0.02}
LENGTHS = (0.2, 0.4, 0.6, 1.0)
SETTINGS: dict[str, dict[str, Any]] = {
    "pb2": {},
    **{f"pb2, trust region of {length:g}": {"trust_region": True, "length": length} for length in LENGTHS},
}
KEPT, DRAWN, RAY = "the parent's own", "a random draw", "Ray Tune's PB2"
#: Of one answer: the share of coordinates at a bound, and its rate.
Worth = tuple[float, float]
Rule = Callable[[Record, Record, History, np.random.Generator], Hyperparameters]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=problems.at_least(2, int), default=30, help="runs of each PB2 (30)")
    parser.add_argument("--instances", type=int, default=1000, help="the first one; each seed has its own (1000)")
    parser.add_argument("--runs", type=Path, metavar="RESULTS", help="look at finished runs instead")
    arguments = parser.parse_args()
    console = Console(width=140)
    if arguments.runs is not None:
        console.print(suggested(arguments.runs))
        return
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    seeds = [(seed, arguments.instances + seed) for seed in range(arguments.seeds)]
    with multiprocessing.get_context("spawn").Pool(problems.WORKERS, problems.warm_up, (0,)) as pool:
        console.print(asked_alike(pool.starmap(answers, seeds, chunksize=1)))
        tasks = [(name, seed, instance) for seed, instance in seeds for name in SETTINGS]
        console.print(played(pool.starmap(play, tasks, chunksize=1)))


def rules(space: Space) -> dict[str, Rule]:
    """What is asked at each decision."""

    def by(explorer: PB2Explorer) -> Rule:
        return lambda child, parent, past, rng: explorer.propose([child], [parent], past, [], rng)[0].hyperparameters

    found: dict[str, Rule] = {name: by(PB2Explorer(space, **settings)) for name, settings in SETTINGS.items()}
    found[DRAWN] = lambda _child, _parent, _past, rng: space.sample(rng)
    found[KEPT] = lambda _child, parent, _past, _rng: dict(parent.hyperparameters)
    try:
        from ray.tune.schedulers.pb2 import _select_config
    except ImportError:
        return found

    def of_ray(_child: Record, parent: Record, past: History, rng: np.random.Generator) -> Hyperparameters:
        rows = sorted(past.transitions(), key=lambda row: row.generation)
        inputs = [
            [row.steps_before + row.steps, row.return_before, *space.to_unit(row.hyperparameters)] for row in rows
        ]
        slopes = [(row.return_after - row.return_before) / row.steps for row in rows]
        newpoint = np.array([[parent.env_steps, parent.reached]])
        np.random.seed(int(rng.integers(2**31)))  # noqa: NPY002 - Ray's own draws
        bounds = dict.fromkeys(space.names, (0.0, 1.0))
        point = _select_config(np.array(inputs), np.array(slopes), None, newpoint, bounds, num_f=2)
        return space.from_unit(np.clip(np.asarray(point, dtype=np.float64).ravel(), 0, 1))

    return {**found, RAY: of_ray}


def answers(seed: int, instance: int) -> dict[str, list[Worth]]:
    """What each rule says at every decision of one run of PB2."""
    space = Space(problems.PROBLEMS[PROBLEM].space)
    history = problems.play(PROBLEM, "pb2", seed, instance, TARGET, ()).history
    budget = Budget(problems.GENERATIONS * problems.INTERVAL, problems.INTERVAL)
    learner = SyntheticLearner("synthetic", make_context("synthetic", TARGET), budget, {"instance": instance})
    found: dict[str, list[Worth]] = defaultdict(list)
    asked = rules(space)
    for record in history:
        if record.source != "surrogate" or record.parent is None:
            continue
        past = History(tuple(r for r in history if r.generation < record.generation), history.metric, history.size)
        parent, child = past.last(record.parent), past.last(record.member)
        steps = np.arange(parent.env_steps, record.env_steps)
        for name, rule in asked.items():
            rng = np.random.default_rng([seed, record.generation, record.member])
            given = rule(child, parent, past, rng)
            found[name].append((at_bounds(space.to_unit(given)), float(learner.rates(given, steps).mean())))
    return dict(found)


def play(name: str, seed: int, instance: int) -> tuple[str, float, float]:
    """The final return of a run, and the mean over it."""
    returns = problems.play(PROBLEM, "pb2", seed, instance, TARGET, (), settings=SETTINGS[name]).returns
    return name, returns[-1], float(np.mean(returns))


def at_bounds(points: np.ndarray[Any, Any]) -> float:
    """The share of coordinates in the unit cube that are a bound."""
    return float(np.mean((points < NEAR) | (points > 1 - NEAR)))


def asked_alike(runs: Sequence[Mapping[str, Sequence[Worth]]]) -> Table:
    """What the rules answered, the mean of each run weighing the same."""
    table = _table("asked at the same decisions", "rule", "at a bound", "rate", "less PB2's rate")
    rates = {name: np.array([np.mean([rate for _, rate in run[name]]) for run in runs]) for name in runs[0]}
    for name, own in rates.items():
        edges = float(np.mean([np.mean([edge for edge, _ in run[name]]) for run in runs]))
        ahead = "" if name == "pb2" else _interval(own - rates["pb2"])
        table.add_row(name, f"{edges:.0%}", f"{own.mean():.3f}", ahead)
    return table


def played(runs: Sequence[tuple[str, float, float]]) -> Table:
    """What the PB2s came to."""
    table = _table("runs of their own", "method", "final return", "less PB2's", "mean over the run", "less PB2's")
    of = {name: np.array([run[1:] for run in runs if run[0] == name]) for name in SETTINGS}
    for name, own in of.items():
        cells = [
            text
            for column in (0, 1)
            for text in (
                f"{own[:, column].mean():.3f}",
                "" if name == "pb2" else _interval(own[:, column] - of["pb2"][:, column]),
            )
        ]
        table.add_row(name, *cells)
    return table


def suggested(results: Path) -> Table:
    """Of finished runs the share of coordinates at a bound of what surrogates and memory suggested to copies."""
    import metapbt
    from metapbt.store import find_runs
    from metapbt.store.run_directory import RunDirectory

    table = _table(str(results), "environment", "method", "suggestions", "at a bound")
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for info in find_runs(results):
        space = Space(RunDirectory(info.path).config()["space"])
        for record in metapbt.load(info.path).history:
            if record.source in ("surrogate", "memory") and record.generation > 0 and record.parent is not None:
                found[info.env, info.name].append(at_bounds(space.to_unit(dict(record.hyperparameters))))
    for (env, name), shares in sorted(found.items()):
        table.add_row(env, name, str(len(shares)), f"{np.mean(shares):.0%}")
    return table


def _interval(differences: np.ndarray[Any, Any]) -> str:
    """The mean of differences in pairs with its 95% t-interval."""
    from metapbt.report.statistics import mean_of_means, stratified_estimate

    value, low, high = stratified_estimate([differences], mean_of_means)
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.MARKDOWN)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


if __name__ == "__main__":
    main()
