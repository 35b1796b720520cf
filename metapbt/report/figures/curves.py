"""Learning curves: how each method's score grows with the steps of training, in each context."""

from __future__ import annotations

import math
import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metapbt.history import Context
from metapbt.report.figures.style import (
    SCORE_LABEL,
    STEPS_LABEL,
    TEXT_GREY,
    legend_handles,
    new_figure,
    steps_formatter,
)
from metapbt.report.groups import Group
from metapbt.report.palette import method_styles
from metapbt.report.statistics import common_grid, mean_curve, on_grid

COVERAGE_LINE_POINTS = 9.5


def curves_data(group: Group) -> pd.DataFrame:
    """Mean score and its interval over seeds, for each context, method and number of steps.

    ``seeds`` is the number of runs behind a point: fewer than elsewhere on the curve where some stopped
    earlier. A method without runs in a context has one row, whose status is ``missing``, or ``source`` where
    runs are only what others learned from.
    """
    rows: list[dict[str, object]] = []
    for context in group.contexts:
        for method in group.methods:
            runs = group.runs_of(context, method)
            status = group.coverage(context, method).text
            row = {**group.columns(context), "method": method}
            grid = common_grid([run.steps for run in runs])
            if len(grid) == 0:
                rows.append(row | {"seeds": 0, "status": status})
                continue
            scores = np.stack([on_grid(run.steps, run.scores, grid) for run in runs])
            curve = zip(grid, *mean_curve(scores), strict=True)
            rows.extend(
                row
                | {
                    "env_steps": steps,
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "seeds": seeds,
                    "status": status,
                }
                for steps, mean, low, high, seeds in curve
            )
    columns = [
        *group.columns(group.contexts[0]),
        "method",
        "env_steps",
        "mean",
        "low",
        "high",
        "seeds",
        "status",
    ]
    return pd.DataFrame(rows, columns=columns)


def draw_curves(group: Group, data: pd.DataFrame) -> Figure:
    """One panel for each context; the part of a curve that not all of its seeds have reached is dashed."""
    contexts = panel_order(group)
    columns = column_count(len(contexts))
    rows = math.ceil(len(contexts) / columns)
    figure = new_figure(max(2.9 * columns, 5.5), 2.35 * rows + 0.9)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, context in zip(panels, contexts, strict=False):
        _draw_panel(axes, group, context, data[data["context"] == group.labels[context]])
    low, high = score_limits(group)
    panels[0].set_ylim(low, high)
    for axes in panels[len(contexts) :]:
        axes.remove()
    for axes in panels[max(0, len(contexts) - columns) : len(contexts)]:
        # Shared axes label only the bottom row; a panel above a removed one needs its own labels.
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(STEPS_LABEL)
    figure.suptitle(f"{group.title}: learning curves")
    figure.supylabel(f"{SCORE_LABEL} (mean, 95% interval)", fontsize=9)
    figure.legend(handles=legend_handles(group.methods, line=True), loc="outside lower center", ncols=4)
    return figure


def score_limits(group: Group) -> tuple[float, float]:
    """The part of the axis that holds every score: bands of few seeds are far wider than what was seen."""
    scores = np.concatenate([run.scores for run in group.runs])
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return 0.0, 1.0
    low, high = float(scores.min()), float(scores.max())
    margin = 0.06 * (high - low or max(abs(high), 1.0))
    return low - margin, high + margin


def column_count(panels: int) -> int:
    """How many panels stand in a row: at most 4, fewer where that leaves less of the last row empty."""
    if panels <= 3:
        return panels
    return min((4, 3, 2), key=lambda columns: -panels % columns) if panels < 10 else 4


def panel_order(group: Group) -> list[Context]:
    """Contexts that several methods ran in come first; those of one method, such as sources, last."""

    def single_method(context: Context) -> bool:
        return len({run.method for run in group.runs if run.context == context}) < 2

    return sorted(group.contexts, key=single_method)


def _draw_panel(axes: Axes, group: Group, context: Context, data: pd.DataFrame) -> None:
    for method, style in method_styles(group.methods).items():
        curve = data[(data["method"] == method) & data["env_steps"].notna()]
        if curve.empty:
            continue
        steps, mean = curve["env_steps"].to_numpy(), curve["mean"].to_numpy()
        whole = curve["seeds"].to_numpy() == curve["seeds"].max()
        every = max(1, len(steps) // 8)
        axes.plot(steps, mean, color=style.color, linewidth=1, linestyle=":")
        axes.plot(
            steps,
            np.where(whole, mean, np.nan),
            color=style.color,
            linewidth=1.6,
            marker=style.marker,
            markersize=3.5,
            markevery=every,
        )
        axes.fill_between(
            steps,
            curve["low"].to_numpy(),
            curve["high"].to_numpy(),
            color=style.color,
            alpha=0.18,
            linewidth=0,
        )
    source = ", source" if context in group.sources else ""
    label = group.labels[context]
    name = f"{group.feature_label} = {label}" if len(group.features) == 1 else label
    coverage = textwrap.wrap(coverage_line(group, context), 44)
    axes.set_title(f"{name}{source}", loc="left", fontsize=9, pad=4 + COVERAGE_LINE_POINTS * len(coverage))
    axes.annotate(
        "\n".join(coverage),
        (0, 1),
        (0, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=7.5,
        color=TEXT_GREY,
    )
    axes.xaxis.set_major_formatter(steps_formatter())


def coverage_line(group: Group, context: Context) -> str:
    """How many seeds each method has in a context, methods with the same number together; of a source, who ran."""
    methods_with: dict[str, list[str]] = {}
    for method in group.methods:
        if group.only_source(context) and not group.runs_of(context, method):
            continue
        methods_with.setdefault(group.coverage(context, method).text, []).append(method)
    if len(methods_with) == 1 and not group.only_source(context):
        return next(iter(methods_with))
    return "; ".join(f"{', '.join(methods)}: {text}" for text, methods in methods_with.items())
