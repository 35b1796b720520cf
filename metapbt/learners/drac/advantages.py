"""Generalised advantages and returns of a rollout, and how advantages are normalised."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.floating[Any]]
Numbers = TypeVar("Numbers", Floats, Tensor)

_EPSILON = 1e-5


def advantages_and_returns(
    rewards: Floats, dones: NDArray[np.bool_], values: Floats, last_values: Floats, gamma: float, gae_lambda: float
) -> tuple[Floats, Floats]:
    """Generalised advantages, and the returns that values are fitted to; both (time, envs).

    Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", equation 16.

    Args:
        rewards: (time, envs).
        dones: (time, envs), whether the episode ended in the step.
        values: (time, envs), of the observations that were acted on.
        last_values: (envs,), of the observations after the last step.
        gamma: the discount.
        gae_lambda: how much of later errors an advantage takes in.
    """
    advantages = np.empty_like(values)
    advantage, next_values = np.zeros_like(last_values), last_values
    for t in reversed(range(len(rewards))):
        going_on = 1 - dones[t].astype(values.dtype)
        error = rewards[t] + gamma * going_on * next_values - values[t]
        advantage = error + gamma * gae_lambda * going_on * advantage
        advantages[t], next_values = advantage, values[t]
    return advantages, advantages + values


def normalised(advantages: Tensor) -> Tensor:
    """Centred and divided by the unbiased deviation, which the published code adds 1e-5 to; a single one as it is."""
    if len(advantages) < 2:
        return advantages
    return (advantages - advantages.mean()) / (advantages.std() + _EPSILON)
