"""Performance profiles: the share of runs that score above each threshold (Agarwal et al., 2021)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metapbt.report.comparison import QUANTITIES, compared_scores, normalised_in
from metapbt.report.figures.style import add_legend, legend_handles, methods_in, new_figure, quantity_label, styled
from metapbt.report.groups import Group
from metapbt.report.palette import method_styles
from metapbt.report.profiles import performance_profile

THRESHOLDS = np.linspace(0, 1, 101)
COLUMNS = ["env", "learner", "quantity", "method", "threshold", "share", "low", "high", "contexts", "runs"]


def profiles_data(group: Group) -> pd.DataFrame:
    """The share of finished runs above each normalised score, with Wilson's 95% interval, every context weighing alike.

    ``quantity`` is the ``final`` return or the ``area``; of the contexts that all compared methods finished.
    """
    rows = []
    for quantity in QUANTITIES:
        for method, strata in normalised_in(group, compared_scores(group, quantity)).items():
            counts = len(strata), sum(map(len, strata))
            profile = performance_profile(strata, THRESHOLDS)
            for threshold, share, low, high in zip(THRESHOLDS.round(6), *profile, strict=True):
                rows.append((group.env, group.learner, quantity, method, threshold, share, low, high, *counts))
    return pd.DataFrame(rows, columns=COLUMNS)


@styled
def draw_profiles(data: pd.DataFrame, *, width: float | None = None) -> Figure:
    """A panel for each quantity; a curve above another has more runs above every score.

    Args:
        data: with the columns ``quantity``, ``method``, ``threshold``, ``share``, ``low`` and ``high``, as
            ``profiles.csv``.
        width: in inches, of a figure for a paper; None for the page.
    """
    quantities = list(dict.fromkeys(data["quantity"]))
    figure = new_figure(8.0 if width is None else width, 3.2 if width is None else max(2.3, 0.36 * width))
    panels = figure.subplots(1, len(quantities), sharey=True, squeeze=False)[0]
    for axes, quantity in zip(panels, quantities, strict=True):
        shown = data[data["quantity"] == quantity]
        for method, style in method_styles(methods_in(data)).items():
            curve = shown[shown["method"] == method]
            line = {"color": style.color, "linewidth": 1.4, "linestyle": style.linestyle, "drawstyle": "steps-post"}
            axes.plot(curve["threshold"], curve["share"], marker=style.marker, markersize=3.5, markevery=20, **line)
            band = curve["low"], curve["high"]
            axes.fill_between(curve["threshold"], *band, color=style.color, alpha=0.12, linewidth=0, step="post")
        axes.set_xlabel(f"{quantity_label(quantity, width)}, normalised")
        axes.set_xlim(*_where_they_differ(shown))
        axes.set_ylim(-0.03, 1.03)
        axes.set_yticks(np.linspace(0, 1, 6))
    panels[0].set_ylabel("share of runs above")
    add_legend(figure, legend_handles(methods_in(data), line=True))
    return figure


def _where_they_differ(data: pd.DataFrame) -> tuple[float, float]:
    """The part of the axis between the lowest score and the highest."""
    low = data.loc[data["share"] < 1, "threshold"].min()
    high = data.loc[data["share"] > 0, "threshold"].max()
    if not low < high:
        return 0.0, 1.0
    margin = 0.06 * (high - low)
    return max(0.0, float(low - margin)), min(1.0, float(high + margin))
