"""Importance: how much each hyperparameter mattered early, in the middle and late."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from metapbt.report.figures.style import TEXT_GREY, new_figure, styled, text_size
from metapbt.report.importance import untold

COLOR = "#0173b2"


@styled
def draw_importance(data: pd.DataFrame, *, width: float | None = None) -> Figure:
    """A panel for each stage, a bar with its 95% interval for each hyperparameter; or why it cannot be told.

    Args:
        data: as `metapbt.report.importance.importance` gives it.
        width: in inches, of a figure for a paper; None for the page.
    """
    stages, names = list(dict.fromkeys(data["stage"])), list(dict.fromkeys(data["hyperparameter"]))
    figure = new_figure(width or max(2.3 * len(stages), 4.0), 0.27 * len(names) + 1.1)
    panels = figure.subplots(1, len(stages), squeeze=False, sharex=True, sharey=True)[0]
    for axes, stage in zip(panels, stages, strict=True):
        rows = data[data["stage"] == stage]
        why = untold(rows)
        predicted = "" if why else f", {rows['predictive'].iloc[0]:.0%} predicted"
        axes.set_title(f"{stage}\n{rows['rows'].iloc[0]} intervals{predicted}", loc="left", fontsize=text_size(8))
        axes.grid(visible=False, axis="y")
        if why:
            axes.text(0.5, 0.5, "\n".join(textwrap.wrap(why, 22)), transform=axes.transAxes, ha="center", va="center",
                      fontsize=text_size(8), color=TEXT_GREY, wrap=True)  # fmt: skip
            continue
        places = np.arange(len(rows))
        axes.barh(places, rows["importance"], color=COLOR, height=0.6)
        axes.hlines(places, rows["low"], rows["high"], color="black", linewidth=1)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    low, high = float(data["low"].fillna(0.0).min()), float(data["high"].fillna(0.0).max())
    panels[0].set_xlim(min(0.0, low), high * 1.05 if high > 0 else 1.0)
    panels[0].xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    figure.supxlabel("share of the variance that depends on it (95% interval)", fontsize=text_size(8.5))
    return figure
