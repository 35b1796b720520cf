"""Learning curves: how each method's score grows with the steps of training, in each context."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metapbt.report.figures.style import (
    SCORE_LABEL,
    STEPS_LABEL,
    TEXT_GREY,
    add_legend,
    contexts_in,
    feature_in,
    legend_handles,
    methods_in,
    new_figure,
    steps_formatter,
    styled,
    text_inches,
    text_size,
    wrapped,
)
from metapbt.report.groups import Group
from metapbt.report.palette import SOURCE_GREY, MethodStyle, method_styles
from metapbt.report.statistics import common_grid, mean_curve, on_grid

COLUMNS = ["source", "method", "env_steps", "mean", "low", "high", "seeds", "status"]
LEAST_PANEL = 1.7  # inches


def curves_data(group: Group) -> pd.DataFrame:
    """Mean score and its interval over seeds, for each context, method and number of steps.

    ``seeds`` is the number of runs behind a point: fewer than elsewhere on the curve where some stopped
    earlier. A method without runs in a context has one row, whose status is ``missing``, or ``source`` where runs are
    only what others learned from, as ``source`` says of the context.
    """
    rows: list[dict[str, object]] = []
    for context in group.contexts:
        for method in group.methods:
            runs = group.runs_of(context, method)
            status = group.coverage(context, method).text
            row = {**group.columns(context), "source": group.only_source(context), "method": method}
            grid = common_grid([run.steps for run in runs])
            if len(grid) == 0:
                rows.append(row | {"seeds": 0, "status": status})
                continue
            scores = np.stack([on_grid(run.steps, run.scores, grid) for run in runs])
            mean, low, high, seeds = mean_curve(scores)
            names = ("env_steps", "mean", "low", "high", "seeds")
            rows.extend(
                row | dict(zip(names, point, strict=True)) | {"status": status}
                for point in zip(grid, mean, low, high, seeds, strict=True)
            )
    return pd.DataFrame(rows, columns=[*group.columns(group.contexts[0]), *COLUMNS])


@styled
def draw_curves(data: pd.DataFrame, *, feature: str | None = None, width: float | None = None) -> Figure:
    """One panel for each context; the part of a curve that not all of its seeds have reached is dotted.

    Contexts that several methods ran in come first. Those that are only sources share one panel, in grey.

    Args:
        data: with the columns ``context``, ``method``, ``env_steps``, ``mean``, ``low``, ``high`` and ``seeds``, as
            ``curves.csv``; ``source`` and ``status`` may be there.
        feature: what the contexts differ in; the columns between ``learner`` and ``context`` if None.
        width: in inches, of a figure for a paper; None for the page.
    """
    contexts, sources = panel_order(data), sources_in(data)
    contexts = [context for context in contexts if context not in sources] or contexts
    sources = [context for context in sources if context not in contexts]
    number = len(contexts) + bool(sources)
    columns = column_count(number, 4 if width is None else max(1, int(width / LEAST_PANEL)))
    rows = math.ceil(number / columns)
    panel = 2.9 if width is None else width / columns
    named = re.sub(r" \[[^]]*\]", "", feature_in(data) if feature is None else feature)
    names = {context: context if "," in named else f"{named} = {context}" for context in contexts}
    fitting = (panel - 0.45) / text_inches("x")
    if named == "context" or max(map(len, names.values())) > max(10, fitting):
        names = {context: context for context in contexts}
    notes = {context: coverage_line(data, context) for context in contexts}
    common = notes[contexts[0]] if len(set(notes.values())) == 1 else None  # said once, with the axis
    lines = 0 if common else max(len(_wrapped(note, panel)) for note in notes.values())
    height = (2.1 if width is None else max(1.2, 0.72 * panel) + 0.25) + 0.13 * lines
    figure = new_figure(max(panel * columns, 5.5) if width is None else width, height * rows + 0.7)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    styles = method_styles(methods_in(data))
    for axes, context in zip(panels, contexts, strict=False):
        _draw_panel(axes, data[data["context"] == context], styles)
        _name_panel(axes, names[context], [] if common else _wrapped(notes[context], panel), panel)
    panels[0].set_ylim(*_limits(data))
    if sources:
        _draw_sources(panels[len(contexts)], data, sources)
        name = "source contexts" if len(sources) > 1 else f"source: {sources[0]}"
        _name_panel(panels[len(contexts)], name, [], panel, SOURCE_GREY)
    for axes in panels[number:]:
        axes.remove()
    for axes in panels[max(0, number - columns) : number]:
        # Shared axes label only the bottom row; a panel above a removed one needs its own labels.
        axes.tick_params(labelbottom=True)
    label = f"{STEPS_LABEL} ({common})" if common else STEPS_LABEL
    if len(contexts) > 1 and named != "context" and names[contexts[0]] == contexts[0]:
        label += f"; panels: {named}"
    figure.supxlabel(label, fontsize=text_size(9))
    figure.supylabel(f"{SCORE_LABEL} (mean, 95% interval)", fontsize=text_size(9))
    add_legend(figure, legend_handles(methods_in(data), line=True))
    return figure


def sources_in(data: pd.DataFrame) -> list[str]:
    """The contexts that are only what others learned from."""
    return contexts_in(data[data["source"].astype(bool)]) if "source" in data else []


def column_count(panels: int, most: int = 4) -> int:
    """How many panels stand in a row: at most 4, or as many as fit; fewer where less of the last row is empty then."""
    if panels <= min(3, most):
        return panels
    return min(range(most, min(2, most) - 1, -1), key=lambda columns: -panels % columns) if panels < 10 else most


def panel_order(data: pd.DataFrame) -> list[str]:
    """Contexts that several methods ran in come first; those of one method, such as sources, last."""
    ran = data[data["env_steps"].notna()].groupby("context")["method"].nunique()
    return sorted(contexts_in(data), key=lambda context: ran.get(context, 0) < 2)


def coverage_line(data: pd.DataFrame, context: str) -> str:
    """How many seeds each method has in a context, methods with the same number together; of a source, who ran."""
    if "status" not in data:
        return ""
    shown = data[data["context"] == context].drop_duplicates("method")
    methods_with: dict[str, list[str]] = {}
    for method, status in zip(shown["method"], shown["status"], strict=True):
        if status != "source":
            methods_with.setdefault(status, []).append(method)
    if len(methods_with) == 1 and len(shown) == sum(map(len, methods_with.values())):
        return next(iter(methods_with))
    return "; ".join(f"{', '.join(methods)}: {text}" for text, methods in methods_with.items())


def _wrapped(note: str, panel_inches: float) -> list[str]:
    return textwrap.wrap(note, max(12, int((panel_inches - 0.5) / text_inches("x") * text_size(9) / text_size(7.5))))


def _limits(data: pd.DataFrame) -> tuple[float, float]:
    """The part of the axis that holds every mean; bands of few seeds, and single failed runs, reach far beyond it."""
    means = data["mean"].dropna()
    if means.empty:
        return 0.0, 1.0
    low, high = float(means.min()), float(means.max())
    margin = 0.15 * (high - low or max(abs(high), 1.0))
    return low - margin, high + margin


def _draw_panel(axes: Axes, data: pd.DataFrame, styles: Mapping[str, MethodStyle]) -> None:
    for method, style in styles.items():
        curve = data[(data["method"] == method) & data["env_steps"].notna()]
        if curve.empty:
            continue
        steps, mean = curve["env_steps"].to_numpy(), curve["mean"].to_numpy()
        whole = np.where(curve["seeds"].to_numpy() == curve["seeds"].max(), mean, np.nan)
        every = max(1, len(steps) // 6)
        axes.plot(steps, mean, color=style.color, linewidth=1, linestyle=":")
        line: dict[str, Any] = {"color": style.color, "linewidth": 1.4, "linestyle": style.linestyle}
        axes.plot(steps, whole, marker=style.marker, markersize=3.5, markevery=every, **line)
        band = curve["low"].to_numpy(dtype=np.float64), curve["high"].to_numpy(dtype=np.float64)
        axes.fill_between(steps, *band, color=style.color, alpha=0.15, linewidth=0)
    axes.xaxis.set_major_formatter(steps_formatter())


def _draw_sources(axes: Axes, data: pd.DataFrame, sources: list[str]) -> None:
    """All sources at once: what methods with a memory learned from. The highest and the lowest are named."""
    ends: list[tuple[float, float, str]] = []
    for context in sources:
        for _, curve in data[(data["context"] == context) & data["mean"].notna()].groupby("method"):
            axes.plot(curve["env_steps"], curve["mean"], color=SOURCE_GREY, linewidth=1.0, alpha=0.8)
            ends.append((float(curve["mean"].iloc[-1]), float(curve["env_steps"].iloc[-1]), context))
    named = {max(ends): True, min(ends): False} if len(sources) > 1 and ends else {}
    for (end, steps, context), above in named.items():
        axes.annotate(
            context,
            (steps, end),
            (0, 4 if above else -12),
            textcoords="offset points",
            ha="right",
            va="bottom" if above else "top",
            color=SOURCE_GREY,
            fontsize=text_size(7),
        )
    axes.xaxis.set_major_formatter(steps_formatter())


def _name_panel(axes: Axes, name: str, note: list[str], panel_inches: float, color: str = "black") -> None:
    size = text_size(9)
    axes.set_title(
        wrapped(name, panel_inches - 0.5),
        loc="left",
        fontsize=size,
        color=color,
        pad=4 + 1.2 * text_size(7.5) * len(note),
    )
    axes.annotate(
        "\n".join(note),
        (0, 1),
        (0, 3),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=text_size(7.5),
        color=TEXT_GREY,
        in_layout=False,  # the title's distance leaves room for it
    )
