"""Running normalisation of observations and rewards, as in Stable-Baselines3's ``VecNormalize``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError
from metapbt.learners.base import State

LARGEST = 10.0  # normalised numbers are clipped to [-10, 10]
EPSILON = 1e-8


class RunningMoments:
    """Mean and variance of all that was seen so far (Chan et al. 1979).

    Attributes:
        mean: (*shape), float64.
        variance: (*shape), float64.
        count: how many were seen, with a ten-thousandth of one from the start.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean: NDArray[np.float64] = np.zeros(shape)
        self.variance: NDArray[np.float64] = np.ones(shape)
        self.count = 1e-4

    @property
    def deviation(self) -> NDArray[np.float64]:
        """What normalised numbers are divided by, (*shape)."""
        deviation: NDArray[np.float64] = np.sqrt(self.variance + EPSILON)
        return deviation

    def update(self, batch: NDArray[Any]) -> None:
        """Take in a batch, (batch, *shape)."""
        difference = batch.mean(axis=0) - self.mean
        total = self.count + len(batch)
        squares = self.variance * self.count + batch.var(axis=0) * len(batch)
        squares += difference**2 * (self.count * len(batch) / total)
        self.mean = self.mean + difference * (len(batch) / total)
        self.variance = squares / total
        self.count = total

    def state(self, name: str) -> State:
        """The moments as named arrays."""
        return {
            f"{name}/mean": np.array(self.mean),
            f"{name}/variance": np.array(self.variance),
            f"{name}/count": np.array(self.count),
        }

    def restore(self, name: str, state: State) -> None:
        """Go on from named arrays.

        Raises:
            MetapbtError: one is missing.
        """
        try:
            mean, variance, count = (state[f"{name}/{part}"] for part in ("mean", "variance", "count"))
        except KeyError as error:
            raise MetapbtError(f"the checkpoint lacks {error}: it was trained without normalisation") from error
        self.mean, self.variance = np.array(mean, np.float64), np.array(variance, np.float64)
        self.count = float(count)


class ObservationNormaliser:
    """Centres and scales observations by what was seen so far.

    Args:
        size: numbers in an observation.
    """

    def __init__(self, size: int) -> None:
        self.moments = RunningMoments((size,))

    def see(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Take in observations, (batch, size), and normalise them."""
        self.moments.update(observations)
        return self(observations)

    def __call__(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalise observations, (batch, size)."""
        scaled = (observations - self.moments.mean) / self.moments.deviation
        return np.clip(scaled, -LARGEST, LARGEST).astype(np.float32)


class RewardNormaliser:
    """Scales rewards by the deviation of the discounted return so far; it does not centre them.

    Args:
        moments: of the returns; they go on from interval to interval.
        discounted: (num_envs,), the discounted returns of the episodes under way; 0 for new ones.
        gamma: the discount.
    """

    def __init__(self, moments: RunningMoments, discounted: NDArray[np.float64], gamma: float) -> None:
        self.moments = moments
        self.discounted = discounted.copy()
        self.gamma = gamma

    def see(self, rewards: NDArray[np.floating[Any]], dones: NDArray[np.bool_]) -> NDArray[np.floating[Any]]:
        """Take in rewards, (num_envs,), and normalise them."""
        self.discounted = self.discounted * self.gamma + rewards
        self.moments.update(self.discounted)
        self.discounted[dones] = 0
        return np.clip(rewards / self.moments.deviation, -LARGEST, LARGEST)
