"""Methods on synthetic problems with a known best return (docs/synthetic_problems.md), over many seeds.

    python benchmarks/synthetic_problems.py                             # every problem, every method, 100 seeds
    python benchmarks/synthetic_problems.py --problem mixed --methods pbt pb2 --seeds 20
    python benchmarks/synthetic_problems.py --problem mixed --members 8 --generations 40

Each seed is one population, of 4 members over 10 generations of 10 steps unless asked otherwise. Seed s plays instance
s mod 10 of the problem. On ``related`` and ``misleading``, methods with memory, and those with ``start=transfer``
(``pb2_transfer``), know four pb2 runs of the same instance on other contexts; where there are none they are left out,
as are, unless asked for, the PB2 variants for categories where there are no categories. Two worker processes with one
thread each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from metapbt import Tuner, seeding
from metapbt.envs import make_context
from metapbt.history import Budget, History, Interval, Ref
from metapbt.learners.base import State
from metapbt.learners.problems.synthetic import SyntheticLearner, best_return, true_return
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.population.explorers import METHODS, explorer_class
from metapbt.space import Hyperparameters

WORKERS = 2
MEMBERS, GENERATIONS, INTERVAL = 4, 10, 10
INSTANCES = 10  # of each problem: few enough that each one's sources can be trained before the seeds
SOURCE_SHIFTS = (0.2, 0.35, 0.65, 0.8)  # around the target's 0.5
BEST = best_return(1, 1)
ENOUGH = 0.95 * BEST
FOR_CATEGORIES = ("pb2_rand", "pb2_mult", "pb2_mix")  # without categories they are pb2
TRANSFER = "_transfer"  # behind a method's name: with start=transfer
PREFERRED = ("default", "random", "pbt", "pb2", *FOR_CATEGORIES, "pb2_transfer", "meta_pb2")


@dataclass(frozen=True)
class Problem:
    """A search space, and the contexts that memory comes from; the target is the default context."""

    floats: int
    categories: int = 0
    sources: tuple[dict[str, float], ...] = ()

    @property
    def space(self) -> dict[str, Any]:
        number = {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5}
        category = {"type": "categorical", "choices": ["a", "b", "c", "d"], "default": "a"}
        return {
            **{f"x{i}": number for i in range(self.floats)},
            **{f"c{j}": category for j in range(self.categories)},
        }


PROBLEMS = {
    "drifting": Problem(4),
    "mixed": Problem(2, 2),
    "related": Problem(4, sources=tuple({"shift": shift} for shift in SOURCE_SHIFTS)),
    "misleading": Problem(4, sources=tuple({"shift": shift, "mislead": 1.0} for shift in SOURCE_SHIFTS)),
}


@dataclass(frozen=True)
class Played:
    """What one run brought: the true return of the best member after each generation, and all records."""

    returns: tuple[float, ...]
    history: History


def remembers(method: str) -> bool:
    """Whether a method, or its start, takes a memory."""
    return method.endswith(TRANSFER) or explorer_class(method).uses_memory


def play(
    problem: str,
    method: str,
    seed: int,
    instance: int,
    context: dict[str, float],
    sources: Sequence[SourceRun],
    members: int = MEMBERS,
    generations: int = GENERATIONS,
    settings: Mapping[str, Any] | None = None,
    initial: Sequence[Hyperparameters] = (),
) -> Played:
    """One run, with ``settings`` of the method and ``initial`` configurations of the first members.

    The best member is the one with the best ``train_return``, noise included, of the interval alone.
    """
    complete = make_context("synthetic", context)
    budget = Budget(generations * INTERVAL, INTERVAL)
    learner = SyntheticLearner("synthetic", complete, budget, {"instance": instance})
    settings = dict(settings or {})
    if remembers(method):
        settings["memory"] = Memory(complete, tuple(sources))
    if method.endswith(TRANSFER):
        settings.setdefault("start", "transfer")
        settings["budget"] = budget
    name = method.removesuffix(TRANSFER)
    tuner = Tuner(PROBLEMS[problem].space, name, members, seed=seed, initial=initial, **settings)
    tuner.start()
    states: dict[Ref, State] = {}
    returns = []
    for generation in range(generations):
        records = []
        for member, assigned in tuner.assignments.items():
            interval = Interval(
                Ref(generation, member),
                assigned.start,
                None,
                dict(assigned.hyperparameters),
                start_steps=generation * INTERVAL,
                until_steps=(generation + 1) * INTERVAL,
                seed=seeding.training_seed(seed, generation, member),
                evaluation_seed=seeding.evaluation_seed(seed),
                evaluation_episodes=1,
            )
            training = learner.train(interval, states[assigned.start] if assigned.start else None)
            states[interval.ref] = training.state
            (train_return,) = training.returns
            outcome = {"train_return": train_return, "eval_return": training.eval_return, "episodes": 1}
            records.append(tuner.record(member, env_steps=training.env_steps, **outcome))
        tuner.observe(records)
        returns.append(true_return(float(states[tuner.history.leader().ref]["progress"])))
    return Played(tuple(returns), tuner.history)


def warm_up(_: int) -> None:
    """Load in a worker what its first suggestion would otherwise be timed with."""
    import torch

    import metapbt.surrogates.acquisition
    import metapbt.surrogates.deep_kernel
    import metapbt.surrogates.time_varying  # noqa: F401

    torch.set_num_threads(1)
    time.sleep(0.5)  # so that the other worker takes the other one of these tasks


class Bench:
    """Plays runs in worker processes and shows how many are done."""

    def __init__(
        self, pool: ProcessPoolExecutor, progress: Progress, seeds: int, noise: float, members: int, generations: int
    ) -> None:
        self.pool, self.progress, self.seeds, self.noise = pool, progress, seeds, noise
        self.members, self.generations = members, generations
        # drifting, related and misleading have the same target: what has no memory plays it once.
        self.without_memory: dict[tuple[int, int, str], tuple[str, ...]] = {}

    def play_all(self, title: str, tasks: Sequence[tuple[Any, ...]]) -> list[Played]:
        bar = self.progress.add_task(title, total=len(tasks))
        futures: list[Future[Played]] = [
            self.pool.submit(play, *task, self.members, self.generations) for task in tasks
        ]
        for future in as_completed(futures):
            future.result()  # an error ends the benchmark at once
            self.progress.advance(bar)
        self.progress.remove_task(bar)
        return [future.result() for future in futures]

    def compare(self, problem: str, methods: Sequence[str]) -> Table:
        table = Table(
            title=f"{problem}, noise {self.noise:g}, {self.members} members, {self.generations} generations",
            box=box.MARKDOWN,
        )
        for column in ("method", "final return", f"reach {ENOUGH:.3f}", "generations to it", "seconds"):
            table.add_column(column, no_wrap=True)
        target = {"noise": self.noise}
        contexts = [{**target, **source} for source in PROBLEMS[problem].sources]
        memory = [m for m in methods if remembers(m)]
        instances = range(min(INSTANCES, self.seeds))
        sources: list[list[SourceRun]] = [[] for _ in instances]
        tasks: list[tuple[Any, ...]]
        if memory and contexts:
            began = time.perf_counter()
            # Seeds of their own: a source must not share its first draws with the target's runs.
            tasks = [
                (problem, "pb2", 10_000 + n * INSTANCES + i, i, c, ())
                for i in instances
                for n, c in enumerate(contexts)
            ]
            for task, played in zip(tasks, self.play_all(f"{problem}: sources", tasks), strict=True):
                sources[task[3]].append(SourceRun(make_context("synthetic", task[4]), played.history))
            table.caption = f"sources: {len(tasks)} pb2 runs, {time.perf_counter() - began:.0f} s"
        for method in methods:
            if method in memory and not contexts:
                continue
            key = (PROBLEMS[problem].floats, PROBLEMS[problem].categories, method)
            row = self.without_memory.get(key)
            if row is None:
                began = time.perf_counter()
                tasks = [
                    (problem, method, s, s % INSTANCES, target, sources[s % INSTANCES] if method in memory else ())
                    for s in range(self.seeds)
                ]
                played_all = self.play_all(f"{problem}: {method}", tasks)
                row = (*summary(played_all, self.generations), f"{time.perf_counter() - began:.1f}")
                if method not in memory:
                    self.without_memory[key] = row
            table.add_row(method, *row)
        return table


def summary(runs: Sequence[Played], generations: int) -> tuple[str, str, str]:
    """Final return (IQM and its 95% interval), share of runs that reach ENOUGH, median generation of it."""
    from metapbt.report.statistics import iqm, stratified_estimate

    final = np.array([run.returns[-1] for run in runs])
    value, low, high = stratified_estimate([final], iqm)
    reached = [next((g for g, r in enumerate(run.returns, 1) if r >= ENOUGH), generations + 1) for run in runs]
    median = statistics.median(reached)
    share = sum(g <= generations for g in reached) / len(reached)
    return (
        f"{value:.3f} [{low:.3f}, {high:.3f}]",
        f"{share:.0%}",
        f"{median:g}" if median <= generations else f"> {generations}",
    )


def at_least(lowest: float, kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if value < lowest:
            raise argparse.ArgumentTypeError(f"must be >= {lowest}, got {text}")
        return value

    return parse


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=at_least(2, int), default=100, help="runs of each method (100)")
    parser.add_argument("--noise", type=at_least(0, float), default=0.02, help="deviation of observed returns (0.02)")
    parser.add_argument("--members", type=at_least(1, int), default=MEMBERS, help="of each population (4)")
    parser.add_argument("--generations", type=at_least(1, int), default=GENERATIONS, help="of each run (10)")
    parser.add_argument("--problem", nargs="+", choices=PROBLEMS, default=list(PROBLEMS), help="all of them")
    known = [method for method in PREFERRED if method.removesuffix(TRANSFER) in METHODS]
    choices = [*METHODS, *(f"{method}{TRANSFER}" for method in METHODS)]
    parser.add_argument("--methods", nargs="+", choices=choices, metavar="METHOD", help=" ".join(known))
    arguments = parser.parse_args()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    console = Console(width=160)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit torch's threads
    with (
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
        ProcessPoolExecutor(WORKERS, mp_context=spawn) as pool,
    ):
        list(pool.map(warm_up, range(WORKERS)))
        bench = Bench(pool, progress, arguments.seeds, arguments.noise, arguments.members, arguments.generations)
        for problem in arguments.problem:
            fitting = [m for m in known if PROBLEMS[problem].categories or m not in FOR_CATEGORIES]
            console.print(bench.compare(problem, arguments.methods or fitting))


if __name__ == "__main__":
    main()
