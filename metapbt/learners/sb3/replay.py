"""What a replay buffer holds, as arrays, and put into another one: of another size or kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.learners.base import State
from metapbt.learners.corners import DoesNotFit

_PREFIX = "replay/"
_PLACE = f"{_PREFIX}place"
_NAMES = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def replay_state(buffer: Any) -> State:
    """A buffer's transitions, as it holds them: each array has a row for a step of all environments.

    One that saves memory (``optimize_memory_usage``) holds no ``next_observations``: they are the observations of the
    row below, so that there is one row more of these.
    """
    filled = buffer.buffer_size if buffer.full else buffer.pos
    state: State = {_PLACE: np.array([buffer.pos, buffer.full])}
    for name, array in _arrays(buffer):
        one_more = buffer.optimize_memory_usage and name == "observations"
        state[f"{_PREFIX}{name}"] = array[: filled + one_more]
    return state


def restore_replay(buffer: Any, state: State) -> None:
    """Put the latest of the saved transitions, as many as there is room for, into an empty buffer.

    In one of the same size and kind they have the same places, for draws are of places.

    Raises:
        DoesNotFit: they are of other environments, or of another number of them.
    """
    rows, oldest = _transitions(state)
    size, halved, count = buffer.buffer_size, buffer.optimize_memory_usage, len(rows["rewards"])
    was_full = bool(state[_PLACE][1])
    as_it_was = was_full and (size, halved) == (len(state[f"{_PREFIX}rewards"]), _is_halved(state))
    kept = min(count, size - 1 if halved else size)
    first = oldest if as_it_was else 0
    places = (first + np.arange(kept)) % size
    for name, array in _arrays(buffer):
        if name == "timeouts" and not buffer.handle_timeout_termination:
            continue  # to it, every end is an end
        if name not in rows or array.shape[1:] != rows[name].shape[1:]:
            raise DoesNotFit(f"the checkpoint's replay buffer does not fit: {name} of each step differ in shape")
        array[places] = rows[name][count - kept :]
    buffer.pos = int(first + kept) % size
    buffer.full = kept == size or as_it_was
    if halved and count:
        buffer.observations[buffer.pos] = rows["next_observations"][-1]


def end_episodes(buffer: Any) -> None:
    """Let the episodes under way end with the latest transition, as if cut off by a time limit: they do not go on."""
    if not (buffer.full or buffer.pos):
        return
    latest = buffer.pos - 1
    if buffer.handle_timeout_termination:
        buffer.timeouts[latest] = np.maximum(buffer.timeouts[latest], 1 - buffer.dones[latest])
    buffer.dones[latest] = 1


def _transitions(state: State) -> tuple[dict[str, NDArray[Any]], int]:
    """All saved transitions, oldest first, each with what it led to; and the place of the oldest."""
    place, full = (int(number) for number in state[_PLACE])
    saved = {name.removeprefix(_PREFIX): array for name, array in state.items() if name.startswith(_PREFIX)}
    del saved["place"]
    halved = _is_halved(state)
    # In a full halved buffer the oldest transition has lost its observation to the latest one.
    oldest = (place + halved) % len(saved["rewards"]) if full else 0
    rows = {name: np.roll(array, -oldest, axis=0) if oldest else array for name, array in saved.items()}
    if halved:
        observations = rows.pop("observations")
        rows = {name: array[: len(observations) - 1] for name, array in rows.items()}
        rows |= {"observations": observations[:-1], "next_observations": observations[1:]}
    return rows, oldest


def _is_halved(state: State) -> bool:
    return not any(name.startswith(f"{_PREFIX}next_observations") for name in state)


def _arrays(buffer: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """A buffer's arrays; those of dictionaries are called ``observations/<key>``."""
    for name in _NAMES:
        held = vars(buffer).get(name)
        if isinstance(held, dict):
            yield from ((f"{name}/{key}", array) for key, array in held.items())
        elif held is not None:
            yield name, held
