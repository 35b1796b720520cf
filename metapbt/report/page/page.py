"""The report's page: what the template needs, computed from the groups and their numbers."""

from __future__ import annotations

import math
from collections import Counter
from importlib.metadata import version
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from metapbt.report.figures.comparison import ALL_CONTEXTS, MEMORY, NO_MEMORY, QUANTITIES
from metapbt.report.groups import Group, Run

STATES = ("done", "running", "stopped", "failed")


class Section(NamedTuple):
    """One group with the numbers that its page section shows as tables."""

    group: Group
    final: pd.DataFrame
    comparison: pd.DataFrame


class FigureText(NamedTuple):
    """What the page says about one figure: its file name, heading, caption and CSV files."""

    name: str
    heading: str
    caption: str
    tables: tuple[str, ...]


def render_page(sections: list[Section]) -> str:
    """The HTML of the whole report; links are relative to the report's directory."""
    environment = Environment(
        loader=PackageLoader("metapbt.report.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["estimate"] = lambda row: format_estimate(*row)
    return environment.get_template("report.html.jinja").render(
        version=version("metapbt"),
        sections=[_section(section) for section in sections],
    )


def format_estimate(value: float, low: float, high: float) -> str:
    """``195 [180, 200]``; without bounds where a single seed leaves them unknown; a dash without a value."""
    if math.isnan(value):
        return "–"
    if math.isnan(low):
        return format_number(value, value)
    scale = max(abs(low), abs(high))
    return f"{format_number(value, scale)} [{format_number(low, scale)}, {format_number(high, scale)}]"


def format_number(value: float, scale: float) -> str:
    """Three significant digits at the given scale, with a true minus sign: ``−12.3``, ``1250``."""
    digits = 2 - math.floor(math.log10(abs(scale))) if scale else 0
    text = f"{value:.{min(max(digits, 0), 6)}f}"
    return text.replace("-", "−")


def _section(section: Section) -> dict[str, object]:
    group = section.group
    states = Counter(run.state for run in group.runs)
    return {
        "id": group.folder.replace("/", "-"),
        "group": group,
        "states": {state: states[state] for state in (*STATES, *sorted(set(states) - set(STATES))) if states[state]},
        "incomplete": _incomplete(group),
        "missing": _missing(group),
        "final": _final_rows(section),
        "comparison": _comparison_rows(section),
        "figures": _figures(group),
    }


def _final_rows(section: Section) -> list[dict[str, object]]:
    rows = []
    for context in section.group.contexts:
        cells = section.final[section.final["context"] == context.label]
        rows.append(
            {
                "context": context.label,
                "source": context in section.group.sources,
                "cells": cells.to_dict("records"),
            }
        )
    return rows


def _comparison_rows(section: Section) -> list[dict[str, object]]:
    """One row for each method, then one for the difference over all contexts."""
    overall = section.comparison[section.comparison["context"] == ALL_CONTEXTS]
    rows: list[dict[str, object]] = []
    for method, lines in overall.groupby("method", sort=False):
        by_quantity = lines.set_index("quantity")
        first = by_quantity.iloc[0]
        rows.append(
            {
                "method": method,
                "statistic": "IQM" if first["statistic"] == "iqm" else "mean paired difference",
                "contexts": first["contexts"],
                "runs": first["runs"],
                **{name: tuple(by_quantity.loc[name, ["estimate", "low", "high"]]) for name in QUANTITIES},
            }
        )
    return rows


def _missing(group: Group) -> list[dict[str, str]]:
    """What the group has elsewhere but not here: contexts without any run of a method, then single seeds."""
    rows = []
    for method in group.methods:
        absent = [context.label for context in group.contexts if not group.runs_of(context, method)]
        if absent:
            rows.append({"method": method, "contexts": "; ".join(absent), "seeds": "all"})
        for context in group.contexts:
            seeds = group.missing_seeds(context, method)
            if seeds and context.label not in absent:
                rows.append({"method": method, "contexts": context.label, "seeds": ", ".join(map(str, seeds))})
    return rows


def _incomplete(group: Group) -> list[Run]:
    return [run for run in group.runs if not run.finished]


def _figures(group: Group) -> list[FigureText]:
    return [
        FigureText(
            "curves",
            "Learning curves",
            "Mean return by environment steps of each member, one panel for each context. Shaded: bootstrap "
            "95% interval of the mean over seeds; dotted: only some of the seeds have got that far.",
            ("curves.csv",),
        ),
        FigureText(
            "final",
            "Final returns",
            "Score at the last generation: mean over finished seeds with its bootstrap 95% interval; "
            "small points are the seeds.",
            ("final.csv", "final_runs.csv"),
        ),
        FigureText(
            "heatmap",
            "Return by context and training steps",
            "Mean return over seeds, all methods on one colour scale; hatched rows are missing. " + _framing(group),
            ("heatmap.csv",),
        ),
        FigureText(
            "comparison",
            "Comparison over contexts",
            "Interquartile mean over contexts and seeds with its stratified bootstrap 95% interval, for "
            f"{' and '.join(QUANTITIES.values())}. The gain from memory is the mean difference of runs of "
            f"{MEMORY} and {NO_MEMORY} with the same context and seed.",
            ("comparison.csv",),
        ),
    ]


def _framing(group: Group) -> str:
    if not group.sources:
        return "No run here learned from source contexts that this group has, so no row is framed."
    learners = sorted({run.method for run in group.runs if run.method.startswith("meta")}) or ["the meta methods"]
    return f"Framed rows are source contexts: {', '.join(learners)} learned from runs in them."
