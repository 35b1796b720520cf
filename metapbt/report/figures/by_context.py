"""Numbers of runs by context and method: contexts side by side, in each the methods, beside a mean its seeds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metapbt.report.figures.style import (
    TEXT_GREY,
    add_legend,
    context_rows,
    contexts_in,
    feature_in,
    legend_handles,
    methods_in,
    text_size,
)
from metapbt.report.palette import SOURCE_GREY, MethodStyle, method_styles


def draw_means(
    summary: pd.DataFrame, runs: pd.DataFrame, column: str, label: str, feature: str | None, width: float | None
) -> Figure:
    """Means with intervals and every seed beside them; hollow points are runs that have not finished.

    Args:
        summary: of each context and method ``mean``, ``low``, ``high``, ``seeds``, ``finished``, ``expected`` and
            ``status``.
        runs: of each context, method and seed its ``state`` and
        column: the number that is shown.
        label: of the vertical axis.
        feature: what contexts differ in; None for what the columns of ``summary`` say.
        width: in inches, or None for the page.
    """
    contexts, methods = contexts_in(summary), methods_in(summary)
    cells = {(cell["context"], cell["method"]): cell for cell in summary.to_dict("records")}
    step = 0.8 / len(methods)
    feature = feature_in(summary) if feature is None else feature
    figure, rows = context_rows(contexts, len(methods), feature, width, 2.6 if width is None else 1.75)
    for axes, of_row in rows:
        for index, (method, style) in enumerate(method_styles(methods).items()):
            for position, context in enumerate(of_row):
                x = position + (index - (len(methods) - 1) / 2) * step
                seeds = runs[(runs["context"] == context) & (runs["method"] == method) & runs[column].notna()]
                if (context, method) in cells:
                    _draw_cell(axes, x, step, style, cells[context, method], seeds, column)
        for position, context in enumerate(of_row):
            if any(cells[context, method]["status"] == "source" for method in methods if (context, method) in cells):
                place, size = axes.get_xaxis_transform(), text_size(6.5)
                axes.text(position, 0.01, "source", transform=place, ha="center", color=SOURCE_GREY, fontsize=size)
    bottom, top = rows[0][0].get_ylim()
    rows[0][0].set_ylim(bottom - 0.09 * (top - bottom), top)  # room for the marks of what is missing
    if len(rows) == 1:
        rows[0][0].set_ylabel(label)
    else:
        figure.supylabel(label, fontsize=text_size(9))
    add_legend(figure, [*legend_handles(methods, line=False), *_key(summary, runs, column)])
    return figure


def _draw_cell(
    axes: Axes,
    x: float,
    step: float,
    style: MethodStyle,
    cell: Mapping[Hashable, Any],
    seeds: pd.DataFrame,
    column: str,
) -> None:
    if cell["status"] == "source":
        return
    where = axes.get_xaxis_transform()
    if cell["status"] == "missing":
        axes.plot(x, 0.025, marker="x", color=style.color, markersize=6, transform=where, clip_on=False)
        return
    finished = seeds["state"] == "done"
    for points, face in ((seeds[finished], style.color), (seeds[~finished], "none")):
        axes.plot(
            np.full(len(points), x + step * 0.22),
            points[column],
            linestyle="",
            marker="o",
            markersize=3,
            markerfacecolor=face,
            markeredgecolor=style.color,
            markeredgewidth=0.6,
            alpha=0.6 if face == style.color else 1,
        )
    if pd.notna(cell["mean"]):
        axes.plot(x - step * 0.1, cell["mean"], marker=style.marker, color=style.color, markersize=5)
        axes.vlines(x - step * 0.1, cell["low"], cell["high"], color=style.color, linewidth=1.6)
    if cell["finished"] < cell["expected"]:
        text = f"{cell['finished']}/{cell['expected']}"
        axes.annotate(text, (x, 0.01), xycoords=where, ha="center", fontsize=text_size(6.5), color=TEXT_GREY)


def _key(summary: pd.DataFrame, runs: pd.DataFrame, column: str) -> list[Line2D]:
    """Legend entries for the marks that this figure really has."""
    key = [Line2D([], [], linestyle="", marker="o", markersize=3, alpha=0.6, color=TEXT_GREY, label="one seed")]
    if (runs[column].notna() & (runs["state"] != "done")).any():
        hollow = Line2D([], [], linestyle="", marker="o", markersize=3, markerfacecolor="none", color=TEXT_GREY)
        hollow.set_label("seed not finished")
        key.append(hollow)
    if (summary["status"] == "missing").any():
        key.append(Line2D([], [], linestyle="", marker="x", color=TEXT_GREY, label="missing"))
    if ((summary["finished"] < summary["expected"]) & (summary["seeds"] > 0)).any():
        key.append(Line2D([], [], linestyle="", label="2/3: seeds finished"))
    return key
