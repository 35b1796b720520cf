"""Final returns: where each method ends up, for each context and seed."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metapbt.report.figures.style import (
    SCORE_LABEL,
    TEXT_GREY,
    legend_handles,
    new_figure,
)
from metapbt.report.groups import Group
from metapbt.report.palette import MethodStyle, method_styles
from metapbt.report.statistics import mean_estimate

SUMMARY_COLUMNS = ["method", "mean", "low", "high", "seeds", "finished", "expected", "status"]
RUN_COLUMNS = ["method", "seed", "state", "generations", "generations_planned", "env_steps", "score", "area"]
LETTER_INCHES = 0.075


def final_data(group: Group) -> pd.DataFrame:
    """Mean final return with its interval over seeds, for each context and method.

    Only finished runs count: the score of a run that is still going is not final. ``seeds`` counts runs of
    any state, ``finished`` those behind the mean, ``expected`` the seeds that the group has anywhere.
    """
    rows = []
    for context in group.contexts:
        for method in group.methods:
            scores = np.array([run.final for run in group.runs_of(context, method) if run.finished], dtype=np.float64)
            mean, low, high = mean_estimate(scores)
            coverage = group.coverage(context, method)
            counts = (coverage.found, coverage.finished, coverage.expected, coverage.text)
            rows.append(
                group.columns(context) | dict(zip(SUMMARY_COLUMNS, (method, mean, low, high, *counts), strict=True))
            )
    return pd.DataFrame(rows)


def runs_data(group: Group) -> pd.DataFrame:
    """One row for each context, method and seed: final return, area under the curve and state."""
    rows = []
    for context in group.contexts:
        for method in group.methods:
            for run in group.runs_of(context, method):
                steps = run.steps[-1] if len(run.steps) else math.nan
                planned = run.generations_planned
                values = (method, run.seed, run.state, len(run.steps), planned, steps, run.final, run.area)
                rows.append(group.columns(context) | dict(zip(RUN_COLUMNS, values, strict=True)))
            rows.extend(
                group.columns(context) | {"method": method, "seed": seed, "state": "missing"}
                for seed in group.missing_seeds(context, method)
            )
    return pd.DataFrame(rows, columns=[*group.columns(group.contexts[0]), *RUN_COLUMNS])


def draw_final(group: Group, summary: pd.DataFrame, runs: pd.DataFrame) -> Figure:
    """Means with intervals and every seed beside them; hollow points are runs that have not finished."""
    contexts, methods = list(group.labels.values()), group.methods
    cells = {(cell["context"], cell["method"]): cell for cell in summary.to_dict("records")}
    width = 0.8 / len(methods)
    # Each method needs about a sixth of an inch, so that a mean and its seeds stay apart from the next ones.
    width_inches = min(22, max(6.5, 0.17 * len(contexts) * (len(methods) + 1) + 1))
    figure = new_figure(width_inches, 4.6)
    axes = figure.subplots()
    for index, (method, style) in enumerate(method_styles(methods).items()):
        for position, context in enumerate(contexts):
            x = position + (index - (len(methods) - 1) / 2) * width
            cell = cells[context, method]
            seeds = runs[(runs["context"] == context) & (runs["method"] == method) & runs["score"].notna()]
            _draw_cell(axes, x, width, style, cell, seeds)
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom - 0.08 * (top - bottom), top)  # room for the marks of what is missing
    for position in range(len(contexts) - 1):
        axes.axvline(position + 0.5, color="0.9", linewidth=0.8)
    axes.grid(False, axis="x")
    axes.set_xlim(-0.5, len(contexts) - 0.5)
    axes.set_xticks(range(len(contexts)), contexts)
    if sum(len(context) + 2 for context in contexts) * LETTER_INCHES > width_inches:
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xlabel(group.axis_label)
    axes.set_ylabel(f"final {SCORE_LABEL} (mean, 95% interval)")
    axes.set_title(f"{group.title}: final returns")
    figure.legend(
        handles=[*legend_handles(methods, line=False), *_key(summary, runs)],
        loc="outside lower center",
        ncols=4,
    )
    return figure


def _draw_cell(
    axes: Axes, x: float, width: float, style: MethodStyle, cell: Mapping[Hashable, Any], seeds: pd.DataFrame
) -> None:
    if cell["status"] == "source":
        return
    if cell["status"] == "missing":
        axes.plot(
            x,
            0.025,
            marker="x",
            color=style.color,
            markersize=6,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
        )
        return
    finished = seeds["state"] == "done"
    for points, face in ((seeds[finished], style.color), (seeds[~finished], "none")):
        axes.plot(
            np.full(len(points), x + width * 0.22),
            points["score"],
            linestyle="",
            marker="o",
            markersize=3.5,
            markerfacecolor=face,
            markeredgecolor=style.color,
            alpha=0.6 if face == style.color else 1,
        )
    if pd.notna(cell["mean"]):
        axes.plot(x - width * 0.1, cell["mean"], marker=style.marker, color=style.color, markersize=6)
        axes.vlines(x - width * 0.1, cell["low"], cell["high"], color=style.color, linewidth=1.8)
    if cell["finished"] < cell["expected"]:
        axes.annotate(
            f"{cell['finished']}/{cell['expected']}",
            (x, 0.01),
            xycoords=axes.get_xaxis_transform(),
            ha="center",
            fontsize=6.5,
            color=TEXT_GREY,
        )


def _key(summary: pd.DataFrame, runs: pd.DataFrame) -> list[Line2D]:
    """Legend entries for the marks that this figure really has."""
    key = [Line2D([], [], linestyle="", marker="o", markersize=3.5, alpha=0.6, color=TEXT_GREY, label="one seed")]
    if (runs["score"].notna() & (runs["state"] != "done")).any():
        hollow = Line2D([], [], linestyle="", marker="o", markersize=3.5, markerfacecolor="none", color=TEXT_GREY)
        hollow.set_label("seed not finished")
        key.append(hollow)
    if (summary["status"] == "missing").any():
        key.append(Line2D([], [], linestyle="", marker="x", color=TEXT_GREY, label="missing"))
    if ((summary["finished"] < summary["expected"]) & (summary["seeds"] > 0)).any():
        key.append(Line2D([], [], linestyle="", label="2/3: seeds finished"))
    return key
