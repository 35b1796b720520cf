"""Figures, each beside the table that it draws: functions that take a data frame and return a Matplotlib figure.

The tables are those that ``metapbt report`` writes as CSV beside its figures (docs/figures.md):

    >>> import pandas as pd
    >>> from metapbt.report.figures import draw_curves
    >>> curves = pd.read_csv("results/report/cart_pole/pole_length/curves.csv")  # doctest: +SKIP
    >>> draw_curves(curves, width=5.5).savefig("curves.pdf")  # doctest: +SKIP
"""

from metapbt.report.figures.area import draw_area
from metapbt.report.figures.comparison import draw_comparison
from metapbt.report.figures.curves import draw_curves
from metapbt.report.figures.efficiency import draw_efficiency
from metapbt.report.figures.final_returns import draw_final
from metapbt.report.figures.generalisation import draw_generalisation
from metapbt.report.figures.heatmap import draw_heatmap
from metapbt.report.figures.improvement import draw_improvement
from metapbt.report.figures.lineage import draw_lineage
from metapbt.report.figures.profiles import draw_profiles
from metapbt.report.figures.schedules import draw_schedules
from metapbt.report.figures.thresholds import draw_thresholds

__all__ = [
    "draw_area",
    "draw_comparison",
    "draw_curves",
    "draw_efficiency",
    "draw_final",
    "draw_generalisation",
    "draw_heatmap",
    "draw_improvement",
    "draw_lineage",
    "draw_profiles",
    "draw_schedules",
    "draw_thresholds",
]
