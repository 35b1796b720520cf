"""Memory: what it is made of, and how far it was trusted."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from metapbt.report.figures.style import MISSING_GREY, new_figure, styled, text_size
from metapbt.report.memory_view import MemoryView

PARTS = {
    "related": ("related contexts", "#d55e00"),
    "kernel": ("the shape of their kernel", "#f5c189"),
    "alone": ("this run alone", "#0173b2"),
}
USED = "#555555"


@styled
def draw_memory(view: MemoryView, *, width: float | None = None) -> Figure:
    """On the left what each forecast came from, generation by generation; on the right the sources' intervals.

    Args:
        view: as `metapbt.report.memory_view.memory_view` gives it.
        width: in inches, of a figure for a paper; None for the page.
    """
    contexts = _contexts(view.sources)
    figure = new_figure(width or 7.0, max(2.4, 0.24 * len(contexts) + 1.2))
    trust, sources = figure.subplots(1, 2, width_ratios=[3, 2])
    steps = view.trust["generation"] + 1
    if len(view.trust):
        shares = [view.trust[name] for name in PARTS]
        trust.stackplot(steps, *shares, colors=[color for _, color in PARTS.values()], step="mid", linewidth=0)
        trust.set_xlim(steps.min() - 0.5, steps.max() + 0.5)
    trust.set_ylim(0, 1)
    trust.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    trust.xaxis.set_major_locator(MaxNLocator(integer=True))
    trust.set_xlabel("generations seen")
    trust.set_title("what the forecast comes from", loc="left")
    places = range(len(contexts))
    sources.barh(places, contexts["rows"], color=MISSING_GREY, label="in memory")
    sources.barh(places, contexts["used"], color=USED, height=0.4, label="behind the last choice")
    sources.set_yticks(
        places, contexts.index, fontsize=text_size(8), parse_math=False
    )  # contexts of others are no formulas
    sources.set_ylim(max(len(contexts), 1) - 0.5, -0.5)
    sources.set_xlabel("intervals")
    sources.grid(visible=False, axis="y")
    sources.set_title("what memory is made of", loc="left")
    handles = [trust.plot([], [], color=color, linewidth=6, label=label)[0] for label, color in PARTS.values()]
    figure.legend(
        handles=[*handles, *sources.containers],
        loc="outside lower center",
        ncols=3 if width is None or width > 5 else 2,
    )
    return figure


def _contexts(sources: pd.DataFrame) -> pd.DataFrame:
    """Intervals of each context, those of its runs together."""
    return sources.groupby("context", sort=False)[["rows", "used"]].sum()
