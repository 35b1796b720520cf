"""The comparison: each method over all contexts, and whether memory helped."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metapbt.report.figures.style import SCORE_LABEL, TEXT_GREY, MethodStyle, method_styles, new_figure
from metapbt.report.groups import Context, Group, Run
from metapbt.report.statistics import Array, Estimate, iqm, mean_of_means, stratified_estimate

QUANTITIES = {"final": f"final {SCORE_LABEL}", "area": f"mean {SCORE_LABEL} over training"}
MEMORY, NO_MEMORY = "meta_pb2", "pb2"
DIFFERENCE = f"{MEMORY} - {NO_MEMORY}"
ALL_CONTEXTS = "all contexts"
UNKNOWN = Estimate(math.nan, math.nan, math.nan)
COLUMNS = [
    "env",
    "learner",
    "statistic",
    "quantity",
    "method",
    "context",
    "estimate",
    "low",
    "high",
    "contexts",
    "runs",
]


def comparison_data(group: Group) -> pd.DataFrame:
    """Estimates with 95% intervals, one row for each.

    ``statistic`` is ``iqm`` (the interquartile mean over the finished runs of a method in the contexts of
    :func:`compared_contexts`) or ``difference`` (the mean over contexts of ``meta_pb2 - pb2``, runs paired
    by context and seed; also for each context). ``quantity`` is the ``final`` score or the ``area`` under
    the curve.
    """
    contexts, methods = compared_contexts(group)
    rows: list[tuple[object, ...]] = []
    for quantity in QUANTITIES:
        for method in group.methods:
            strata = [_scores(_finished(group, context, method), quantity) for context in contexts]
            compared = method in methods and bool(strata)
            estimate = stratified_estimate(strata, iqm, np.random.default_rng(0)) if compared else UNKNOWN
            runs = sum(map(len, strata)) if compared else 0
            rows.append(("iqm", quantity, method, ALL_CONTEXTS, *estimate, len(contexts) if compared else 0, runs))
        pairs = {context: _paired_differences(group, context, quantity) for context in group.contexts}
        pairs = {context: differences for context, differences in pairs.items() if len(differences)}
        if pairs:
            everything = (ALL_CONTEXTS, list(pairs.values()))
            for label, strata in [everything, *((context.label, [pair]) for context, pair in pairs.items())]:
                estimate = stratified_estimate(strata, mean_of_means, np.random.default_rng(0))
                runs = sum(map(len, strata))
                rows.append(("difference", quantity, DIFFERENCE, label, *estimate, len(strata), runs))
    return pd.DataFrame([(group.env, group.learner, *row) for row in rows], columns=COLUMNS)


def compared_contexts(group: Group) -> tuple[list[Context], list[str]]:
    """The contexts and methods of a fair comparison: each method finished a run in each context.

    Contexts that only one method ran in, such as sources, are left out, and so is a method that ran in
    fewer than half of the others, because it would leave too few contexts for the rest.
    """
    finished = {
        context: {method for method in group.methods if _finished(group, context, method)} for context in group.contexts
    }
    shared = [context for context, methods in finished.items() if len(methods) > 1 or len(group.methods) == 1]
    methods = [
        name for name in group.methods if 2 * sum(name in finished[context] for context in shared) >= len(shared)
    ]
    return [context for context in shared if finished[context].issuperset(methods)], methods


def draw_comparison(group: Group, data: pd.DataFrame) -> Figure:
    """Interquartile means of the methods above; below, where there are any, the gains from memory."""
    differences = data[data["statistic"] == "difference"]
    heights = [0.3 * len(group.methods) + 0.6]
    if not differences.empty:
        heights.append(0.24 * differences["context"].nunique() + 0.6)
    figure = new_figure(8.0, sum(heights) + 0.9)
    panels = figure.subplots(len(heights), len(QUANTITIES), squeeze=False, height_ratios=heights, sharey="row")
    for column, (quantity, label) in enumerate(QUANTITIES.items()):
        methods = data[(data["statistic"] == "iqm") & (data["quantity"] == quantity)]
        _draw_methods(panels[0, column], methods)
        panels[0, column].set_xlabel(f"{label} (IQM, 95% interval)")
        if not differences.empty:
            _draw_differences(panels[1, column], differences[differences["quantity"] == quantity])
            panels[1, column].set_xlabel(f"difference in {label}")
    if not differences.empty:
        panels[1, 0].set_ylabel(group.axis_label)
        panels[1, 0].set_title(f"{DIFFERENCE}, paired by context and seed", loc="left")
    several = "these methods" if len(group.methods) > 1 else "the method"
    compared = int(data.loc[data["statistic"] == "iqm", "contexts"].max())
    panels[0, 0].set_title(
        f"over {compared} context{'s' * (compared != 1)} that {several} finished"
        if compared
        else f"no context that {several} finished",
        loc="left",
    )
    figure.suptitle(f"{group.title}: comparison of methods")
    return figure


def _finished(group: Group, context: Context, method: str) -> list[Run]:
    return [run for run in group.runs_of(context, method) if run.finished and not math.isnan(run.final)]


def _scores(runs: list[Run], quantity: str) -> Array:
    return np.array([getattr(run, quantity) for run in runs], dtype=np.float64)


def _paired_differences(group: Group, context: Context, quantity: str) -> Array:
    """``meta_pb2 - pb2`` in a context, one number ``(pairs,)`` for each seed that both have finished."""
    without = {run.seed: run for run in _finished(group, context, NO_MEMORY)}
    pairs = [(run, without[run.seed]) for run in _finished(group, context, MEMORY) if run.seed in without]
    return _scores([run for run, _ in pairs], quantity) - _scores([run for _, run in pairs], quantity)


def _draw_methods(axes: Axes, data: pd.DataFrame) -> None:
    styles = method_styles(data["method"].tolist())
    for row, line in enumerate(data.to_dict("records")):
        style = styles[line["method"]]
        _draw_estimate(axes, row, line, style)
        if not line["contexts"]:
            where = axes.get_yaxis_transform()
            axes.text(
                0.02,
                row,
                "not in the shared contexts",
                transform=where,
                va="center",
                fontsize=8,
                color=TEXT_GREY,
            )
    axes.set_yticks(range(len(data)), data["method"])
    axes.set_ylim(len(data) - 0.5, -0.5)


def _draw_differences(axes: Axes, data: pd.DataFrame) -> None:
    style = method_styles([MEMORY])[MEMORY]
    for row, line in enumerate(data.to_dict("records")):
        _draw_estimate(axes, row, line, style, marker_size=7 if line["context"] == ALL_CONTEXTS else 4.5)
    axes.axvline(0, color="0.4", linewidth=1)
    axes.axhline(0.5, color="0.7", linewidth=0.8)
    axes.set_yticks(range(len(data)), data["context"], fontsize=8)
    axes.set_ylim(len(data) - 0.5, -0.5)


def _draw_estimate(
    axes: Axes, row: int, line: Mapping[Hashable, Any], style: MethodStyle, marker_size: float = 6
) -> None:
    axes.plot(line["estimate"], row, marker=style.marker, color=style.color, markersize=marker_size)
    axes.hlines(row, line["low"], line["high"], color=style.color, linewidth=2)
