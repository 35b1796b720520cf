"""The figures of one run: landscapes of its surrogate, importance of its hyperparameters, what it remembered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from metapbt.errors import MetapbtError
from metapbt.files import write_text_atomically
from metapbt.population.explorers import METHODS, explorer_class
from metapbt.report.figures.importance import draw_importance
from metapbt.report.figures.landscape import draw_landscape
from metapbt.report.figures.memory import draw_memory
from metapbt.report.figures.style import save_figure
from metapbt.report.importance import importance
from metapbt.report.knowledge import has_surrogate
from metapbt.report.landscape import caption, defaults, surrogate_view, tried_points
from metapbt.report.memory_view import memory_view

if TYPE_CHECKING:
    from metapbt.runs.run import Run


class RunFigures(NamedTuple):
    """What was drawn of a run.

    Attributes:
        captions: of each figure, by its name; ``<name>.png``, ``<name>.pdf`` and ``<name>.csv`` were written.
        notes: what could not be drawn, and why, in one line each.
    """

    captions: dict[str, str]
    notes: tuple[str, ...]


def write_run_figures(run: Run, out: Path, width: float | None = None) -> RunFigures:
    """Draw what a run's method knew; the same run gives the same files, byte for byte.

    Models of memory that are kept no more are trained anew, which takes a minute or so.

    Args:
        run: finished, or as far as it is written.
        out: the folder of the figures.
        width: of every figure in inches, with text of 8 points, for a paper; None for the page.
    """
    captions: dict[str, str] = {}
    notes: list[str] = []
    mattered = importance(run.records)
    save_figure(draw_importance(mattered, width=width), out, "importance")
    _write(mattered, out, "importance")
    captions["importance"] = "How much of the variance between members depends on each hyperparameter."
    if has_surrogate(run.info.method):
        try:
            _landscapes(run, out, width, captions, notes)
        except MetapbtError as error:
            notes.append(str(error))
    else:
        known = run.info.method in METHODS
        why = "has no surrogate" if known else "is code of its user's, which is not imported because results name it"
        notes.append(f"method={run.info.method} {why}: no landscape")
    if has_surrogate(run.info.method) and explorer_class(run.info.method).uses_memory:
        try:
            view = memory_view(run, train=True)
        except MetapbtError as error:
            notes.append(str(error))
        else:
            save_figure(draw_memory(view, width=width), out, "memory")
            _write(view.trust, out, "memory")
            _write(view.sources, out, "memory_sources")
            captions["memory"] = view.sentence
    return RunFigures(captions, tuple(notes))


def _landscapes(run: Run, out: Path, width: float | None, captions: dict[str, str], notes: list[str]) -> None:
    chosen = defaults(run)
    for generation in chosen.generations:
        name = f"landscape_{generation + 1}"
        try:
            view = surrogate_view(run, generation, chosen.x, chosen.y, train=True)
        except MetapbtError as error:
            notes.append(f"{name}: {error}")
            continue
        tried = tried_points(run, generation)
        save_figure(draw_landscape(view, tried, width=width), out, name)
        _write(view, out, name)
        _write(tried, out, f"{name}_tried")
        captions[name] = caption(view)


def _write(frame: pd.DataFrame, out: Path, name: str) -> None:
    write_text_atomically(out / f"{name}.csv", frame.to_csv(index=False))
