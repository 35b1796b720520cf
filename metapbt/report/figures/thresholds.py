"""Steps to a threshold: how long each run took to score so much."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metapbt.report.comparison import finished_runs
from metapbt.report.figures.style import (
    SCORE_LABEL,
    STEPS_LABEL,
    TEXT_GREY,
    add_legend,
    context_rows,
    contexts_in,
    feature_in,
    legend_handles,
    methods_in,
    steps_formatter,
    styled,
    text_size,
)
from metapbt.report.groups import Group
from metapbt.report.palette import MethodStyle, method_styles
from metapbt.report.profiles import median_steps, steps_to_threshold

#: Of the way from the worst to the best score of a context, where nobody names a threshold.
SHARE = 0.75
COLUMNS = ["method", "seed", "threshold", "reached", "steps_to_threshold", "env_steps"]


def thresholds_data(group: Group, threshold: float | None = None) -> pd.DataFrame:
    """A row for each finished run: after how many steps of each member its score first reached a threshold.

    Contexts that only one method ran in are left out, and without a named threshold those where no score ever changed.

    Args:
        group: whose runs.
        threshold: in points of return, the same in all contexts; if None, three quarters of the way from the worst to
            the best score that any finished run had in the context in training; test returns are of other episodes.
    """
    rows: list[dict[str, object]] = []
    for context in group.contexts:
        runs = [run for method in group.methods for run in finished_runs(group, context, method)]
        if not runs or len({run.method for run in runs}) < min(2, len(group.methods)):
            continue
        scores = np.concatenate([run.curve[1] for run in runs])
        worst, best = float(scores.min()), float(scores.max())
        if threshold is None and worst == best:
            continue
        least = worst + SHARE * (best - worst) if threshold is None else threshold
        for run in runs:
            steps = steps_to_threshold(run.steps, run.scores, least)
            reached = math.isfinite(steps)
            values = (run.method, run.seed, least, reached, steps if reached else math.nan, run.steps[-1])
            rows.append(group.columns(context) | dict(zip(COLUMNS, values, strict=True)))
    return pd.DataFrame(rows, columns=[*group.columns(group.contexts[0]), *COLUMNS])


@styled
def draw_thresholds(data: pd.DataFrame, *, feature: str | None = None, width: float | None = None) -> Figure:
    """Of each context and method the median over runs, and each run; runs that never got there stand at the top.

    Args:
        data: with the columns ``context``, ``method``, ``threshold``, ``reached`` and ``steps_to_threshold``, as
            ``thresholds.csv``.
        feature: what the contexts differ in; the columns between ``learner`` and ``context`` if None.
        width: in inches, of a figure for a paper; None for the page.
    """
    contexts, methods = contexts_in(data), methods_in(data)
    never = 1.12 * float(np.nan_to_num(data["steps_to_threshold"].to_numpy(dtype=np.float64), nan=0.0).max() or 1.0)
    step, some = 0.8 / len(methods), not data["reached"].all()
    feature = feature_in(data) if feature is None else feature
    figure, rows = context_rows(contexts, len(methods), feature, width, 2.4 if width is None else 1.75)
    for axes, of_row in rows:
        for index, (method, style) in enumerate(method_styles(methods).items()):
            for position, context in enumerate(of_row):
                x = position + (index - (len(methods) - 1) / 2) * step
                cell = data[(data["context"] == context) & (data["method"] == method)]
                if len(cell):
                    _draw_cell(axes, x, step, style, cell, never)
        if some:
            axes.axhline(never, color="0.75", linewidth=0.8, linestyle=":")
            place, size = axes.get_yaxis_transform(), text_size(7.5)
            axes.text(
                0.995, never * 1.01, "not reached", transform=place, ha="right", va="bottom", size=size, color="0.4"
            )
        axes.yaxis.set_major_formatter(steps_formatter())
    rows[0][0].set_ylim(0, never * (1.12 if some else 1.0))
    thresholds = data["threshold"].unique()
    which = f"{SCORE_LABEL} {thresholds[0]:.4g}" if len(thresholds) == 1 else f"{SHARE:.0%} of the range"
    label = f"{STEPS_LABEL.removeprefix('environment ')}\nto {which}"
    if len(rows) == 1:
        rows[0][0].set_ylabel(label)
    else:
        figure.supylabel(label.replace("\n", " "), fontsize=text_size(9))
    one = Line2D([], [], linestyle="", marker="o", markersize=3, alpha=0.6, color=TEXT_GREY, label="one run")
    median = Line2D([], [], linestyle="-", linewidth=2, color=TEXT_GREY, label="median")
    add_legend(figure, [*legend_handles(methods, line=False), median, one])
    return figure


def _draw_cell(axes: Axes, x: float, step: float, style: MethodStyle, cell: pd.DataFrame, never: float) -> None:
    steps = cell["steps_to_threshold"].to_numpy(dtype=np.float64)
    reached = cell["reached"].to_numpy(dtype=bool)
    spread = np.linspace(-0.18, 0.18, len(cell)) * step if len(cell) > 1 else np.zeros(1)
    look: dict[str, Any] = {
        "linestyle": "",
        "marker": style.marker,
        "markersize": 4,
        "color": style.color,
        "markeredgewidth": 0.7,
    }
    axes.plot((x + spread)[reached], steps[reached], alpha=0.65, **look)
    axes.plot((x + spread)[~reached], np.full((~reached).sum(), never), markerfacecolor="none", **look)
    middle = min(median_steps(np.where(reached, steps, math.inf)), never)
    axes.hlines(middle, x - 0.34 * step, x + 0.34 * step, color=style.color, linewidth=2)
