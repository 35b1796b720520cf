"""When a run may end before its budget is used up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from metapbt.errors import MetapbtError
from metapbt.history import History
from metapbt.log import counted


def check_stop(stop: Mapping[str, Any]) -> None:
    """Check the configuration's ``stop``.

    Raises:
        MetapbtError: a limit is no number, or a patience below 1.
    """
    for name, limit in stop.items():
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float)):
            raise MetapbtError(f"stop.{name} must be a number or null, got {limit!r}")
    if stop["plateau"] is not None and (not isinstance(stop["plateau"], int) or stop["plateau"] < 1):
        raise MetapbtError(f"stop.plateau must be an integer >= 1, got {stop['plateau']}")


def stop_reason(history: History, stop: Mapping[str, Any]) -> str | None:
    """Say why a run need not use up its budget, if so.

    Args:
        history: everything so far.
        stop: the configuration's ``stop``: ``return_reached``, ``spent_steps``, ``wall_seconds``, ``plateau``, each a
            number or None.
    """
    if all(limit is None for limit in stop.values()):
        return None
    reached = [history.best_of(number).reached for number in range(history.generations)]
    if not reached:
        return None
    scores = [-math.inf if math.isnan(score) else score for score in reached]  # nobody had a finite return
    if stop["return_reached"] is not None and scores[-1] >= stop["return_reached"]:
        return f"the score of {scores[-1]:.2f} has reached stop.return_reached={stop['return_reached']:g}"
    if stop["spent_steps"] is not None:
        # At its end: what an asynchronous run has of the next one may be there when it goes on after a stop.
        end = max(place for place, record in enumerate(history) if record.generation < history.generations)
        spent = history.spent_steps[end]
        if spent >= stop["spent_steps"]:
            return f"the run has trained {spent} environment steps, stop.spent_steps={stop['spent_steps']:g}"
    seconds = sum(max(r.wall_seconds for r in history.generation(n)) for n in range(history.generations))
    if stop["wall_seconds"] is not None and seconds >= stop["wall_seconds"]:
        return f"training took {seconds:.0f} s, stop.wall_seconds={stop['wall_seconds']:g}"
    patience = stop["plateau"]
    if patience is not None:
        # Students are not expected to be better than who taught them, and a new era is a new chance.
        scores = [] if history.screening and history.eras > 1 else scores[history.settled :]
    if patience is not None and -math.inf < max(scores[:-patience], default=-math.inf) >= max(scores[-patience:]):
        return f"the best score of {max(scores):.2f} has not grown for stop.plateau={patience} generations"
    return None


def check_anything_learned(history: History) -> None:
    """Check, at a run's end, that somebody was worth something.

    It is not asked before: the first episodes may take longer than the first intervals, and until one has ended a
    learner that does not evaluate has no return.

    Raises:
        MetapbtError: no member ever had a finite return, so that there is no best agent.
    """
    if not math.isfinite(history.best().performance):
        raise MetapbtError(
            f"no member ever had a finite return in {counted(history.generations, 'generation')}: there is no best "
            "agent; look at what the learner returns and at the space's bounds, and begin again with resume=false"
        )
