"""The comparison: each method over all contexts, and its differences from the baseline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metapbt.log import counted
from metapbt.report.comparison import ALL_CONTEXTS, NORMALISED, POINTS, QUANTITIES
from metapbt.report.figures.style import (
    TEXT_GREY,
    add_legend,
    methods_in,
    new_figure,
    quantity_label,
    styled,
    text_inches,
    text_size,
    wrapped,
)
from metapbt.report.palette import MethodStyle, method_styles


@styled
def draw_comparison(data: pd.DataFrame, *, feature: str | None = None, width: float | None = None) -> Figure:
    """Normalised means of the methods; below, where there are pairs that differ, the differences from their baselines.

    In the middle those of every method, over all contexts; at the bottom those of the first one in each context.

    Args:
        data: as ``comparison.csv``.
        feature: what the contexts differ in.
        width: in inches, of a figure for a paper; None for the page.
    """
    methods = methods_in(data)
    differences = data[data["statistic"] == "difference"]
    if not differences["estimate"].fillna(0.0).any():  # nothing to see on an axis
        differences = differences.iloc[:0]
    pairs = differences[["method", "baseline"]].drop_duplicates()
    first = differences[differences["context"] != ALL_CONTEXTS]
    if len(pairs):
        first = first[(first["method"] == pairs["method"].iloc[0]) & (first["baseline"] == pairs["baseline"].iloc[0])]
    row = 1.0 if width is None else 0.72
    heights = [row * (0.3 * len(methods)) + 0.6]
    if len(pairs):
        heights += [row * 0.26 * len(pairs) + 0.6, row * 0.24 * (len(first) / len(QUANTITIES)) + 0.6]
    names = max(map(text_inches, [*methods, *first["context"].astype(str)]))
    inches = max(8.0, names + 6.0) if width is None else width
    room = inches - names - 0.4
    panel = room / len(QUANTITIES)
    figure = new_figure(inches, sum(heights) + 0.6)
    panels = figure.subplots(len(heights), len(QUANTITIES), squeeze=False, height_ratios=heights, sharey="row")
    styles = method_styles(methods)

    def title(axes: Axes, text: str) -> None:
        axes.set_title(wrapped(text, room), loc="left")

    one_baseline = pairs["baseline"].nunique() == 1
    unit = POINTS if bool(differences["alike"].all()) else NORMALISED
    for column, quantity in enumerate(QUANTITIES):
        label = quantity_label(quantity, width)
        shown = data[data["quantity"] == quantity]
        _draw_methods(panels[0, column], shown, styles)
        panels[0, column].set_xlabel(wrapped(f"{label}, normalised", panel))
        if not len(pairs):
            continue
        of_quantity = differences[differences["quantity"] == quantity]
        pooled = of_quantity[(of_quantity["context"] == ALL_CONTEXTS) & (of_quantity["unit"] == unit)]
        pooled = pooled.assign(pair=pooled["method"] + " minus " + pooled["baseline"])
        _draw_differences(panels[1, column], pooled, "method" if one_baseline else "pair", styles)
        panels[1, column].set_xlabel(wrapped(f"difference in {label}" + ", normalised" * (unit == NORMALISED), panel))
        _draw_differences(panels[2, column], first[first["quantity"] == quantity], "context", styles)
        panels[2, column].set_xlabel(wrapped(f"difference in {label}", panel))
    for axes in panels.flat:
        axes.locator_params("x", nbins=max(2, min(6, int(1.7 * panel))))
    if len(pairs):
        minus = f"minus {pairs['baseline'].iloc[0]}, " if one_baseline else ""
        title(panels[1, 0], f"{minus}paired by context and seed")
        title(panels[2, 0], f"{pairs['method'].iloc[0]} minus {pairs['baseline'].iloc[0]} in each context")
        panels[2, 0].set_ylabel(feature or "")
    several = "these methods" if len(methods) > 1 else "the method"
    compared = int(data.loc[data["statistic"] == "mean", "contexts"].max())
    over = f"over {counted(compared, 'context')}" if compared else "no context"
    title(panels[0, 0], f"{over} that {several} finished")
    mean = Line2D([], [], color=TEXT_GREY, marker="o", markersize=6, label="mean, 95% interval")
    hollow = Line2D([], [], color=TEXT_GREY, marker="o", markersize=5, linewidth=0.8, markerfacecolor="white")
    hollow.set_label("IQM")
    add_legend(figure, [mean, hollow])
    return figure


def _draw_methods(axes: Axes, data: pd.DataFrame, styles: Mapping[str, MethodStyle]) -> None:
    normalised = data[data["unit"] == NORMALISED]
    means, iqms = (normalised[normalised["statistic"] == name] for name in ("mean", "iqm"))
    for row, (mean, iqm) in enumerate(zip(means.to_dict("records"), iqms.to_dict("records"), strict=True)):
        style = styles[mean["method"]]
        _draw_estimate(axes, row, mean, style)
        axes.hlines(row + 0.25, iqm["low"], iqm["high"], color=style.color, linewidth=0.8)
        axes.plot(
            iqm["estimate"], row + 0.25, marker=style.marker, color=style.color, markersize=5, markerfacecolor="white"
        )
        if not mean["contexts"]:
            where = axes.get_yaxis_transform()
            words = "not in the shared contexts"
            axes.text(0.02, row, words, transform=where, va="center", fontsize=text_size(8), color=TEXT_GREY)
    axes.set_yticks(range(len(means)), means["method"])
    axes.set_ylim(len(means) - 0.5, -0.5)


def _draw_differences(axes: Axes, data: pd.DataFrame, named: str, styles: Mapping[str, MethodStyle]) -> None:
    for row, line in enumerate(data.to_dict("records")):
        _draw_estimate(axes, row, line, styles[line["method"]])
    axes.axvline(0, color="0.4", linewidth=1)
    if not np.nan_to_num(data[["estimate", "low", "high"]].to_numpy(dtype=np.float64)).any():
        axes.set_xlim(-1, 1)  # not an axis of hundredths around nothing
        axes.text(0.5, 0.5, "all equal", transform=axes.transAxes, ha="center", va="center", color=TEXT_GREY)
        axes.set_xticks([0])
    axes.set_yticks(range(len(data)), data[named], fontsize=text_size(8))
    axes.set_ylim(len(data) - 0.5, -0.5)


def _draw_estimate(axes: Axes, row: int, line: Mapping[Hashable, Any], style: MethodStyle) -> None:
    axes.plot(line["estimate"], row, marker=style.marker, color=style.color, markersize=6)
    axes.hlines(row, line["low"], line["high"], color=style.color, linewidth=2)
