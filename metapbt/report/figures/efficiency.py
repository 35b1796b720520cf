"""Sample efficiency: the interquartile mean over all contexts and runs by steps (Agarwal et al., 2021)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metapbt.report.comparison import compared_runs, score_ranges
from metapbt.report.figures.style import (
    STEPS_LABEL,
    add_legend,
    legend_handles,
    methods_in,
    new_figure,
    steps_formatter,
    styled,
)
from metapbt.report.groups import Group
from metapbt.report.palette import method_styles
from metapbt.report.profiles import sample_efficiency
from metapbt.report.statistics import Array, on_grid, shared_steps

POINTS = 41
COLUMNS = ["env", "learner", "method", "env_steps", "iqm", "low", "high", "contexts", "runs"]


def efficiency_data(group: Group) -> pd.DataFrame:
    """The interquartile mean of normalised scores with its 95% interval, at 41 numbers of steps that all runs trained.

    Of finished runs in the contexts that all compared methods finished; no interval with fewer than three contexts.
    """
    grid, curves = normalised_curves(group)
    rows = [
        (group.env, group.learner, method, *point, len(strata), sum(map(len, strata)))
        for method, strata in curves.items()
        for point in zip(grid, *sample_efficiency(strata), strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def normalised_curves(group: Group) -> tuple[Array, dict[str, list[Array]]]:
    """A grid of steps that all these runs trained, and of each method the strata ``(runs, points)`` of its scores."""
    runs, ranges = compared_runs(group), score_ranges(group)
    everybody = [run for of_method in runs.values() for of in of_method for run in of]
    if not everybody:
        return np.empty(0), {}
    first, last = shared_steps([run.curve[0] for run in everybody])
    grid = np.linspace(first, last, POINTS) if last > first else np.array([last])
    return grid, {
        method: [
            ranges[of[0].context].share(
                np.stack([on_grid(*run.curve, grid) for run in of]) - ranges[of[0].context].worst
            )
            for of in strata
        ]
        for method, strata in runs.items()
    }


@styled
def draw_efficiency(data: pd.DataFrame, *, width: float | None = None) -> Figure:
    """A curve for each method, over all contexts at once.

    Args:
        data: with the columns ``method``, ``env_steps``, ``iqm``, ``low`` and ``high``, as ``efficiency.csv``.
        width: in inches, of a figure for a paper; None for the page.
    """
    figure = new_figure(5.5 if width is None else width, 3.4 if width is None else min(3.4, max(1.9, 0.5 * width)))
    axes = figure.subplots()
    for method, style in method_styles(methods_in(data)).items():
        curve = data[data["method"] == method]
        line: dict[str, Any] = {"color": style.color, "linewidth": 1.5, "linestyle": style.linestyle}
        every = max(1, len(curve) // 6)
        axes.plot(curve["env_steps"], curve["iqm"], marker=style.marker, markersize=4, markevery=every, **line)
        axes.fill_between(curve["env_steps"], curve["low"], curve["high"], color=style.color, alpha=0.15, linewidth=0)
    axes.set_ylim(min(-0.02, float(data["iqm"].min())), max(1.02, float(data["iqm"].max())))
    axes.xaxis.set_major_formatter(steps_formatter())
    axes.set_xlabel(STEPS_LABEL)
    interval = " (95% interval)" if data["low"].notna().any() else ""
    axes.set_ylabel(f"IQM of normalised return{interval}")
    add_legend(figure, legend_handles(methods_in(data), line=True))
    return figure
