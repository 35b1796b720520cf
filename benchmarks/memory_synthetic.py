"""What memory is worth on synthetic problems: related sources and misleading ones.

    python benchmarks/memory_synthetic.py                                   # 100 seeds; instances 200 to 209
    python benchmarks/memory_synthetic.py --generations 20 --kinds related --seeds 40

Each seed is one population of 4 members, noise 0.02; seed s plays instance 200 + s mod 10. The sources are four pb2
runs of the same instance at shift 0.2, 0.35, 0.65, 0.8 (the target is at 0.5). ``misleading``: optima are mirrored,
and the feature ``mislead`` says so. ``unannounced``: the same, but the feature says that they are like the target. The
constants of ``meta_pb2`` were chosen on instances 100 to 124, and its default share of the first generation on 0 to 9.
Printed is the true return of the best member after each generation, interquartile means over seeds, with the 95%
interval of the last one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import synthetic_problems as problems
from synthetic_problems import INSTANCES, MEMBERS, PROBLEMS, WORKERS

from metapbt.envs import make_context
from metapbt.learners.problems.synthetic import best_return
from metapbt.memory.candidates import filling
from metapbt.memory.source_runs import SourceRun
from metapbt.space import Space

NOISE = 0.02
SPREAD = "pb2 spread"  # its first members fill the space evenly (Sobol), where PB2's are drawn independently
KINDS = ("related", "misleading", "unannounced")


def prepare() -> None:
    """In each worker: one thread."""
    import torch

    torch.set_num_threads(1)


def play(task: tuple[Any, ...]) -> tuple[problems.Played, float]:
    method, seed, instance, context, sources, settings, generations = task
    initial = []
    if method == SPREAD:
        method, space = "pb2", Space(PROBLEMS["related"].space)
        initial = [space.from_unit(place) for place in filling(MEMBERS, len(space), np.random.default_rng(seed))]
    began = time.perf_counter()
    played = problems.play("related", method, seed, instance, context, sources, MEMBERS, generations, settings, initial)
    return played, time.perf_counter() - began


def sources_of(
    pool: ProcessPoolExecutor, kind: str, instances: Sequence[int], generations: int
) -> list[list[SourceRun]]:
    contexts = [
        {"noise": NOISE, **source} for source in PROBLEMS["related" if kind == "related" else "misleading"].sources
    ]
    tasks = [
        ("pb2", 10_000 + n * INSTANCES + i, i, c, (), {}, generations)
        for i in instances
        for n, c in enumerate(contexts)
    ]
    found: list[list[SourceRun]] = [[] for _ in instances]
    for task, (played, _) in zip(tasks, pool.map(play, tasks), strict=True):
        told = {**task[3], "mislead": 0.0} if kind == "unannounced" else task[3]
        found[instances.index(task[2])].append(SourceRun(make_context("synthetic", told), played.history))
    return found


def report(name: str, runs: Sequence[tuple[problems.Played, float]], baseline: np.ndarray | None) -> np.ndarray:
    """Print one method; return its interquartile means."""
    from metapbt.report.statistics import iqm, stratified_estimate

    returns = np.array([played.returns for played, _ in runs])
    generations = returns.shape[1]
    best = np.array([best_return(g, generations) for g in range(1, generations + 1)])
    means = np.array([iqm([column]) for column in returns.T])
    final = stratified_estimate([returns[:, -1]], iqm)
    fixed, moving = (
        [next((g for g, ok in enumerate(row, 1) if ok), generations + 1) for row in reached]
        for reached in (returns >= 0.95 * best[-1], returns >= 0.95 * best)
    )
    shown = " ".join(f"{value:.3f}" for value in means)
    gap = f" | lowest difference from pb2 {np.min(means - baseline):+.3f}" if baseline is not None else ""
    late = ["never" if (m := statistics.median(when)) > generations else f"{m:g}" for when in (fixed, moving)]
    print(
        f"{name} ({len(runs)} seeds): {shown} | final {final.value:.3f} [{final.low:.3f}, {final.high:.3f}] "
        f"| reach {np.mean(returns[:, -1] >= 0.95 * best[-1]):.0%} | median generation of 95% of the final optimum "
        f"{late[0]}, of the optimum so far {late[1]}{gap} | {np.mean([s for _, s in runs]):.1f} s each",
        flush=True,
    )
    return means


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument(
        "--generations", type=int, default=10, help="of 10 steps; the drift is the same over all of them"
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--first-instance", type=int, default=200, help="of the ten that are played (200)")
    arguments = parser.parse_args()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    first = arguments.first_instance
    instances = list(range(first, first + min(INSTANCES, arguments.seeds)))
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(WORKERS, spawn, initializer=prepare) as pool,
    ):
        from metapbt.memory.cache import ModelCache

        def compare(
            name: str,
            method: str,
            memory: list[list[SourceRun]] | None,
            settings: dict[str, Any],
            baseline: np.ndarray | None,
        ) -> np.ndarray:
            tasks = [
                (
                    method,
                    s,
                    first + s % INSTANCES,
                    {"noise": NOISE},
                    memory[s % INSTANCES] if memory else (),
                    settings,
                    arguments.generations,
                )
                for s in range(arguments.seeds)
            ]
            return report(name, list(pool.map(play, tasks)), baseline)

        pb2 = compare("pb2", "pb2", None, {}, None)
        compare(SPREAD, SPREAD, None, {}, pb2)
        for kind in arguments.kinds:
            memory = sources_of(pool, kind, instances, arguments.generations)
            cache = {"cache": ModelCache(Path(folder))}
            compare(f"{kind}: meta_pb2", "meta_pb2", memory, cache, pb2)


if __name__ == "__main__":
    main()
