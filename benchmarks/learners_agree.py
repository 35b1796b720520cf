"""Do ppo and Stable-Baselines3's PPO learn equally well?

    python benchmarks/learners_agree.py                         # 10 seeds of each learner on three tasks
    python benchmarks/learners_agree.py --task cart_pole --seeds 3

Both train agents of the same shape with the same hyperparameters and rollouts, evaluated ten times along the way on ten
episodes. The table shows the final return and the area under the curve (the mean over the evaluations), as IQM over
seeds with 95% intervals, and the difference of the two learners' areas. Two workers with one thread each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from metapbt import seeding
from metapbt.envs import Environment

if TYPE_CHECKING:
    import gymnasium

EVALUATIONS = 10
WORKERS = 2


def _pendulum(context: Any, render_mode: str | None) -> gymnasium.Env[Any, Any]:
    from gymnasium.envs.classic_control.pendulum import PendulumEnv

    return PendulumEnv(render_mode=render_mode)


#: Gymnasium's own, as an environment from outside metapbt: its actions are continuous.
PENDULUM = Environment("pendulum", (), gym_id="learners_agree/Pendulum-v1", build=_pendulum, max_episode_steps=200)


@dataclass(frozen=True)
class Task:
    """An environment, a budget that is enough to learn something, and hyperparameters from RL Baselines3 Zoo."""

    env: str
    steps: int
    n_envs: int
    n_steps: int
    batch_size: int
    hyperparameters: dict[str, Any] = field(default_factory=dict)


TASKS = {
    "cart_pole": Task("cart_pole", 50_000, 8, 125, 50, {"learning_rate": 1e-3, "gamma": 0.98, "gae_lambda": 0.8}),
    "lunar_lander": Task(
        "lunar_lander", 200_000, 16, 125, 50, {"gamma": 0.999, "gae_lambda": 0.98, "ent_coef": 0.01, "n_epochs": 6}
    ),
    "pendulum": Task(
        "learners_agree:PENDULUM", 100_000, 4, 250, 50, {"learning_rate": 1e-3, "gamma": 0.9, "n_epochs": 10}
    ),
}


def curve(task: str, learner: str, seed: int) -> list[float]:
    """The evaluations of one agent."""
    from metapbt.envs import make_context
    from metapbt.history import Budget, Interval, Ref
    from metapbt.learners import LearnerSpec

    chosen = TASKS[task]
    shape = {"n_steps": chosen.n_steps, "batch_size": chosen.batch_size}
    settings: dict[str, Any] = {"n_envs": chosen.n_envs}
    if learner == "sb3":
        settings |= {"algorithm": "PPO", "policy": "MlpPolicy", "hyperparameters": {"PPO": shape}}
    else:
        settings["hyperparameters"] = shape
    budget = Budget(chosen.steps, chosen.steps // EVALUATIONS)
    made = LearnerSpec(learner, chosen.env, make_context(chosen.env), budget, settings).make()
    training, evaluation_seed, returns = None, seeding.evaluation_seed(seed), []
    for generation in range(EVALUATIONS):
        interval = Interval(
            ref=Ref(generation, 0),
            start=Ref(generation - 1, 0) if training else None,
            teacher=None,
            hyperparameters=chosen.hyperparameters,
            start_steps=training.env_steps if training else 0,
            until_steps=(generation + 1) * budget.interval,
            seed=seeding.training_seed(seed, generation, 0),
            evaluation_seed=evaluation_seed,
            evaluation_episodes=10,
        )
        training = made.train(interval, training.state if training else None)
        returns.append(training.eval_return)
    return returns


def _prepare() -> None:
    import torch

    torch.set_num_threads(1)


def compare(task: str, seeds: int, pool: ProcessPoolExecutor, progress: Progress) -> list[tuple[str, ...]]:
    from metapbt.report.statistics import iqm, stratified_estimate

    learners = ("ppo", "sb3")
    futures = {
        pool.submit(curve, task, learner, seed): (learner, seed) for seed in range(seeds) for learner in learners
    }
    bar = progress.add_task(task, total=len(futures))
    curves: dict[tuple[str, int], list[float]] = {}
    for future in as_completed(futures):
        curves[futures[future]] = future.result()
        progress.advance(bar)

    def shown(values: np.ndarray[Any, Any]) -> str:
        middle, low, high = stratified_estimate([values], iqm)
        return f"{middle:.1f} [{low:.1f}, {high:.1f}]"

    rows, areas = [], {}
    for learner in learners:
        of_seeds = np.array([curves[learner, seed] for seed in range(seeds)])
        areas[learner] = of_seeds.mean(axis=1)
        rows.append((task, learner, shown(of_seeds[:, -1]), shown(areas[learner])))

    def difference(strata: Sequence[np.ndarray[Any, Any]]) -> float:
        return iqm(strata[:1]) - iqm(strata[1:])

    value, low, high = stratified_estimate([areas[learner] for learner in learners], difference)
    rows.append((task, "difference", "", f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--task", nargs="+", choices=TASKS, default=list(TASKS), help="all of them")
    parser.add_argument("--seeds", type=int, default=10, help="agents of each learner (10)")
    arguments = parser.parse_args()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    sys.path.insert(0, str(Path(__file__).parent))
    table = Table(title=f"{arguments.seeds} seeds", box=box.MARKDOWN)
    for column in ("task", "learner", "final return", "area under the curve"):
        table.add_column(column, no_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    spawn = multiprocessing.get_context("spawn")
    with (
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
        ProcessPoolExecutor(WORKERS, mp_context=spawn, initializer=_prepare) as pool,
    ):
        for task in arguments.task:
            for row in compare(task, arguments.seeds, pool, progress):
                table.add_row(*row)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
