"""Final returns: where each method ends up, for each context and seed."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metapbt.report.comparison import areas_in
from metapbt.report.figures.by_context import draw_means
from metapbt.report.figures.style import SCORE_LABEL, styled
from metapbt.report.groups import Group
from metapbt.report.statistics import mean_estimate

SUMMARY_COLUMNS = ["method", "mean", "low", "high", "seeds", "finished", "expected", "status"]
RUN_COLUMNS = ["method", "seed", "state", "generations", "generations_planned", "env_steps", "score", "area"]


def final_data(group: Group, quantity: str = "final") -> pd.DataFrame:
    """Mean final return with its interval over seeds, for each context and method; or, of ``area``, the mean of that.

    Only finished runs count: the score of a run that is still going is not final. ``seeds`` counts runs of
    any state, ``finished`` those behind the mean, ``expected`` the seeds that the group has anywhere.
    """
    rows = []
    for context in group.contexts:
        areas = areas_in(group, context) if quantity == "area" else {}
        for method in group.methods:
            finished = [run for run in group.runs_of(context, method) if run.finished]
            scores = [areas.get(run.path, run.final) for run in finished]
            mean, low, high = mean_estimate(np.array(scores, dtype=np.float64))
            coverage = group.coverage(context, method)
            counts = (coverage.found, coverage.finished, coverage.expected, coverage.text)
            rows.append(
                group.columns(context) | dict(zip(SUMMARY_COLUMNS, (method, mean, low, high, *counts), strict=True))
            )
    return pd.DataFrame(rows)


def runs_data(group: Group) -> pd.DataFrame:
    """One row for each context, method and seed: final return, area under the curve (`areas_in`) and state."""
    rows = []
    for context in group.contexts:
        areas = areas_in(group, context)
        for method in group.methods:
            for run in group.runs_of(context, method):
                steps = run.steps[-1] if len(run.steps) else math.nan
                planned = run.generations_planned
                values = (method, run.seed, run.state, len(run.steps), planned, steps, run.final, areas[run.path])
                rows.append(group.columns(context) | dict(zip(RUN_COLUMNS, values, strict=True)))
            rows.extend(
                group.columns(context) | {"method": method, "seed": seed, "state": "missing"}
                for seed in group.missing_seeds(context, method)
            )
    return pd.DataFrame(rows, columns=[*group.columns(group.contexts[0]), *RUN_COLUMNS])


@styled
def draw_final(
    summary: pd.DataFrame, runs: pd.DataFrame, *, feature: str | None = None, width: float | None = None
) -> Figure:
    """Mean final returns with intervals and every seed beside them; hollow points are runs that have not finished.

    Args:
        summary: as ``final.csv``: a row for each context and method.
        runs: as ``final_runs.csv``: a row for each run, ``score`` being its final return.
        feature: what the contexts differ in; the columns between ``learner`` and ``context`` if None.
        width: in inches, of a figure for a paper; None for the page.
    """
    return draw_means(summary, runs, "score", f"final {SCORE_LABEL} (mean, 95% interval)", feature, width)
