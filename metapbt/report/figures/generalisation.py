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
    add_legend,
    contexts_in,
    methods_in,
    new_figure,
    steps_formatter,
    styled,
    text_size,
)
from metapbt.report.palette import MethodStyle, method_styles

#: How each return is drawn, and what it is called.
_LINES: dict[str, tuple[Literal["-", "--"], str]] = {
    "train_return": ("-", "levels of training"),
    "held_out_return": ("--", "held-out levels"),
}


@styled
def draw_generalisation(data: pd.DataFrame, *, width: float | None = None) -> Figure:
    """A panel for each context (rows) and method (columns); the gap is the shaded area between both curves.

    Args:
        data: with the columns ``context``, ``method``, ``quantity``, ``evaluated_on``, ``env_steps`` and ``mean``, as
            ``generalisation_curves.csv``.
        width: in inches, of a figure for a paper; None for the page.
    """
    contexts = contexts_in(data)
    styles = method_styles(methods_in(data))
    height = 1.9 if width is None else max(1.2, 0.75 * width / len(styles))
    figure = new_figure(max(2.3 * len(styles), 5.5) if width is None else width, min(height, 1.9) * len(contexts) + 0.8)
    panels = figure.subplots(len(contexts), len(styles), sharex=True, sharey="row", squeeze=False)
    for row, context in zip(panels, contexts, strict=True):
        for axes, (method, style) in zip(row, styles.items(), strict=True):
            _draw_panel(axes, data[(data["context"] == context) & (data["method"] == method)], style)
        row[0].set_ylabel(context)
    for axes, method in zip(panels[0], styles, strict=True):
        axes.set_title(method)
    figure.supxlabel(STEPS_LABEL, fontsize=text_size(9))
    figure.supylabel(f"{SCORE_LABEL} (mean over seeds)", fontsize=text_size(9))
    add_legend(
        figure, [Line2D([], [], color=TEXT_GREY, linestyle=style, label=name) for style, name in _LINES.values()]
    )
    return figure


def _draw_panel(axes: Axes, data: pd.DataFrame, style: MethodStyle) -> None:
    for _, alike in data.groupby("evaluated_on"):
        curves = [alike[alike["quantity"] == quantity] for quantity in _LINES]
        steps, means = curves[0]["env_steps"].to_numpy(), [curve["mean"].to_numpy() for curve in curves]
        for mean, (line, _) in zip(means, _LINES.values(), strict=True):
            axes.plot(steps, mean, color=style.color, linestyle=line, linewidth=1.4)
        axes.fill_between(steps, *np.stack(means), color=style.color, alpha=0.15, linewidth=0)
    axes.xaxis.set_major_formatter(steps_formatter())
