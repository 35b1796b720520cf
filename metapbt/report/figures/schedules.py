"""Schedules: the hyperparameters that best agents were trained with, as they changed."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metapbt.errors import unknown_name
from metapbt.report.figures.curves import column_count
from metapbt.report.figures.style import (
    STEPS_LABEL,
    add_legend,
    contexts_in,
    legend_handles,
    methods_in,
    new_figure,
    steps_formatter,
    styled,
    text_size,
)
from metapbt.report.palette import MethodStyle, method_styles

#: Values whose largest is so many times the smallest are drawn on a logarithmic axis.
WIDE = 30.0


def first_context(data: pd.DataFrame) -> str:
    """The context that is shown where none is named: the first in which most methods have schedules."""
    methods = data.groupby("context", sort=False)["method"].nunique()
    return str(methods.idxmax())


@styled
def draw_schedules(data: pd.DataFrame, *, context: str | None = None, width: float | None = None) -> Figure:
    """A panel for each hyperparameter, a line for each run: the line of descent of its best agent, in one context.

    Args:
        data: with the columns ``context``, ``method``, ``seed``, ``env_steps``, ``hyperparameter`` and ``value``, as
            ``schedules.csv``.
        context: which one; the first in which most methods have schedules if None.
        width: in inches, of a figure for a paper; None for the page.

    Raises:
        MetapbtError: there is no such context.
    """
    if context is not None and context not in contexts_in(data):
        raise unknown_name("context", context, contexts_in(data))
    data = data[data["context"] == (first_context(data) if context is None else context)]
    names = list(dict.fromkeys(data["hyperparameter"]))
    columns = column_count(len(names), 3 if width is None else max(1, int(width / 1.7)))
    rows = math.ceil(len(names) / columns)
    panel = 2.7 if width is None else width / columns
    figure = new_figure(max(5.5, panel * columns) if width is None else width, rows * max(1.2, 0.62 * panel) + 0.7)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).flatten()
    styles = method_styles(methods_in(data))
    for axes, name in zip(panels, names, strict=False):
        _draw_panel(axes, data[data["hyperparameter"] == name], styles)
        axes.set_title(name, loc="left", fontsize=text_size(9))
    for axes in panels[len(names) :]:
        axes.remove()
    for axes in panels[max(0, len(names) - columns) : len(names)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel(STEPS_LABEL, fontsize=text_size(9))
    add_legend(figure, legend_handles(methods_in(data), line=True))
    return figure


def _draw_panel(axes: Axes, data: pd.DataFrame, styles: Mapping[str, MethodStyle]) -> None:
    values = data["value"].to_numpy(dtype=np.float64)
    if len(values) and values.min() > 0 and values.max() > WIDE * values.min():
        axes.set_yscale("log")
    for method, style in styles.items():
        for _, run in data[data["method"] == method].groupby("seed"):
            # A value holds from the end of the interval before to that of its own.
            steps = np.concatenate([[0.0], run["env_steps"].to_numpy(dtype=np.float64)])
            held = run["value"].to_numpy(dtype=np.float64)
            axes.plot(
                steps,
                np.concatenate([held[:1], held]),
                drawstyle="steps-pre",
                color=style.color,
                linestyle=style.linestyle,
                linewidth=1.1,
                alpha=0.8,
                marker=style.marker,
                markersize=3,
                markevery=(len(held), 1),
            )
    axes.xaxis.set_major_formatter(steps_formatter())
