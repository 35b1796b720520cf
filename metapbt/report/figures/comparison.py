"""The comparison: each method over all contexts, and its differences from the baseline."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metapbt.log import counted
from metapbt.report.comparison import ALL_CONTEXTS, NORMALISED, POINTS, QUANTITIES, all_pairs
from metapbt.report.figures.style import TEXT_GREY, new_figure
from metapbt.report.groups import Group
from metapbt.report.palette import MethodStyle, method_styles


def draw_comparison(group: Group, data: pd.DataFrame, baseline: str | None = None) -> Figure:
    """Normalised means of the methods; below, where there are pairs, the differences from their baselines.

    In the middle those of every method, over all contexts; at the bottom those of the first one in each context.
    """
    pairs = [each for each in all_pairs(group, baseline) if each.runs]
    heights = [0.3 * len(group.methods) + 0.6]
    if pairs:
        heights += [0.26 * len(pairs) + 0.6, 0.24 * len(pairs[0].runs) + 0.6]
    figure = new_figure(8.0, sum(heights) + 1.1)
    panels = figure.subplots(len(heights), len(QUANTITIES), squeeze=False, height_ratios=heights, sharey="row")
    styles = method_styles(group.methods)
    one_baseline = len({each.baseline for each in pairs}) == 1
    for column, (quantity, label) in enumerate(QUANTITIES.items()):
        shown = data[data["quantity"] == quantity]
        _draw_methods(panels[0, column], shown, styles)
        panels[0, column].set_xlabel(f"{label}, normalised")
        differences = shown[shown["statistic"] == "difference"]
        if not pairs:
            continue
        unit = POINTS if all(each.pooled_unit == POINTS for each in pairs) else NORMALISED
        pooled = differences[(differences["context"] == ALL_CONTEXTS) & (differences["unit"] == unit)]
        pooled = pooled.assign(pair=pooled["method"] + " less " + pooled["baseline"])
        _draw_differences(panels[1, column], pooled, "method" if one_baseline else "pair", styles)
        panels[1, column].set_xlabel(f"difference in {label}" + ", normalised" * (unit == NORMALISED))
        first = differences[(differences["context"] != ALL_CONTEXTS) & (differences["method"] == pairs[0].method)]
        _draw_differences(panels[2, column], first, "context", styles)
        panels[2, column].set_xlabel(f"difference in {label}")
    if pairs:
        less = f"less {pairs[0].baseline}, " if one_baseline else ""
        panels[1, 0].set_title(f"{less}paired by context and seed", loc="left")
        panels[2, 0].set_title(f"{pairs[0].method} less {pairs[0].baseline} in each context", loc="left")
        panels[2, 0].set_ylabel(group.axis_label)
    several = "these methods" if len(group.methods) > 1 else "the method"
    compared = int(data.loc[data["statistic"] == "mean", "contexts"].max())
    panels[0, 0].set_title(
        f"over {counted(compared, 'context')} that {several} finished"
        if compared
        else f"no context that {several} finished",
        loc="left",
    )
    key = [
        Line2D([], [], color=TEXT_GREY, marker="o", markersize=6, label="mean, 95% interval"),
        Line2D([], [], color=TEXT_GREY, marker="o", markersize=5, linewidth=0.8, markerfacecolor="white", label="IQM"),
    ]
    figure.legend(handles=key, loc="outside lower center", ncols=2)
    figure.suptitle(f"{group.title}: comparison of methods")
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
            axes.text(0.02, row, words, transform=where, va="center", fontsize=8, color=TEXT_GREY)
    axes.set_yticks(range(len(means)), means["method"])
    axes.set_ylim(len(means) - 0.5, -0.5)


def _draw_differences(axes: Axes, data: pd.DataFrame, named: str, styles: Mapping[str, MethodStyle]) -> None:
    for row, line in enumerate(data.to_dict("records")):
        _draw_estimate(axes, row, line, styles[line["method"]])
    axes.axvline(0, color="0.4", linewidth=1)
    axes.set_yticks(range(len(data)), data[named], fontsize=8)
    axes.set_ylim(len(data) - 0.5, -0.5)


def _draw_estimate(axes: Axes, row: int, line: Mapping[Hashable, Any], style: MethodStyle) -> None:
    axes.plot(line["estimate"], row, marker=style.marker, color=style.color, markersize=6)
    axes.hlines(row, line["low"], line["high"], color=style.color, linewidth=2)
