"""Observations that people hand to a policy: one, or several at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.errors import MetapbtError


def in_a_batch(space: spaces.Space[Any], observation: Any) -> tuple[Any, bool]:
    """Observations as (batch, *shape) of their space's type, and whether it was one alone: then the batch has one.

    Args:
        space: of one observation.
        observation: one, or several stacked; of a ``Dict`` space a mapping of such.

    Raises:
        MetapbtError: shape, type or keys are others.
    """
    if isinstance(space, spaces.Dict):
        if not isinstance(observation, Mapping) or set(observation) != set(space):
            got = sorted(observation) if isinstance(observation, Mapping) else type(observation).__name__
            raise MetapbtError(f"an observation must be a mapping with {', '.join(space)}, got {got}")
        parts = {name: _batch(part, observation[name], f"observation '{name}'") for name, part in space.items()}
        counts = {-1 if alone else len(array) for array, alone in parts.values()}
        if len(counts) > 1:
            raise MetapbtError("all parts of an observation must be of one, or of the same number of observations")
        return {name: array for name, (array, _) in parts.items()}, counts == {-1}
    return _batch(space, observation, "observation")


def _batch(space: spaces.Space[Any], observation: Any, what: str) -> tuple[NDArray[Any], bool]:
    shape, dtype = space.shape, space.dtype
    if shape is None or dtype is None:
        raise MetapbtError(f"{what} is of a space that is no array: {space}")
    try:
        array = np.asarray(observation)
    except ValueError as error:  # lists of several lengths
        raise MetapbtError(f"{what} is no array: {error}") from error
    if not np.can_cast(array.dtype, dtype, "same_kind") and not _whole(array, dtype):
        raise MetapbtError(f"{what} must be of {dtype}, got {array.dtype}")
    alone = array.shape == shape
    if not alone and (array.shape[1:] != shape or not array.size):
        several = "(n, " + ", ".join(map(str, shape)) + ")" if shape else "(n,)"
        raise MetapbtError(f"{what} must have the shape {shape}, or {several} for n of them, got {array.shape}")
    return (array[None] if alone else array).astype(dtype, copy=False), alone


def _whole(array: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    """Whether these are whole numbers that a type of whole numbers holds, as Python's in a list of bytes."""
    if not (np.issubdtype(array.dtype, np.integer) and np.issubdtype(dtype, np.integer)):
        return False
    limits = np.iinfo(dtype)
    return not array.size or bool(limits.min <= array.min() and array.max() <= limits.max)
