"""A tiny round trip over a search space's corners: what cannot be trained is refused before anything is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from metapbt.errors import MetapbtError, named, one_line
from metapbt.learners.base import State

if TYPE_CHECKING:
    from metapbt.space import Hyperparameters, Space

#: Trains a few steps with hyperparameters, from a state or as a new agent, and returns what became of it.
Trial = Callable[["Hyperparameters", State | None], State]


class DoesNotFit(MetapbtError):
    """A state that another network is needed for."""


def check_corners(who: str, space: Space, trial: Trial) -> None:
    """Train each corner of a space for a few steps, from what the default has learned and back, as copies would.

    Hyperparameters with ``role: architecture`` do not change at a copy, so that a corner with another network is
    reached from the default with that network.

    Args:
        who: what trains, for the errors.
        space: the search space.
        trial: trains a few steps. Whatever it raises is a reason to refuse.

    Raises:
        MetapbtError: a corner cannot be trained, or not from the state of another; it names the hyperparameter that is
            to blame by itself, or else all that differ from the default.
    """
    default, *others = space.corners()
    try:
        learned = trial(default, None)
    except Exception as error:
        for corner in others:
            changed = _changed(corner, default)
            if len(changed) == 1 and _passes(trial, corner):
                raise _refusal(who, default, changed, error) from error
        raise MetapbtError(f"{who} cannot be set up: {_reason(error)}") from error

    of_network: dict[str, State] = {repr(default): learned}

    def fault(corner: Hyperparameters) -> Exception | None:
        base = space.with_architecture_of(default, corner)
        try:
            before = of_network[repr(base)] if repr(base) in of_network else trial(base, None)
            of_network[repr(base)] = before
            trial(base, trial(corner, before))
        except Exception as error:
            return error
        return None

    for corner in others:
        found = fault(corner)
        if found is None:
            continue
        for name in _changed(corner, default):
            alone = space.active({**space.unconditional_default(), name: corner[name]})
            if alone != corner and (of_one := fault(alone)) is not None:
                raise _refusal(who, alone, [name], of_one) from of_one
        raise _refusal(who, corner, _changed(corner, default), found) from found


def _passes(trial: Trial, corner: Hyperparameters) -> bool:
    try:
        trial(corner, None)
    except Exception:
        return False
    return True


def _changed(corner: Hyperparameters, default: Hyperparameters) -> list[str]:
    return [name for name in corner if name not in default or corner[name] != default[name]]


def _refusal(who: str, corner: Hyperparameters, names: list[str], error: Exception) -> MetapbtError:
    where = " with ".join(f"space.{name}={corner[name]!r}" for name in names)
    if isinstance(error, DoesNotFit):
        return MetapbtError(
            f"{where} changes the network, so that a copy could not go on with what was learned: "
            "it needs `role: architecture`"
        )
    return MetapbtError(f"{where} cannot be trained by {who}: {_reason(error)}")


def _reason(error: Exception) -> str:
    text = one_line(error)
    speaks_for_itself = isinstance(error, MetapbtError | AssertionError | ValueError) and text
    return text if speaks_for_itself else named(error)
