"""What the policy's outputs say of actions: discrete ones by logits, boxes by Gaussians."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal


class Actions(Protocol):
    """How actions are drawn from the policy's outputs, and how likely they are."""

    #: Numbers that the policy's last layer gives.
    heads: int
    #: Whether the network has a deviation for each of them that does not depend on the observation.
    deviations: bool

    def noise(self, rng: np.random.Generator, *shape: int) -> Tensor:
        """What ``draw`` needs for ``shape`` actions, (*shape, heads) float32."""

    def draw(self, outputs: Tensor, noise: Tensor | None = None) -> Tensor:
        """Actions for outputs (batch, ...): the most likely ones, or with noise (batch, heads) a draw."""

    def distribution(self, outputs: Tensor) -> Distribution:
        """The distribution of actions for outputs (batch, ...)."""


class Discrete:
    """One of ``heads`` actions. Outputs are logits, (batch, heads), and actions (batch,) integers from 0."""

    deviations = False

    def __init__(self, heads: int) -> None:
        self.heads = heads

    def noise(self, rng: np.random.Generator, *shape: int) -> Tensor:
        """Gumbel noise."""
        return torch.from_numpy(rng.gumbel(size=(*shape, self.heads)).astype(np.float32))

    def draw(self, outputs: Tensor, noise: Tensor | None = None) -> Tensor:
        """The largest logit; with noise a draw, by the Gumbel-max trick."""
        return (outputs if noise is None else outputs + noise).argmax(dim=1)

    def distribution(self, outputs: Tensor) -> Distribution:
        """Categorical."""
        return Categorical(logits=outputs, validate_args=False)


class Continuous:
    """``heads`` numbers, not clipped to any bounds.

    Outputs are means and logarithms of deviations, (batch, 2 * heads).
    """

    deviations = True

    def __init__(self, heads: int) -> None:
        self.heads = heads

    def noise(self, rng: np.random.Generator, *shape: int) -> Tensor:
        """Normal noise."""
        return torch.from_numpy(rng.standard_normal(size=(*shape, self.heads), dtype=np.float32))

    def draw(self, outputs: Tensor, noise: Tensor | None = None) -> Tensor:
        """The mean, plus the noise times the deviation."""
        mean, log_std = outputs.chunk(2, dim=1)
        return mean if noise is None else mean + log_std.exp() * noise

    def distribution(self, outputs: Tensor) -> Distribution:
        """Independent normal ones."""
        mean, log_std = outputs.chunk(2, dim=1)
        normal = Normal(mean, log_std.exp(), validate_args=False)
        return Independent(normal, 1, validate_args=False)


def actions_of(space: spaces.Discrete | spaces.Box) -> Actions:
    """The actions of an environment's action space."""
    return Discrete(int(space.n)) if isinstance(space, spaces.Discrete) else Continuous(math.prod(space.shape))
