"""Runs whose members a formula trains, told to a tuner: quick, and with a known answer."""

from __future__ import annotations

from typing import Any

import numpy as np

from metapbt.history import Context
from metapbt.memory.source_runs import Memory, SourceRun
from metapbt.population.tuner import Tuner
from metapbt.runs.run import Run, load
from metapbt.space import Space

SPACE = {
    "lr": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "x": {"type": "float", "low": 0.0, "high": 1.0},
    "n": {"type": "int", "low": 1, "high": 6},
}


def gain(hyperparameters: Any, shift: float) -> float:
    """Returns grow fastest at lr = 0.01 and x = ``shift``; n does nothing."""
    far = (np.log10(hyperparameters["lr"]) + 2) ** 2 / 2 + 6 * (hyperparameters["x"] - shift) ** 2
    return float(np.exp(-far))


def told(
    results_dir: Any,
    method: str = "pb2",
    shift: float = 0.5,
    generations: int = 8,
    space: Any = SPACE,
    **arguments: Any,
) -> Run:
    """A run of a few members that a formula trains, with or without a run directory."""
    rng = np.random.default_rng(7)
    settings = {"metric": "eval_return", "env": "formula", "context": {"shift": shift}, **arguments}
    with Tuner(Space(space), method, results_dir=results_dir, **settings) as tuner:
        tuner.start()
        for generation in range(generations):
            assignments, values = tuner.assignments, []
            for member, assignment in assignments.items():
                before = tuner.counts_on(member)
                values.append((before.reached if before else 0.0) + gain(assignment.hyperparameters, shift))
            values = [value + 0.02 * rng.standard_normal() for value in values]
            tuner.tell([10 * (generation + 1)] * len(values), values)
        history = tuner.history
    if results_dir is None:
        return Run(None, history)  # type: ignore[arg-type]
    (path,) = results_dir.glob(f"formula/shift={shift:g}/{method.replace(':', '-')}/seed_*")
    return load(path)


def memory_of(shifts: tuple[float, ...] = (0.4, 0.6), target: float = 0.5) -> Memory:
    """Random search on other shifts."""
    sources = [
        SourceRun(Context({"shift": shift}), told(None, "random", shift, seed=place, generations=6).history)
        for place, shift in enumerate(shifts)
    ]
    return Memory(Context({"shift": target}), tuple(sources))
