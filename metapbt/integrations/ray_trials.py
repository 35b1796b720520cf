"""What Ray Tune's trials report, checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from metapbt.errors import MetapbtError, shown
from metapbt.integrations.ray_space import values_in
from metapbt.plain import number, same
from metapbt.space import Hyperparameters, Space


def trained_with(trial: Any, result: Mapping[str, Any], space: Space) -> Hyperparameters:
    """The hyperparameters of a trial.

    Args:
        trial: that reports.
        result: what it reports, flat.
        space: of the hyperparameters.

    Raises:
        MetapbtError: the report shows others than the trial was given.
    """
    asked = values_in(trial.config, space)
    for name, value in asked.items():
        path = name.replace(".", "/")
        for key in (f"config/{path}", path):
            if key in result and not _alike(result[key], value):
                raise MetapbtError(
                    f"trial {trial.trial_id} was to train with {name}={shown(value)}, but reports "
                    f"{shown(result[key])}: set hyperparameters from config after a checkpoint is restored, which "
                    "may bring along those of the trial that it is of"
                )
    return space.checked(asked)


def not_saved(trial: Any, time_attr: str, time: float) -> str | None:
    """What is said of a trial that was not saved where its interval ended; None where it was.

    Who goes on from its last checkpoint trains that interval again.
    """
    saved = trial.latest_checkpoint_result
    if saved is None or saved.checkpoint is None:
        return (
            f"trial {trial.trial_id} has saved no checkpoint at {time_attr}={time:g}: report one with each interval's "
            "last result, or implement save_checkpoint"
        )
    at = number(saved.metrics.get(time_attr))
    if at is not None and at != time:
        return (
            f"trial {trial.trial_id} was at {time_attr}={time:g}, but its checkpoint is of {time_attr}={at:g}: "
            "report one with each interval's last result"
        )
    return None


def lacking(trial: Any, name: str, result: Mapping[str, Any]) -> str:
    """What is said where a report lacks something."""
    reported = ", ".join(sorted(key for key in result if not key.startswith("config/")))
    return f"trial {trial.trial_id} reports no number called '{name}'; it reports {reported}"


def _alike(reported: Any, asked: Any) -> bool:
    """Whether a report shows what was asked for, be it in another precision."""
    one, other = number(reported), number(asked)
    if one is not None and other is not None:
        return math.isclose(one, other, rel_tol=1e-5)
    return same(reported, asked) if isinstance(reported, str | bool | int | float | type(None)) else True
