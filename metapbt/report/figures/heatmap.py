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

from metapbt.report.figures.style import (
    MISSING_GREY,
    SCORE_LABEL,
    STEPS_LABEL,
    TEXT_GREY,
    new_figure,
    steps_formatter,
)
from metapbt.report.groups import Group
from metapbt.report.palette import SOURCE_GREY
from metapbt.report.statistics import Array, common_grid, mean_curve, on_grid

MOST_PANELS_IN_A_ROW = 5
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


def draw_heatmap(group: Group, data: pd.DataFrame) -> Figure:
    """All methods side by side on one colour scale; the rows of source contexts are framed."""
    contexts, methods = list(group.labels.values()), group.methods
    columns = min(len(methods), MOST_PANELS_IN_A_ROW)
    rows = math.ceil(len(methods) / columns)
    height = max(1.8, 0.27 * len(contexts) + 0.5)
    figure = new_figure(max(6.0, 2.3 * columns + 2.0), rows * height + 1.1)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    known = data["mean"].dropna()
    colors = Normalize(known.min(), known.max())
    for axes, method in zip(panels, methods, strict=False):
        _draw_panel(axes, data[data["method"] == method], contexts, colors)
        axes.set_title(method)
    for axes in panels[len(methods) :]:
        axes.remove()
    label = f"mean {SCORE_LABEL} over seeds"
    figure.colorbar(ScalarMappable(colors, COLOR_MAP), ax=panels[: len(methods)].tolist(), label=label, aspect=30)
    framed = "; framed: source contexts" if group.sources else ""
    figure.suptitle(f"{group.title}: {SCORE_LABEL} by context{framed}")
    figure.supxlabel(STEPS_LABEL, fontsize=9)
    figure.supylabel(group.axis_label, fontsize=9)
    return figure


def cell_edges(grid: Array) -> Array:
    """Borders of the cells ``(points + 1,)``: each cell spans the steps trained since the score before."""
    return np.concatenate([[0.0], grid])


def _draw_panel(axes: Axes, data: pd.DataFrame, contexts: list[str], colors: Normalize) -> None:
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
            _draw_row_frame(axes, row, facecolor=MISSING_GREY, edgecolor="white", hatch="////", linewidth=0)
            status = cells["status"].iloc[0]
            text = status if status in ("missing", "source") else "no score yet"
            box = {"facecolor": MISSING_GREY, "edgecolor": "none", "pad": 1.0}
            axes.text(
                0.5,
                row,
                text,
                transform=axes.get_yaxis_transform(),
                ha="center",
                va="center",
                fontsize=7.5,
                color=TEXT_GREY,
                bbox=box,
            )
    for row, context in enumerate(contexts):
        if data.loc[data["context"] == context, "source"].any():
            _draw_row_frame(axes, row, fill=False, edgecolor=SOURCE_GREY, linewidth=1.8, clip_on=False, zorder=5)
    axes.set_yticks(range(len(contexts)), contexts, fontsize=8)
    axes.set_ylim(-0.5, len(contexts) - 0.5)
    axes.xaxis.set_major_formatter(steps_formatter())
    axes.margins(x=0)


def _draw_row_frame(axes: Axes, row: int, **appearance: Any) -> None:
    axes.add_patch(Rectangle((0, row - 0.5), 1, 1, transform=axes.get_yaxis_transform(), **appearance))
