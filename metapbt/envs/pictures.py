"""Observations that are pictures: which are, and how their numbers are arranged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import gymnasium

CHANNELS = (1, 3, 4)  # grey; red, green, blue; and how opaque


def is_picture(space: gymnasium.Space[Any]) -> bool:
    """Whether observations are pictures of bytes: (height, width), or with 1, 3 or 4 channels before or after."""
    shape = space.shape or ()
    channels = len(shape) == 3 and (shape[0] in CHANNELS or shape[2] in CHANNELS)
    return space.dtype == np.uint8 and (len(shape) == 2 or channels)


def channels_last(picture: NDArray[Any]) -> NDArray[Any]:
    """A picture as (height, width, channels), whichever of the arrangements it has."""
    if picture.ndim == 2:
        return picture[:, :, None]
    if picture.ndim == 3 and picture.shape[2] not in CHANNELS:
        return picture.transpose(1, 2, 0)
    return picture
