"""What a run's method knew when it chose, as plain data: its memory, its surrogate, what mattered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from metapbt.errors import MetapbtError
from metapbt.history.context import digits
from metapbt.population.explorers import METHODS, explorer_class
from metapbt.report.importance import importance, untold
from metapbt.report.knowledge import has_surrogate
from metapbt.report.landscape import caption, defaults, surrogate_view, tried_points
from metapbt.report.memory_view import SOURCES, memory_view
from metapbt.report.page.data import Plain, numbers
from metapbt.report.reading import ReadRun
from metapbt.store.table import CONTEXT, HYPERPARAMETER

if TYPE_CHECKING:
    from metapbt.runs.run import Run


def known(read: ReadRun, train: bool = False) -> Plain:
    """What the page shows of what a run's method knew; takes seconds.

    ``importance`` are columns, with ``untold`` stages in words; ``memory`` is a sentence and two tables as columns;
    ``surrogates`` are those of `surrogate`, of a few generations; ``notes`` say in words what there is not.

    Args:
        read: the run.
        train: whether models of memory that are kept no more are trained anew, which takes a minute or so.
    """
    run, notes = _loaded(read), []
    found: Plain = {"importance": _importance(run.records) if read.table is not None else None, "surrogates": []}
    if not has_surrogate(run.info.method):
        notes.append(f"The method {read.info.method} chooses without a surrogate.")
    else:
        try:
            chosen = defaults(run)
            for generation in chosen.generations:
                try:
                    found["surrogates"].append(_surrogate(run, generation, chosen.x, chosen.y, train))
                except MetapbtError as error:
                    notes.append(_without_place(error, read))
        except MetapbtError as error:
            notes.append(_without_place(error, read))
    if read.info.method in METHODS and explorer_class(read.info.method).uses_memory:
        try:
            found["memory"] = _memory(run, train)
        except MetapbtError as error:
            notes.append(_without_place(error, read))
    return {**found, "notes": list(dict.fromkeys(notes))}


def surrogate(read: ReadRun, generation: int, x: str, y: str) -> Plain:
    """The surrogate after a generation over two hyperparameters.

    ``xs`` and ``ys`` are the values of the grid, ``models`` each a name with ``mean`` and ``deviation``, row by row
    from the lowest ``y``; ``points`` are columns of what had been tried and was suggested next.

    Raises:
        MetapbtError: as `metapbt.report.landscape.surrogate_view`.
    """
    return _surrogate(_loaded(read), generation, x, y, True)


def _loaded(read: ReadRun) -> Run:
    from metapbt.runs.run import Run

    return Run(read.info, read.history)


def _surrogate(run: Run, generation: int, x: str, y: str, train: bool) -> Plain:
    view = surrogate_view(run, generation, x, y, train=train)
    points = tried_points(run, generation)
    models = [
        {"name": str(name), **{column: numbers(rows[column], 3) for column in ("mean", "deviation")}}
        for name, rows in view.groupby("model", sort=False)
    ]
    first = view[view["model"] == view["model"].iloc[0]]
    columns = {"x": f"{HYPERPARAMETER}{x}", "y": f"{HYPERPARAMETER}{y}", "g": "generation", "m": "member"}
    there = points if {*columns.values()} <= {*points.columns} else pd.DataFrame(columns=["kind", *columns.values()])
    return {
        "x": x,
        "y": y,
        "log": view.attrs["log"],
        "generation": generation,
        "caption": caption(view),
        "unit": view["unit"].iloc[0],
        "xs": numbers(np.unique(first["x"]), 6),
        "ys": numbers(np.unique(first["y"]), 6),
        "models": models,
        "points": {
            "kind": [str(kind) for kind in there["kind"]],
            **{name: numbers(there[column]) for name, column in columns.items()},
            "change": numbers(there["change"], 4) if "change" in there else [],
        },
    }


def _importance(records: pd.DataFrame) -> Plain:
    found = importance(records)
    return {
        "stage": [str(stage) for stage in found["stage"]],
        "hyperparameter": [str(name) for name in found["hyperparameter"]],
        **{name: numbers(found[name], 3) for name in ("importance", "low", "high")},
        "untold": {
            str(stage): why for stage, rows in found.groupby("stage", sort=False) if (why := untold(rows)) is not None
        },
    }


def _memory(run: Run, train: bool) -> Plain:
    view = memory_view(run, train=train)
    names = [name for name in SOURCES if name not in ("run", "context")]
    own = {f"{CONTEXT}{name}": value for name, value in run.info.context.items()}
    varied = [
        name
        for name in view.sources.columns
        if name.startswith(CONTEXT) and {*view.sources[name], own.get(name)} != {own.get(name)}
    ]
    labels = [
        ", ".join(f"{name.removeprefix(CONTEXT)}={digits(row[name])}" for name in varied if pd.notna(row[name]))
        for row in view.sources.to_dict("records")
    ]
    return {
        "sentence": view.sentence,
        "sources": {"context": labels, **{name: numbers(view.sources[name], 4) for name in names}},
        "trust": {name: numbers(view.trust[name], 3) for name in view.trust.columns},
    }


def _without_place(error: MetapbtError, read: ReadRun) -> str:
    """An error without the directory of the run, which the page names otherwise."""
    said = str(error).removeprefix(f"{read.info.path}: ")
    return f"{said[0].upper()}{said[1:]}." if said else said
