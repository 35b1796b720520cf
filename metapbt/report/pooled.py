"""Normalised scores of methods in the contexts that they share: what profiles and efficiency curves are made of."""

from __future__ import annotations

import numpy as np

from metapbt.report.comparison import compared_contexts, finished_runs, score_ranges
from metapbt.report.groups import Group
from metapbt.report.run import Run
from metapbt.report.statistics import Array, on_grid

#: Points of an efficiency curve.
POINTS = 41


def compared_runs(group: Group) -> dict[str, list[list[Run]]]:
    """The finished runs of each compared method, a list for each of the contexts that all of them finished."""
    contexts, methods = compared_contexts(group)
    return {name: [finished_runs(group, context, name) for context in contexts] for name in methods if contexts}


def normalised_scores(group: Group, quantity: str) -> dict[str, list[Array]]:
    """The runs' ``final`` returns or ``area`` as strata, 0 the worst and 1 the best score of a context."""
    ranges = score_ranges(group)
    return {
        method: [
            ranges[of[0].context].share(
                np.array([getattr(run, quantity) for run in of], dtype=np.float64) - ranges[of[0].context].worst
            )
            for of in runs
        ]
        for method, runs in compared_runs(group).items()
    }


def normalised_curves(group: Group) -> tuple[Array, dict[str, list[Array]]]:
    """A grid of steps that all these runs trained, and of each method the strata ``(runs, points)`` of its scores."""
    runs, ranges = compared_runs(group), score_ranges(group)
    everybody = [run for of_method in runs.values() for of in of_method for run in of]
    if not everybody:
        return np.empty(0), {}
    known = [run.steps[~np.isnan(run.scores)] for run in everybody]
    first, last = max(steps[0] for steps in known), min(steps[-1] for steps in known)
    grid = np.linspace(first, last, POINTS) if last > first else np.array([last])
    return grid, {
        method: [
            ranges[of[0].context].share(
                np.stack([on_grid(*_known(run), grid) for run in of]) - ranges[of[0].context].worst
            )
            for of in strata
        ]
        for method, strata in runs.items()
    }


def _known(run: Run) -> tuple[Array, Array]:
    there = ~np.isnan(run.scores)
    return run.steps[there], run.scores[there]
