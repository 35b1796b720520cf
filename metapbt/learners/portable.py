"""A trained agent as one PyTorch module, from what an environment shows to an action: what is exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn


@dataclass(frozen=True)
class Portable:
    """An agent that needs nothing of metapbt.

    Attributes:
        module: maps batches of observations, as environments give them, to the most likely actions, as environments
            take them, and to what these follow from: ``(batch, *action)`` and ``(batch, outputs)``. Its ``forward``
            is ``(*tensors)``, one for each of ``inputs``, in that order.
        inputs: of each observation's parts, the space: one part, ``observation``, but for dictionaries.
        scores: what the second output is: ``logits``, ``mean``, ``q_values``.
        ours: the same two outputs for the same inputs, as metapbt's own policy has them.
    """

    module: nn.Module
    inputs: Mapping[str, spaces.Space[Any]]
    scores: str
    ours: Callable[[Mapping[str, NDArray[Any]]], tuple[NDArray[Any], NDArray[Any]]]

    def __post_init__(self) -> None:
        """Let the module act and not learn."""
        self.module.eval().requires_grad_(False)


class Acting(nn.Module):
    """Chooses the most likely action: of logits the largest, of a mean itself, within the box.

    Args:
        scores: from observations to (batch, outputs).
        space: of the environment's actions.
    """

    low: Tensor
    high: Tensor

    def __init__(self, scores: nn.Module, space: spaces.Discrete | spaces.Box) -> None:
        super().__init__()
        self.scores = scores
        self.start = int(space.start) if isinstance(space, spaces.Discrete) else None
        self.shape = space.shape or ()
        if isinstance(space, spaces.Box):
            self.register_buffer("low", torch.from_numpy(space.low.ravel().copy()))
            self.register_buffer("high", torch.from_numpy(space.high.ravel().copy()))

    def forward(self, *observations: Tensor) -> tuple[Tensor, Tensor]:
        """One tensor, (batch, *observation), to (batch, *action) and (batch, outputs)."""
        (observation,) = observations
        scores = self.scores(observation)
        if self.start is not None:
            return scores.argmax(dim=1) + self.start, scores
        clipped = scores.to(self.low.dtype).clamp(self.low, self.high)
        return clipped.reshape(-1, *self.shape), scores


def in_numpy(module: nn.Module, inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
    """What a module of two outputs says of batches of NumPy arrays."""
    with torch.no_grad():
        action, scores = module(*(torch.from_numpy(np.ascontiguousarray(each)) for each in inputs.values()))
    return action.numpy(), scores.numpy()
