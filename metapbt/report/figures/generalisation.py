"""Learning curves on the levels of training beside those on held-out levels."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metapbt.report.figures.style import (
    SCORE_LABEL,
    STEPS_LABEL,
    TEXT_GREY,
    new_figure,
    steps_formatter,
)
from metapbt.report.groups import Group
from metapbt.report.palette import MethodStyle, method_styles

#: How each return is drawn, and what it is called.
_LINES: dict[str, tuple[Literal["-", "--"], str]] = {
    "train_return": ("-", "levels of training"),
    "held_out_return": ("--", "held-out levels"),
}


def draw_generalisation(group: Group, data: pd.DataFrame) -> Figure:
    """A panel for each context (rows) and method (columns); the gap is the shaded area between both curves."""
    contexts = [label for label in group.labels.values() if (data["context"] == label).any()]
    styles = method_styles(list(dict.fromkeys(data["method"])))
    figure = new_figure(max(2.3 * len(styles), 5.5), 1.9 * len(contexts) + 1.2)
    panels = figure.subplots(len(contexts), len(styles), sharex=True, sharey="row", squeeze=False)
    for row, context in zip(panels, contexts, strict=True):
        for axes, (method, style) in zip(row, styles.items(), strict=True):
            _draw_panel(axes, data[(data["context"] == context) & (data["method"] == method)], style)
        row[0].set_ylabel(context)
    for axes, method in zip(panels[0], styles, strict=True):
        axes.set_title(method)
    for axes in panels[-1]:
        axes.set_xlabel(STEPS_LABEL, fontsize=8)
    figure.suptitle(f"{group.title}: levels of training and held-out levels")
    figure.supylabel(f"{SCORE_LABEL} (mean over seeds)", fontsize=9)
    key = [Line2D([], [], color=TEXT_GREY, linestyle=style, label=name) for style, name in _LINES.values()]
    figure.legend(handles=key, loc="outside lower center", ncols=2)
    return figure


def _draw_panel(axes: Axes, data: pd.DataFrame, style: MethodStyle) -> None:
    for _, alike in data.groupby("evaluated_on"):
        curves = [alike[alike["quantity"] == quantity] for quantity in _LINES]
        steps, means = curves[0]["env_steps"].to_numpy(), [curve["mean"].to_numpy() for curve in curves]
        for mean, (line, _) in zip(means, _LINES.values(), strict=True):
            axes.plot(steps, mean, color=style.color, linestyle=line, linewidth=1.4)
        axes.fill_between(steps, *np.stack(means), color=style.color, alpha=0.15, linewidth=0)
    axes.xaxis.set_major_formatter(steps_formatter())
