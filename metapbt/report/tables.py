"""The tables that figures are drawn from, each made of a group of runs."""

from metapbt.report.comparison import comparison_data
from metapbt.report.descent import lineage_data, schedules_data
from metapbt.report.figures.area import area_data
from metapbt.report.figures.curves import curves_data
from metapbt.report.figures.efficiency import efficiency_data
from metapbt.report.figures.final_returns import final_data, runs_data
from metapbt.report.figures.heatmap import heatmap_data
from metapbt.report.figures.improvement import improvement_data
from metapbt.report.figures.profiles import profiles_data
from metapbt.report.figures.thresholds import thresholds_data
from metapbt.report.generalisation import generalisation_curves, generalisation_data

__all__ = [
    "area_data",
    "comparison_data",
    "curves_data",
    "efficiency_data",
    "final_data",
    "generalisation_curves",
    "generalisation_data",
    "heatmap_data",
    "improvement_data",
    "lineage_data",
    "profiles_data",
    "runs_data",
    "schedules_data",
    "thresholds_data",
]
