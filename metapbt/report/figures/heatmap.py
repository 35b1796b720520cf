"""The heat map: score by context (rows) and steps of training (columns), one panel for each method."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from metapbt.report.figures.style import (
    MISSING_GREY,
    SCORE_LABEL,
    STEPS_LABEL,
    TEXT_GREY,
    color_scale,
    contexts_in,
    feature_in,
    methods_in,
    new_figure,
    steps_formatter,
    styled,
    text_inches,
    text_size,
    wrapped,
)
from metapbt.report.groups import Group
from metapbt.report.palette import SOURCE_GREY
from metapbt.report.statistics import Array, common_grid, mean_curve, on_grid

MOST_PANELS_IN_A_ROW = 5
LEAST_PANEL = 1.1  # inches
COLOR_MAP = "viridis"


def heatmap_data(group: Group) -> pd.DataFrame:
    """Mean score over seeds in each cell, all methods and contexts on one grid of steps.

    ``source`` tells the contexts that a method with a memory learned from. A method without runs in a
    context has one row, whose status is ``missing`` or, in a source, ``source``.
    """
    grid = common_grid([run.steps for run in group.runs])
    rows: list[dict[str, object]] = []
    for context in group.contexts:
        for method in group.methods:
            runs = group.runs_of(context, method)
            row = {
                **group.columns(context),
                "source": context in group.sources,
                "method": method,
                "status": group.coverage(context, method).text,
            }
            if not any(len(run.steps) for run in runs):
                rows.append(row | {"seeds": 0})
                continue
            scores = np.stack([on_grid(run.steps, run.scores, grid) for run in runs])
            mean, _, _, seeds = mean_curve(scores)
            rows.extend(
                row | {"env_steps": steps, "mean": value, "seeds": count}
                for steps, value, count in zip(grid, mean, seeds, strict=True)
            )
    return pd.DataFrame(rows).reindex(
        columns=[
            *group.columns(group.contexts[0]),
            "source",
            "method",
            "env_steps",
            "mean",
            "seeds",
            "status",
        ]
    )


@styled
def draw_heatmap(data: pd.DataFrame, *, feature: str | None = None, width: float | None = None) -> Figure:
    """All methods side by side on one colour scale; the rows of source contexts are marked in grey.

    Args:
        data: with the columns ``context``, ``method``, ``env_steps`` and ``mean``, as ``heatmap.csv``; ``source`` and
            ``status`` may be there.
        feature: what the contexts differ in; the columns between ``learner`` and ``context`` if None.
        width: in inches, of a figure for a paper; None for the page.
    """
    contexts, methods = contexts_in(data), methods_in(data)
    labels = max(map(text_inches, contexts)) + 0.3
    fitting = MOST_PANELS_IN_A_ROW if width is None else max(1, int((width - labels - 0.75) / LEAST_PANEL))
    columns = min(len(methods), fitting)
    rows = math.ceil(len(methods) / columns)
    columns = math.ceil(len(methods) / rows)
    height = max(1.8 if width is None else 1.3, (0.27 if width is None else 0.17) * len(contexts) + 0.5)
    figure = new_figure(max(6.0, 2.3 * columns + 2.0) if width is None else width, rows * height + 0.6)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    colors, beyond = color_scale(data["mean"])
    sources = set(data.loc[data["source"].astype(bool), "context"]) if "source" in data else set()
    for axes, method in zip(panels, methods, strict=False):
        _draw_panel(axes, data[data["method"] == method], contexts, sources, colors)
        axes.set_title(method)
    for axes in panels[len(methods) :]:
        axes.remove()
    for axes in panels[max(0, len(methods) - columns) : len(methods)]:
        axes.tick_params(labelbottom=True)
    label = wrapped(f"mean {SCORE_LABEL} over seeds", rows * height)
    beside = panels[: len(methods)].tolist()
    scale = ScalarMappable(colors, COLOR_MAP)
    figure.colorbar(scale, ax=beside, label=label, aspect=30, ticks=MaxNLocator(6), extend=beyond)
    below = wrapped(STEPS_LABEL + "; grey bar: source context" * bool(sources), figure.get_figwidth())
    figure.supxlabel(below, fontsize=text_size(9))
    figure.supylabel(feature_in(data) if feature is None else feature, fontsize=text_size(9))
    return figure


def cell_edges(grid: Array) -> Array:
    """Borders of the cells ``(points + 1,)``: each cell spans the steps trained since the score before."""
    return np.concatenate([[0.0], grid])


def _draw_panel(axes: Axes, data: pd.DataFrame, contexts: list[str], sources: set[str], colors: Normalize) -> None:
    grid = np.unique(data["env_steps"].dropna())
    axes.grid(False)
    axes.set_facecolor("#f2f2f2")  # what no run has reached yet
    for row, context in enumerate(contexts):
        cells = data[data["context"] == context]
        scores = cells.dropna(subset="env_steps").set_index("env_steps")["mean"].reindex(grid)
        if scores.notna().any():
            axes.pcolormesh(
                cell_edges(grid),
                [row - 0.5, row + 0.5],
                np.ma.masked_invalid(scores.to_numpy()[None, :]),
                cmap=COLOR_MAP,
                norm=colors,
                rasterized=True,
            )
        else:
            _say_why_not(axes, row, cells)
        if context in sources:  # a bar along the left edge
            _draw_row(axes, row, width=0.025, facecolor=SOURCE_GREY, edgecolor="white", linewidth=0.5, zorder=5)
    axes.set_yticks(range(len(contexts)), contexts, fontsize=text_size(8))
    axes.set_ylim(-0.5, len(contexts) - 0.5)
    axes.xaxis.set_major_formatter(steps_formatter())
    axes.margins(x=0)


def _say_why_not(axes: Axes, row: int, cells: pd.DataFrame) -> None:
    status = cells["status"].iloc[0] if len(cells) and "status" in cells else "missing"
    missing = status == "missing"
    if missing:  # expected, and not there
        _draw_row(axes, row, facecolor=MISSING_GREY, edgecolor="white", hatch="////", linewidth=0)
    axes.text(
        0.5,
        row,
        status if status in ("missing", "source") else "no score yet",
        transform=axes.get_yaxis_transform(),
        ha="center",
        va="center",
        fontsize=text_size(7.5),
        color=TEXT_GREY if missing else SOURCE_GREY,
        bbox={"facecolor": MISSING_GREY, "edgecolor": "none", "pad": 1.0} if missing else None,
    )


def _draw_row(axes: Axes, row: int, width: float = 1.0, **appearance: Any) -> None:
    axes.add_patch(Rectangle((0, row - 0.5), width, 1, transform=axes.get_yaxis_transform(), **appearance))
