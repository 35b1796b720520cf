"""The surrogate as the method saw it: what it forecast over two hyperparameters, and what had been tried by then."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from metapbt.errors import MetapbtError, unknown_name
from metapbt.history import History, Record
from metapbt.log import counted
from metapbt.parameters import Parameter
from metapbt.population.explorers.base import Pending, Surrogate
from metapbt.population.explorers.pb2 import PLAIN_GP, PB2Explorer
from metapbt.report.importance import importance
from metapbt.report.knowledge import Decision, decision_after, explorer_of, surrogate_after
from metapbt.space import Hyperparameters, Space, Value
from metapbt.store.table import HYPERPARAMETER

if TYPE_CHECKING:
    from metapbt.runs.run import Run

RESOLUTION = 24
VIEWS = 3  # generations that are shown unless others are asked for
CHANGE = "change of return over an interval"
SCORE = "standard score of the change's rank"


class Defaults(NamedTuple):
    """What is shown unless something else is asked for.

    Attributes:
        x: the hyperparameter that mattered most.
        y: the next.
        generations: a few, the last decision's being the last.
        told: whether the run tells which matter; else they are the first of its space.
    """

    x: str
    y: str
    generations: tuple[int, ...]
    told: bool


def defaults(run: Run) -> Defaults:
    """Two hyperparameters and a few generations worth looking at.

    Raises:
        MetapbtError: fewer than two hyperparameters are numbers, no generation has finished yet, or the method is code
            of the user's own.
    """
    names = _numbers(explorer_of(run).space)
    if len(names) < 2:
        raise MetapbtError(f"{run.path}: a landscape is over two numbers, and its space has {len(names)}")
    found = importance(run.records, stages=1)
    ranked = found[found["hyperparameter"].isin(names)].dropna(subset="importance")
    ranked = ranked.sort_values("importance", ascending=False, kind="stable")
    chosen = [*ranked["hyperparameter"], *(name for name in names if name not in set(ranked["hyperparameter"]))]
    if not run.history.generations:
        raise MetapbtError(f"{run.path}: no generation has finished yet")
    last = max(run.history.generations - 2, 0)  # after the last one nothing is chosen any more
    places = np.geomspace(1 + last / 8, 1 + last, VIEWS).round().astype(int) - 1  # most is learned early
    return Defaults(chosen[0], chosen[1], tuple(dict.fromkeys(places.tolist())), not ranked.empty)


def surrogate_view(
    run: Run, generation: int, x: str, y: str, resolution: int = RESOLUTION, train: bool = False
) -> pd.DataFrame:
    """What the method's surrogate forecast after a generation, over two hyperparameters.

    It is made again from the history up to then and the run's own ``memory.parquet`` by the explorer itself. It is
    asked as for the first copy of that generation: at the return of the parent, whose values the other hyperparameters
    have. Where nobody copied that is the best member. What other members were trying at the time does not narrow it.

    Args:
        run: whose.
        generation: counted from 0; the surrogate is the one that chose for the next.
        x: a hyperparameter that is a number.
        y: another.
        resolution: values of each, evenly over its scale; fewer where it has fewer legal ones.
        train: whether models of memory that are kept no more are trained anew, which takes a minute or so.

    Returns:
        A row for each point and model: ``x``, ``y`` (in the hyperparameters' own units), ``model``, ``mean``,
        ``deviation`` (of the function, without noise) and ``unit``: the change of return over an interval of usual
        length or, of ``bg_pbt``, which learns from ranks, a standard score. Models are the method's own and, where
        this is another, the plain GP of the run alone. ``attrs`` holds plain data: ``x``, ``y``, ``generation``,
        ``held`` (the others' values), ``parent`` (generation and member), ``return_before``, ``interval`` (steps) and
        ``weights`` of memory's experts, if it has any.

    Raises:
        MetapbtError: the method has no surrogate (``pbt``, ``random``, ``grid``, ``default``) or is code of the
            user's own, there was too little to fit it to, a name is not that of a number of the space or does not exist
            under the parent's values, or models of memory are kept no more.
    """
    surrogate, decision = surrogate_after(run, generation, train)
    space, parent = explorer_of(run, train).space, decision.parents[0]
    across, up = (_number(space, name, parent) for name in (x, y))
    if across is up:
        raise MetapbtError(f"x and y must be two hyperparameters, got {x} twice")
    values_x, values_y = _values(across, resolution), _values(up, resolution)
    held = {name: value for name, value in parent.hyperparameters.items() if name not in (x, y)}
    points = [(a, b) for b in values_y for a in values_x]
    configurations: list[Hyperparameters] = [{**held, x: a, y: b} for a, b in points]
    interval = usual_interval(decision.history)
    models = [surrogate]
    if surrogate.kind != PLAIN_GP:
        models += _plain(space, decision)
    frames = []
    for model in models:
        mean, deviation = model.forecast(parent, configurations)
        unit, factor = (SCORE, 1.0) if model.ranks else (CHANGE, interval)
        frames.append(
            pd.DataFrame(points, columns=["x", "y"]).assign(
                model=model.kind, mean=mean * factor, deviation=deviation * factor, unit=unit
            )
        )
    found = pd.concat(frames, ignore_index=True)
    found.attrs = {
        "x": x,
        "y": y,
        "log": [parameter.log and not parameter.complement for parameter in (across, up)],
        "generation": generation,
        "held": dict(held),
        "parent": [parent.generation, parent.member],
        "return_before": parent.reached,
        "interval": interval,
        "weights": list(surrogate.weights),
    }
    return found


def tried_points(run: Run, generation: int) -> pd.DataFrame:
    """What had been tried when a generation was over, and what the method suggested next.

    Returns:
        A row for each: ``kind`` (``tried`` or ``suggested``), ``generation`` and ``member`` that trained with it,
        ``source``, ``return_before``, ``change`` of the return over an interval of usual length (NaN of what was
        suggested: nobody knew) and ``hp.<name>``. What gives no transition, as intervals under a teacher, is left out.

    Raises:
        MetapbtError: the run has not come so far.
    """
    decision = decision_after(run, generation)
    history, interval = decision.history, usual_interval(decision.history)
    rows: list[dict[str, object]] = []
    for record in history:
        row = history.transition(record)
        if row is not None:
            rows.append(_point("tried", record, row.return_before, row.slope * interval))
    for record, parent in zip(decision.suggested, decision.parents, strict=False):
        rows.append(_point("suggested", record, parent.reached, math.nan))
    columns = ["kind", "generation", "member", "source", "return_before", "change"]
    return pd.DataFrame(rows, columns=None if rows else columns)


def usual_interval(history: History) -> float:
    """Environment steps of a usual interval: the median over all that gave a transition; 1 where none did."""
    return float(np.median([row.steps for row in history.transitions()] or [1]))


def caption(view: pd.DataFrame) -> str:
    """What a view shows, in a sentence or two."""
    said = view.attrs
    generation, member = said["parent"]
    held = ", ".join(f"{name} {_written(value)}" for name, value in said["held"].items())
    return (
        f"Forecast after generation {said['generation'] + 1}, for a copy of member {member} of generation "
        f"{generation + 1} (return {said['return_before']:.4g})"
        + (f", with {held}; points may differ in these" if held else "")
        + f". An interval has {counted(round(said['interval']), 'step')}."
    )


def _written(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _point(kind: str, record: Record, before: float, change: float) -> dict[str, object]:
    values = {f"{HYPERPARAMETER}{name}": value for name, value in record.hyperparameters.items()}
    return {
        "kind": kind,
        "generation": record.generation,
        "member": record.member,
        "source": record.source,
        "return_before": before,
        "change": change,
        **values,
    }


def _plain(space: Space, decision: Decision) -> list[Surrogate]:
    """The GP of PB2, which knows this run alone."""
    pending: Sequence[Pending] = decision.pending
    found = PB2Explorer(space).surrogate(decision.children, decision.parents, decision.history, pending)
    return [] if found is None else [found]


def _numbers(space: Space) -> list[str]:
    return [parameter.name for parameter in space.parameters if parameter.kind != "categorical"]


def _number(space: Space, name: str, parent: Record) -> Parameter:
    if name not in space.names:
        raise unknown_name("hyperparameter", name, space.names)
    parameter = next(parameter for parameter in space.parameters if parameter.name == name)
    if parameter.kind == "categorical":
        raise MetapbtError(f"{name} is a category: a landscape is over two numbers, {', '.join(_numbers(space))}")
    if name not in parent.hyperparameters:
        raise MetapbtError(f"{name} does not exist under the values of member {parent.member}, which are held")
    return parameter


def _values(parameter: Parameter, resolution: int) -> list[Value]:
    """Legal values, evenly over the parameter's scale; each once."""
    if resolution < 2:
        raise MetapbtError(f"resolution must be >= 2, got {resolution}")
    return list(dict.fromkeys(parameter.from_unit(float(place)) for place in np.linspace(0.0, 1.0, resolution)))
