"""The figures of a report: which there are, what each is drawn from, and when one would say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from metapbt.errors import unknown_name
from metapbt.report.descent import shown_run
from metapbt.report.figures import (
    draw_area,
    draw_comparison,
    draw_curves,
    draw_efficiency,
    draw_final,
    draw_generalisation,
    draw_heatmap,
    draw_improvement,
    draw_lineage,
    draw_profiles,
    draw_schedules,
    draw_thresholds,
)
from metapbt.report.figures.schedules import first_context
from metapbt.report.groups import Group
from metapbt.report.tables import (
    area_data,
    comparison_data,
    curves_data,
    efficiency_data,
    final_data,
    generalisation_curves,
    generalisation_data,
    heatmap_data,
    improvement_data,
    lineage_data,
    profiles_data,
    runs_data,
    schedules_data,
    thresholds_data,
)

Tables = Mapping[str, pd.DataFrame]
_ONE_METHOD = "only one method has finished runs, so there is nothing to compare"
_ONE_CONTEXT = "there is one context, and the learning curves show it"


class Asked(NamedTuple):
    """What tables are made from.

    Attributes:
        group: the runs.
        baseline: what all methods are compared with; None for what each is usually.
        threshold: in points of return; None for a share of each context's range.
    """

    group: Group
    baseline: str | None = None
    threshold: float | None = None


class FigureText(NamedTuple):
    """What a page says about one figure.

    Attributes:
        name: of its files, without their endings.
        heading: of its part of the page.
        caption: what it shows.
        tables: the names of its CSV files, and of others with its numbers.
        left_out: why it was not drawn, as it would say nothing; None where it was.
    """

    name: str
    heading: str
    caption: str
    tables: tuple[str, ...]
    left_out: str | None = None


@dataclass(frozen=True)
class Entry:
    """A figure that a report may have.

    Attributes:
        heading: of its part of the page.
        caption: what it shows, of a group.
        tables: its tables by the names of their CSV files; the first ones are the figure's.
        draw: makes it of the first ``drawn_from`` tables.
        silent: why it would say nothing, or None.
        drawn_from: how many tables it is drawn from.
        named: whether it takes the contexts' ``feature``.
        others: further files with its numbers.
    """

    heading: str
    caption: Callable[[Asked, Tables], str]
    tables: Mapping[str, Callable[[Asked], pd.DataFrame]]
    draw: Callable[..., Figure]
    silent: Callable[[Tables], str | None]
    drawn_from: int = 1
    named: bool = False
    others: tuple[str, ...] = ()

    def figure(self, group: Group, tables: Tables, width: float | None) -> Figure:
        """Draw it."""
        shown = [tables[name] for name in list(self.tables)[: self.drawn_from]]
        named = {"feature": group.axis_label} if self.named else {}
        return self.draw(*shown, width=width, **named)

    def text(self, name: str, asked: Asked, tables: Tables) -> FigureText:
        """What a page says about it."""
        files = (*(f"{table}.csv" for table in self.tables), *self.others)
        return FigureText(name, self.heading, self.caption(asked, tables), files, self.silent(tables))


def chosen(names: Sequence[str] | None) -> dict[str, Entry]:
    """The figures of these names, in the report's order; all if None.

    Raises:
        MetapbtError: a name is unknown.
    """
    for name in names or ():
        if name not in CATALOGUE:
            raise unknown_name("figure", name, CATALOGUE)
    return {name: entry for name, entry in CATALOGUE.items() if names is None or name in names}


def tables_of(asked: Asked, entries: Mapping[str, Entry]) -> dict[str, pd.DataFrame]:
    """The tables of figures, by the names of their CSV files, each made once."""
    makers = {name: make for entry in entries.values() for name, make in entry.tables.items()}
    return {name: make(asked) for name, make in makers.items()}


def _lineage_data(asked: Asked) -> pd.DataFrame:
    run = shown_run(asked.group)
    return pd.DataFrame(columns=["method"]) if run is None else lineage_data(asked.group, run)


def _all_equal(column: pd.Series) -> bool:
    values = column.dropna().to_numpy(dtype=np.float64)
    return len(values) > 0 and bool((values == values[0]).all())


def _no_curves(tables: Tables) -> str | None:
    known = tables["curves"].dropna(subset=["env_steps", "mean"])
    most = known.groupby(["context", "method"]).size().max() if len(known) else 0
    return None if most > 1 else "no run has two scores yet"


def _no_scores(column: str) -> Callable[[Tables], str | None]:
    def silent(tables: Tables) -> str | None:
        scores = tables["final_runs"][column]
        if not scores.notna().any():
            return "no run has a score yet"
        if len(scores.dropna()) > 1 and _all_equal(scores):
            return f"all runs are equal, at {scores.dropna().iloc[0]:.6g}"
        return None

    return silent


def _one_context(tables: Tables) -> str | None:
    known = tables["heatmap"].dropna(subset="mean")
    return None if known["context"].nunique() > 1 else _ONE_CONTEXT


def _no_comparison(tables: Tables) -> str | None:
    means = tables["comparison"].query("statistic == 'mean'")
    if means["method"].nunique() < 2:
        return _ONE_METHOD
    if not means["contexts"].any():
        return "no context has finished runs of all methods"
    differences = tables["comparison"].query("statistic == 'difference'")["estimate"]
    return "all runs of all methods score the same" if _all_equal(differences) and not differences.any() else None


def _several_methods(table: str) -> Callable[[Tables], str | None]:
    def silent(tables: Tables) -> str | None:
        return None if tables[table]["method"].nunique() > 1 else _ONE_METHOD

    return silent


def _no_thresholds(tables: Tables) -> str | None:
    if tables["thresholds"].empty:
        return "no context has finished runs of two methods whose scores changed"
    if tables["thresholds"]["method"].nunique() < 2:
        return _ONE_METHOD
    return None if tables["thresholds"]["reached"].any() else "no run reached the threshold"


def _no_improvement(tables: Tables) -> str | None:
    if tables["improvement"].empty:
        return "no context has finished runs of a method and of what it is compared with"
    return "all runs of all methods score the same" if tables["improvement"]["tied"].all() else None


def _no_efficiency(tables: Tables) -> str | None:
    data = tables["efficiency"]
    if data["method"].nunique() < 2:
        return _ONE_METHOD
    if data["contexts"].max() < 2:
        return _ONE_CONTEXT
    return None if data["env_steps"].nunique() > 1 else "no run has two scores yet"


def _no_schedules(tables: Tables) -> str | None:
    data = tables["schedules"]
    if data.empty:
        return "no hyperparameter is a number"
    same = data.groupby("hyperparameter")["value"].nunique().max() == 1
    return "all runs trained with the same hyperparameters, which never changed" if same else None


def _no_copies(tables: Tables) -> str | None:
    data = tables["lineage"]
    return None if "kind" in data and (data["kind"] == "copy").any() else "no member copied another"


def _lineage_caption(asked: Asked, tables: Tables) -> str:
    data = tables["lineage"]
    of = f"{data['method'].iloc[0]}, {data['context'].iloc[0]}, seed {data['seed'].iloc[0]}" if len(data) else "a run"
    return (
        f"The run with the highest final return among those with copies ({of}): each member at each generation, what "
        "it went on from, and how the best agent came about."
    )


def _heatmap_caption(asked: Asked, tables: Tables) -> str:
    group = asked.group
    said = (
        "Mean return over seeds, all methods on one colour scale, beyond which lie at most 2% at each end; hatched "
        "rows lack their runs."
    )
    if not group.sources:
        return said
    learners = sorted({run.method for run in group.runs if run.remembers})
    return f"{said} Rows with a grey bar are source contexts: {', '.join(learners)} learned from runs in them."


def _generalisation_caption(asked: Asked, tables: Tables) -> str:
    levels = {run.levels for run in asked.group.runs if run.levels and run.levels.evaluated != run.levels.trained}
    places = "; ".join(sorted({f"trained on {each.trained}, evaluated on {each.evaluated}" for each in levels}))
    modes = {each.sampled for each in levels}
    if modes == {True}:
        acting = "Both are of actions that are drawn from the policy."
    else:
        acting = "Training draws actions from the policy; evaluations take the most likely one"
        acting += " in some of the runs." if True in modes else "."
    return (
        "Mean return over seeds of the member with the best training return: on the levels of training (solid) and "
        f"on held-out ones (dashed); {places}. {acting}"
    )


def _says(text: str) -> Callable[[Asked, Tables], str]:
    return lambda asked, tables: text


def _schedules_caption(asked: Asked, tables: Tables) -> str:
    where = first_context(tables["schedules"]) if len(tables["schedules"]) else "one context"
    return f"What the best agent of each run was trained with, in {where}: a line for each seed. All are in the table."


CATALOGUE: dict[str, Entry] = {
    "curves": Entry(
        "Learning curves",
        _says(
            "Mean return by environment steps (of all that the run trained, divided by its members), one panel for "
            "each context. Shaded: 95% interval of the mean over seeds, from three seeds on; it may go on beyond the "
            "panel. Dotted: only some of the seeds have got that far."
        ),
        {"curves": lambda asked: curves_data(asked.group)},
        draw_curves,
        _no_curves,
        named=True,
    ),
    "final": Entry(
        "Final returns",
        _says("Mean over finished seeds with its 95% interval, from three seeds on; small points are the seeds."),
        {"final": lambda asked: final_data(asked.group), "final_runs": lambda asked: runs_data(asked.group)},
        draw_final,
        _no_scores("score"),
        drawn_from=2,
        named=True,
    ),
    "area": Entry(
        "Mean return over training",
        _says(
            "The area under each learning curve, divided by its steps: higher is earlier. Marks as of final returns."
        ),
        {"area": lambda asked: area_data(asked.group), "final_runs": lambda asked: runs_data(asked.group)},
        draw_area,
        _no_scores("area"),
        drawn_from=2,
        named=True,
    ),
    "heatmap": Entry(
        "Return by context and training steps",
        _heatmap_caption,
        {"heatmap": lambda asked: heatmap_data(asked.group)},
        draw_heatmap,
        _one_context,
        named=True,
    ),
    "comparison": Entry(
        "Comparison over contexts",
        _says(
            "Above: mean over contexts of normalised scores, 0 the worst and 1 the best that any finished run reached "
            "in a context, with its 95% interval; hollow: the interquartile mean. Below: differences from "
            "the baseline between runs of the same context and seed."
        ),
        {"comparison": lambda asked: comparison_data(asked.group, asked.baseline)},
        draw_comparison,
        _no_comparison,
        named=True,
    ),
    "thresholds": Entry(
        "Steps to a threshold",
        _says(
            "Steps after which each finished run first reached the threshold, and their median; without a number of "
            "one's own it is three quarters of the way from the worst to the best score of the context."
        ),
        {"thresholds": lambda asked: thresholds_data(asked.group, asked.threshold)},
        draw_thresholds,
        _no_thresholds,
        named=True,
    ),
    "profiles": Entry(
        "Performance profiles",
        _says("The share of runs above each normalised score, every context with the same weight; Wilson's interval."),
        {"profiles": lambda asked: profiles_data(asked.group)},
        draw_profiles,
        _several_methods("profiles"),
    ),
    "improvement": Entry(
        "Probability of improvement",
        _says(
            "How probable it is that a run of one method scores higher than one of the other in the same context, the "
            "mean over contexts; Newcombe's interval. At one half neither is better."
        ),
        {"improvement": lambda asked: improvement_data(asked.group, asked.baseline)},
        draw_improvement,
        _no_improvement,
    ),
    "efficiency": Entry(
        "Sample efficiency",
        _says("The interquartile mean of normalised returns over all contexts and runs, by steps of each member."),
        {"efficiency": lambda asked: efficiency_data(asked.group)},
        draw_efficiency,
        _no_efficiency,
    ),
    "schedules": Entry(
        "Schedules of the best agents",
        _schedules_caption,
        {"schedules": lambda asked: schedules_data(asked.group)},
        draw_schedules,
        _no_schedules,
    ),
    "lineage": Entry("Family tree", _lineage_caption, {"lineage": _lineage_data}, draw_lineage, _no_copies),
    "generalisation": Entry(
        "Levels of training and held-out levels",
        _generalisation_caption,
        {
            "generalisation_curves": lambda asked: generalisation_curves(asked.group),
            "generalisation": lambda asked: generalisation_data(asked.group),
        },
        draw_generalisation,
        lambda tables: None if len(tables["generalisation_curves"]) else "all runs were evaluated where they trained",
        others=("generalisation.json",),
    ),
}


def texts(asked: Asked, entries: Mapping[str, Entry], tables: Tables) -> Iterator[FigureText]:
    """What a page says about figures; nothing of held-out levels where there are none."""
    for name, entry in entries.items():
        if name != "generalisation" or len(tables["generalisation_curves"]) or len(tables["generalisation"]):
            yield entry.text(name, asked, tables)
