"""Returns on the levels of training beside those on held-out ones, and the gap between them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from metapbt.history import Context
from metapbt.report.groups import Group
from metapbt.report.levels import Levels
from metapbt.report.run import Run
from metapbt.report.statistics import Array, common_grid, mean_curve, mean_estimate, on_grid

#: The three numbers of a finished run: the training return of the agent that was tested, its test return, and by how
#: much the former is higher.
RETURNS = ("train_return", "held_out_return", "gap")
CURVES = ("train_return", "held_out_return")


def with_held_out_levels(group: Group) -> list[Run]:
    """The runs that were evaluated or tested on other levels than those of training."""
    return [run for run in group.runs if run.levels is not None]


def generalisation_data(group: Group) -> pd.DataFrame:
    """Means of ``RETURNS`` with their intervals over seeds, for each context, method and choice of levels.

    Of finished runs that were tested on other levels than those of training; the gap is the mean over runs of each
    run's own.
    """
    rows: list[dict[str, object]] = []
    for context, method, levels, runs in _alike(group, tested=True):
        finals = np.array([returns_of(run) for run in runs], dtype=np.float64)
        estimates = {
            f"{name}{end}": value
            for name, values in zip(RETURNS, finals.T, strict=True)
            for end, value in zip(("", "_low", "_high"), mean_estimate(values), strict=True)
        }
        rows.append(
            group.columns(context)
            | {"method": method, "trained_on": levels.trained, "tested_on": levels.tested, "runs": len(runs)}
            | estimates
        )
    return pd.DataFrame(rows)


def returns_of(run: Run) -> tuple[float, float, float]:
    """``RETURNS`` of a finished run."""
    held_out = math.nan if run.test_return is None else run.test_return
    return run.train_return, held_out, run.train_return - held_out


def generalisation_curves(group: Group) -> pd.DataFrame:
    """Means of ``CURVES`` with their intervals over seeds by steps: of the best member in training at each generation.

    Of runs that were evaluated on other levels than those of training; rows as those of ``curves.csv``, with a column
    ``quantity``.
    """
    rows: list[dict[str, object]] = []
    for context, method, levels, runs in _alike(group, tested=False):
        grid = common_grid([run.steps for run in runs])
        for quantity, curves in zip(CURVES, zip(*map(_curves, runs), strict=True), strict=True):
            found = np.stack([on_grid(run.steps, curve, grid) for run, curve in zip(runs, curves, strict=True)])
            rows.extend(
                group.columns(context)
                | {"method": method, "quantity": quantity, "evaluated_on": levels.evaluated}
                | dict(zip(("env_steps", "mean", "low", "high", "seeds"), point, strict=True))
                for point in zip(grid, *mean_curve(found), strict=True)
            )
    return pd.DataFrame(rows)


def generalisation_json(group: Group) -> str:
    """All of it as JSON: the means, and each run with its numbers and curves; null stands for what is not known."""
    runs = []
    for run in with_held_out_levels(group):
        assert run.levels is not None
        ends = dict(zip(RETURNS, returns_of(run) if run.finished else (math.nan,) * 3, strict=True))
        steps, trained, held_out = run.steps, *_curves(run)
        runs.append(
            group.columns(run.context)
            | {"method": run.method, "seed": run.seed, "state": run.state, **run.levels._asdict(), **ends}
            | {
                "curve": dict(
                    zip(("env_steps", *CURVES), map(np.ndarray.tolist, (steps, trained, held_out)), strict=True)
                )
            }
        )
    plain = {"means": generalisation_data(group).to_dict("records"), "runs": runs}
    return json.dumps(_without_nan(plain), indent=1, allow_nan=False) + "\n"


def _curves(run: Run) -> tuple[Array, Array]:
    return run.train_returns, run.scores


def _alike(group: Group, tested: bool) -> list[tuple[Context, str, Levels, list[Run]]]:
    """The runs that are averaged: of one context and method, with the same levels, which are others than in training.

    Args:
        group: whose runs.
        tested: whether the levels of the test count, and so finished runs alone; else those of the evaluations.
    """
    found: dict[tuple[Context, str, Levels], list[Run]] = {}
    for run in with_held_out_levels(group):
        levels = run.levels
        assert levels is not None
        held_out = levels.tested if tested else levels.evaluated
        if held_out != levels.trained and (run.finished if tested else len(run.steps)):
            found.setdefault((run.context, run.method, levels), []).append(run)
    return [(*key, runs) for key, runs in found.items()]


def _without_nan(value: Any) -> Any:
    """Plain data with null in the place of what is no number, which JSON does not know."""
    if isinstance(value, dict):
        return {str(name): _without_nan(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
