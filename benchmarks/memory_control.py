"""What memory is worth on contexts that it has not seen: leg heights of the lander, pole lengths of the cart-pole.

    python benchmarks/memory_control.py                                  # lander, 5 targets x 5 seeds, 200,000 steps
    python benchmarks/memory_control.py --methods pb2 meta_pb2 --seeds 10
    python benchmarks/memory_control.py --steps 1000000 --seeds 2 --results results/memory_long
    python benchmarks/memory_control.py --ablations
    python benchmarks/memory_control.py --env cart_pole --seeds 10

Sources are PB2 runs at 0.3, 0.7, 1.1, 1.5 and 1.9 times the feature's default; targets lie at 0.2, 0.6, 1.0, 1.4 and
1.8 times. Four members each. The area is the mean of the run's score over its generations in the study's first steps.
Values are IQM over all targets and seeds, with 95% intervals over seeds within targets; differences are to
PB2. Runs are kept below --results: started again, the study goes on. Two runs at a time, one thread each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

SOURCES = (0.3, 0.7, 1.1, 1.5, 1.9)  # times the default
TARGETS = (0.2, 0.6, 1.0, 1.4, 1.8)


@dataclass(frozen=True)
class Study:
    """An environment and a feature; the area is taken over ``steps``, and the arrival at ``enough`` compared."""

    env: str
    feature: str
    steps: int
    interval: int
    enough: float


STUDIES = {
    "lunar_lander": Study("lunar_lander", "leg_height", 200_000, 20_000, 100.0),
    "cart_pole": Study("cart_pole", "pole_length", 40_000, 4_000, 475.0),
}
SOURCE_SEEDS = 1000  # so that no source shares its draws with a target's run
WORKERS = 2

SPREAD = "pb2 spread"  # its first members fill the space evenly (Sobol), where PB2's are drawn independently
METHODS = {
    "pb2": ["method=pb2"],
    SPREAD: ["method=pb2"],
    "meta_pb2": ["method=meta_pb2"],
    "pbt": ["method=pbt"],
    "random": ["method=random"],
}
ABLATIONS = {
    "no memory for the first": ["method=meta_pb2", "method.first_generation=0"],
    "memory for the first only": ["method=meta_pb2", "method.steering=false"],
    "no schedule": ["method=meta_pb2", "method.schedule=false"],
    "plain GP": ["method=meta_pb2", "method.kernel=plain"],
    "no context inputs": ["method=meta_pb2", "method.features=false"],
    "no trust weighting": ["method=meta_pb2", "method.trust=false"],
    "contexts by experience": ["method=meta_pb2", "meta.describe_by=experience"],
    "published": [
        "method=meta_pb2",
        "method.kernel=published",
        "method.first_generation=0",
        "meta.sources=closest",
        "meta.num_contexts=2",
    ],
}


@dataclass(frozen=True)
class Curve:
    """A run's score after each generation."""

    env_steps: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]
    seconds: float
    training_seconds: float
    study: Study

    @property
    def area(self) -> float:
        return float(self.scores[self.env_steps <= self.study.steps].mean())

    @property
    def final(self) -> float:
        return float(self.scores[-1])

    @property
    def steps_to_enough(self) -> float:
        """The budget where it was never reached."""
        reached = np.flatnonzero(self.scores >= self.study.enough)
        return float(self.env_steps[reached[0]] if len(reached) else self.env_steps[-1])


def play(study: Study, multiplier: float, overrides: Sequence[str], seed: int, folder: str, spread: bool) -> Curve:
    from metapbt.config import compose
    from metapbt.envs import get_environment
    from metapbt.memory.candidates import filling
    from metapbt.runs.run import run_config
    from metapbt.space import Space

    default = next(f.default for f in get_environment(study.env).features if f.name == study.feature)

    config = compose(
        [
            f"env={study.env}",
            "learner=ppo",
            "executor=inline",
            f"context.{study.feature}={round(default * multiplier, 6)}",
            f"seed={seed}",
            f"results_dir={folder}",
            *overrides,
        ]
    )
    if spread:
        space = Space(config.space)
        places = filling(config.population.size, len(space), np.random.default_rng(seed))
        config.initial = [dict(space.from_unit(place)) for place in places]
    began = time.perf_counter()
    run = run_config(config)
    best = [run.history.best_of(generation) for generation in range(run.history.generations)]
    return Curve(
        np.array([record.env_steps for record in best]),
        np.array([record.eval_return for record in best]),
        time.perf_counter() - began,
        sum(record.wall_seconds for record in run.history),
        study,
    )


def _prepare() -> None:
    import sys
    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the runs' lines are in their logs


def play_all(
    title: str,
    tasks: Sequence[tuple[Study, float, Sequence[str], int, str, bool]],
    pool: ProcessPoolExecutor,
    progress: Progress,
) -> list[Curve]:
    bar = progress.add_task(title, total=len(tasks))
    futures = [pool.submit(play, *task) for task in tasks]
    for future in as_completed(futures):
        future.result()
        progress.advance(bar)
    progress.remove_task(bar)
    return [future.result() for future in futures]


def summary(study: Study, curves: dict[str, list[list[Curve]]], steps: int) -> Table:
    """One row for each method; ``curves[method]`` holds, for each target, the curves of its seeds."""
    from metapbt.report.statistics import iqm, stratified_estimate

    def strata(method: str, value: str) -> list[np.ndarray[Any, Any]]:
        return [np.array([getattr(curve, value) for curve in row]) for row in curves[method]]

    def interval(estimate: tuple[float, float, float], form: str) -> str:
        middle, low, high = estimate
        # One seed of each target says nothing of how far seeds differ.
        return f"{middle:{form}} [{low:{form}}, {high:{form}}]" if np.isfinite(low) else f"{middle:{form}}"

    def shown(method: str, value: str, form: str) -> str:
        return interval(stratified_estimate(strata(method, value), iqm), form)

    def difference(method: str, value: str) -> str:
        if method == "pb2" or "pb2" not in curves:
            return ""
        own, other = strata(method, value), strata("pb2", value)

        def statistic(both: Sequence[np.ndarray[Any, Any]]) -> float:
            return iqm(both[: len(own)]) - iqm(both[len(own) :])

        return interval(stratified_estimate([*own, *other], statistic), "+.1f")

    table = Table(title=f"{study.env}, unseen values of {study.feature}, {steps:,} steps", box=box.MARKDOWN)
    area, to_enough = f"area to {study.steps:,}", f"steps to {study.enough:g}"
    for column in (
        "method",
        area,
        "difference",
        to_enough,
        "final score",
        "difference ",
        "outside training",
    ):
        table.add_column(column, no_wrap=True)
    for method, rows in curves.items():
        every = [curve for row in rows for curve in row]
        outside = [
            1 - curve.training_seconds / curve.seconds for curve in every if curve.training_seconds < curve.seconds
        ]
        table.add_row(
            method,
            shown(method, "area", ".1f"),
            difference(method, "area"),
            shown(method, "steps_to_enough", ",.0f"),
            shown(method, "final", ".1f"),
            difference(method, "final"),
            f"{np.median(outside):.1%}" if outside else "",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    known = {**METHODS, **ABLATIONS}
    parser.add_argument("--env", choices=STUDIES, default="lunar_lander", help="the study (lunar_lander)")
    parser.add_argument("--methods", nargs="+", choices=known, metavar="METHOD", help=", ".join(known))
    parser.add_argument("--ablations", action="store_true", help="meta_pb2 without each of its parts, too")
    parser.add_argument("--seeds", type=int, default=5, help="of each target (5)")
    parser.add_argument("--source-seeds", type=int, default=2, help="runs of each source (2)")
    parser.add_argument("--steps", type=int, help="of each target's members (200000; cart_pole 40000)")
    parser.add_argument("--results", type=Path, default=Path("results/memory"), help="where runs are kept")
    parser.add_argument("--targets", nargs="+", type=float, default=list(TARGETS), help="multipliers of the default")
    arguments = parser.parse_args()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    study = STUDIES[arguments.env]
    steps = arguments.steps or study.steps
    budget = [f"budget.steps={steps}", f"budget.interval={study.interval}"]
    names = arguments.methods or ["pb2", "meta_pb2", *(ABLATIONS if arguments.ablations else ())]
    sources = str(arguments.results / "sources")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    spawn = multiprocessing.get_context("spawn")
    with (
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
        ProcessPoolExecutor(WORKERS, mp_context=spawn, initializer=_prepare) as pool,
    ):
        seeds = range(SOURCE_SEEDS, SOURCE_SEEDS + arguments.source_seeds)
        tasks = [(study, m, ["method=pb2", *budget], s, sources, False) for m in SOURCES for s in seeds]
        play_all("sources", tasks, pool, progress)
        curves: dict[str, list[list[Curve]]] = {}
        for name in names:
            folder = str(arguments.results / name.replace(" ", "_"))
            memory = [f"meta.results_dir={sources}", "meta.sources=all"] if "method=meta_pb2" in known[name] else []
            tasks = [
                (study, m, [*budget, *memory, *known[name]], s, folder, name == SPREAD)
                for m in arguments.targets
                for s in range(arguments.seeds)
            ]
            played = play_all(name, tasks, pool, progress)
            curves[name] = [played[i : i + arguments.seeds] for i in range(0, len(played), arguments.seeds)]
    Console(width=180).print(summary(study, curves, steps))


if __name__ == "__main__":
    main()
