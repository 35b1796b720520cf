"""What `metapbt status`, `data ls` and `data check` cost over many runs.

Makes the runs by what a run itself writes with, each of 80 records with its checkpoints, and measures the processor
time of each command in a process of its own.

    python benchmarks/many_runs.py [--runs 10000] [--keep DIR]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import numpy as np

from metapbt.envs import make_context
from metapbt.history import History, Record
from metapbt.store.checkpoint import Outcome, save_checkpoint
from metapbt.store.done import Done
from metapbt.store.results import describe
from metapbt.store.run_directory import RunDirectory, run_directory
from metapbt.store.table import to_table, write_table

MEMBERS, GENERATIONS, INTERVAL = 4, 20, 4000
SPACE = {
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True, "default": 3e-4},
    "clip_range": {"type": "float", "low": 0.1, "high": 0.5, "default": 0.2},
    "gae_lambda": {"type": "float", "low": 0.9, "high": 1.0, "default": 0.95},
    "n_epochs": {"type": "int", "low": 3, "high": 30, "default": 10},
}


def make_run(results: Path, number: int) -> None:
    """One finished run, as `metapbt run` leaves it."""
    rng = np.random.default_rng(number)
    context = make_context("cart_pole", {"pole_length": round(0.1 + number % 50 / 50, 2)})
    method, seed = ("pbt", "pb2")[number // 50 % 2], number // 100
    config = {
        "context": context.changed,
        "seed": seed,
        "name": None,
        "population": {"size": MEMBERS, "candidates": None, "window": 10, "quantile": 0.25, "metric": "train_return",
                       "asynchronous": False},
        "budget": {"steps": GENERATIONS * INTERVAL, "interval": INTERVAL},
        "evaluation": {"episodes": 10, "test_episodes": 100},
        "stop": {"return_reached": None, "wall_seconds": None, "plateau": None},
        "initial": [],
        "constraint": None,
        "callbacks": [],
        "results_dir": str(results),
        "resume": True,
        "method": {"name": method, "factors": [0.8, 1.2], "resample_probability": 0.25},
        "space": SPACE,
        "learner": {"name": "ppo", "n_envs": 8, "hyperparameters": {"n_steps": 128}},
        "executor": {"name": "processes", "workers": 4, "threads": 1},
        "selection": {"name": "truncation", "backtrack": False},
        "env": "cart_pole",
        "features": dict(context),
        "versions": {"python": "3.11.7", "metapbt": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
    }  # fmt: skip
    directory = RunDirectory(run_directory(results, "cart_pole", context, method, seed))
    directory.open(config, resume=True)
    directory.begin(config)
    hyperparameters = [
        {"learning_rate": float(10 ** rng.uniform(-5, -2)), "clip_range": float(rng.uniform(0.1, 0.5)),
         "gae_lambda": float(rng.uniform(0.9, 1.0)), "n_epochs": int(rng.integers(3, 31))}
        for _ in range(MEMBERS)
    ]  # fmt: skip
    directory.journal.begin(
        {m: {"kind": "start", "hyperparameters": h, "source": "random"} for m, h in enumerate(hyperparameters)}
    )
    records: list[Record] = []
    for generation in range(GENERATIONS):
        steps = (generation + 1) * INTERVAL
        now = [
            Record(generation, m, None, "continued" if generation else "random", h, steps, *rng.normal(100, 9, 2),
                   episodes=12, wall_seconds=1.5, until_steps=steps)
            for m, h in enumerate(hyperparameters)
        ]  # fmt: skip
        directory.journal.append(now, {})
        records += now
    history = History(tuple(records), "train_return", MEMBERS)
    for record in {*(r.ref for r in history.latest), history.best().ref}:
        found = history.at(record)
        told = {name: getattr(found, name) for name in Outcome.__dataclass_fields__}
        save_checkpoint(directory.checkpoint(record), {"weights": rng.normal(size=1000)}, Outcome(**told))
    write_table(directory.records, to_table(describe(directory).identity, history))
    directory.mark_done(Done.of(history, history.best().ref, 101.5, 100))
    directory.release()


def cpu_seconds(*arguments: str) -> tuple[float, str]:
    """The processor time of a command, and what it said."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "metapbt", *arguments], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, f"status {done.returncode}, {len(done.stdout.splitlines()):,} lines"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="where to make the runs, which stay (default: a temporary directory)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = asked.keep or Path(temporary) / "results"
        if not results.exists():
            began = time.perf_counter()
            with mock.patch.object(os, "fsync"):  # a run waits for the disk; here nothing is to survive a power cut
                for number in range(asked.runs):
                    make_run(results, number)
            print(f"made {asked.runs:,} runs in {time.perf_counter() - began:.0f} s")
        print(f"{'command':<12} {'CPU seconds':>11}")
        for command in (("status",), ("data", "ls"), ("data", "check")):
            spent, said = cpu_seconds(*command, str(results))
            print(f"{' '.join(command):<12} {spent:>11.1f}  {said}")


if __name__ == "__main__":
    main()
