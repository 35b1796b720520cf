"""The family tree of a run: who went on from whom, and how the best agent came about."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from metapbt.report.figures.style import SCORE_LABEL, TEXT_GREY, add_legend, color_scale, new_figure, styled

COLOR_MAP = "viridis"


@styled
def draw_lineage(data: pd.DataFrame, *, width: float | None = None) -> Figure:
    """A point for each member and generation, coloured by its return; lines to what it went on from.

    Args:
        data: of one run, with the columns ``generation``, ``member``, ``return``, ``kind``, ``from_generation``,
            ``from_member`` and ``best_lineage``, as ``lineage.csv``.
        width: in inches, of a figure for a paper; None for the page.
    """
    members, generations = int(data["member"].max()) + 1, int(data["generation"].max()) + 1
    natural = max(5.5, min(11.0, 0.28 * generations + 2.0))
    figure = new_figure(natural if width is None else width, min(7.0, 0.26 * members + 1.5))
    axes = figure.subplots()
    returns = data["return"].to_numpy(dtype=np.float64)
    colors, beyond = color_scale(data["return"])
    lines = data[data["from_member"].notna()]
    ends = (
        lines[["from_generation", "from_member", "generation", "member"]].to_numpy(dtype=np.float64).reshape(-1, 2, 2)
    )
    best, copied = lines["best_lineage"].to_numpy(dtype=bool), (lines["kind"] == "copy").to_numpy()
    axes.add_collection(LineCollection(list(ends[~copied]), colors="0.8", linewidths=0.8, zorder=1))
    axes.add_collection(LineCollection(list(ends[copied]), colors="0.45", linewidths=0.8, linestyles="--", zorder=1))
    axes.add_collection(LineCollection(list(ends[best]), colors="black", linewidths=2.2, zorder=2))
    size = float(np.clip(1500 / generations / max(1.0, 8.0 / figure.get_figwidth()), 8, 42))
    where = data["generation"], data["member"]
    axes.scatter(*where, c=returns, cmap=COLOR_MAP, norm=colors, s=size, zorder=3, edgecolors="white", linewidths=0.4)
    born = data[(data["kind"] == "restart") | data.get("failed", pd.Series(False, data.index)).astype(bool)]
    axes.scatter(born["generation"], born["member"], marker="x", c="black", s=size, zorder=4, linewidths=0.9)
    axes.set_xlim(-0.7, generations - 0.3)
    axes.set_ylim(members - 0.4, -0.6)
    axes.grid(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("generation")
    axes.set_ylabel("member")
    scale = ScalarMappable(colors, COLOR_MAP)
    figure.colorbar(scale, ax=axes, label=SCORE_LABEL, aspect=25, ticks=MaxNLocator(5), extend=beyond)
    key = [
        Line2D([], [], color="black", linewidth=2.2, label="line of descent of the best agent"),
        Line2D([], [], color="0.45", linewidth=0.8, linestyle="--", label="copies"),
        Line2D([], [], color="0.7", linewidth=0.8, label="goes on"),
    ]
    if len(born):
        key.append(Line2D([], [], linestyle="", marker="x", color=TEXT_GREY, label="restarted or failed"))
    add_legend(figure, key)
    return figure
