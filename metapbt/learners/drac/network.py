"""The network: an encoder of pictures or vectors with two linear heads, the value's and the policy's."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from metapbt.errors import MetapbtError, one_line, unknown_name
from metapbt.learners.drac.actions import Actions

RESIDUALS = ("textbook", "published")


class ResidualBlock(nn.Module):
    """x + f(x), with f two convolutions, each after a ReLU (He et al., 2016, "Identity mappings").

    Args:
        channels: of input and output.
        published: relu(x) + f(x) instead: the published code's first ReLU works in place, and so on the sum, too.
    """

    def __init__(self, channels: int, published: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.published = published

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) as it came."""
        activated = functional.relu(x)
        # In place where nobody needs what was there: memory is what a core waits for.
        change = self.conv2(functional.relu_(self.conv1(activated)))
        return change.add_(activated if self.published else x)


class _Flat(nn.Module):
    """A convolution's output, in the order (channels, height, width), through a ReLU to a dense layer's."""

    def __init__(self, body: nn.Sequential, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.body = body
        with torch.device("meta"):
            inputs = body(torch.empty(1, *shape)).numel()
        self.dense = nn.Linear(inputs, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, width)."""
        return functional.relu_(self.dense(functional.relu_(self.body(x)).flatten(1)))


def impala(shape: tuple[int, ...], published: bool) -> nn.Module:
    """The residual network of IMPALA (Espeholt et al., 2018), 626,256 parameters with 15 actions on 64 x 64 pixels."""
    layers: list[nn.Module] = []
    for inputs, channels in pairwise((shape[0], 16, 32, 32)):
        layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1)]
        layers += [ResidualBlock(channels, published) for _ in range(2)]
    return _Flat(nn.Sequential(*layers), shape, 256)


def nature(shape: tuple[int, ...], channels: tuple[int, int, int] = (32, 64, 64), width: int = 512) -> nn.Module:
    """The convolutional network of DQN (Mnih et al., 2015)."""
    first, second, third = channels
    layers = (
        nn.Conv2d(shape[0], first, 8, stride=4),
        nn.ReLU(inplace=True),
        nn.Conv2d(first, second, 4, stride=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(second, third, 3),
    )
    return _Flat(nn.Sequential(*layers), shape, width)


def mlp(shape: tuple[int, ...]) -> nn.Module:
    """A perceptron with two hidden layers of 64 units."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())


#: Encoders by name, from an observation's shape and whether residual blocks are the published ones. All but the
#: perceptron are for pictures.
NETWORKS: dict[str, Callable[[tuple[int, ...], bool], nn.Module]] = {
    "impala": impala,
    "nature": lambda shape, _: nature(shape),
    "nature_small": lambda shape, _: nature(shape, (16, 32, 32), 256),
    "mlp": lambda shape, _: mlp(shape),
}


class Architecture(NamedTuple):
    """What a network is built from."""

    name: str  # a key of ``NETWORKS``
    shape: tuple[int, ...]  # of an observation as the network sees it: of a picture (channels, height, width)
    actions: Actions
    published: bool = False  # of residual blocks

    def build(self, rng: np.random.Generator | None = None) -> ActorCritic:
        """A new network, drawn with ``rng``; with None its parameters are yet to be filled in.

        Raises:
            MetapbtError: the name is unknown, or observations do not suit it.
        """
        if self.name not in NETWORKS:
            raise unknown_name("learner.network", self.name, ("auto", *NETWORKS))
        pictures = len(self.shape) == 3
        if self.name != "mlp" and not pictures:
            raise MetapbtError(f"learner.network={self.name} needs pictures, got observations of shape {self.shape}")
        with torch.device("meta"):  # nothing is drawn from Torch's own generator
            try:
                network = ActorCritic(NETWORKS[self.name](self.shape, self.published), self.shape, self.actions)
            except RuntimeError as error:
                raise MetapbtError(
                    f"learner.network={self.name} cannot see pictures of shape {self.shape}: {one_line(error)}"
                ) from error
        network.to_empty(device="cpu")
        if rng is not None:
            network.draw(torch.Generator().manual_seed(int(rng.integers(2**63))))
        # Channels last: oneDNN's convolutions are twice as fast.
        return network.to(memory_format=torch.channels_last) if pictures else network  # type: ignore[call-overload]


class ActorCritic(nn.Module):
    """An encoder with the value's and the policy's head.

    Args:
        encoder: from observations to (batch, features).
        shape: of an observation.
        actions: what the policy's outputs are.
    """

    def __init__(self, encoder: nn.Module, shape: tuple[int, ...], actions: Actions) -> None:
        super().__init__()
        self.encoder = encoder
        features = encoder(torch.empty(1, *shape)).shape[1]
        self.value = nn.Linear(features, 1)
        self.policy = nn.Linear(features, actions.heads)
        self.log_std = nn.Parameter(torch.empty(actions.heads)) if actions.deviations else None

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """The policy's outputs and the values (batch,) for observations (batch, *shape)."""
        features = self.encoder(observations)
        outputs = self.policy(features)
        if self.log_std is not None:
            outputs = torch.cat([outputs, self.log_std.expand_as(outputs)], dim=1)
        return outputs, self.value(features)[:, 0]

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Draw all parameters.

        IMPALA's kernels are Xavier's, uniform; other layers are orthogonal, with a gain of sqrt(2), but 1 for the value
        and 0.01 for the policy, whose first actions then hardly depend on what it sees. The rest is zeros.
        """
        gains: dict[nn.Module, float] = {self.value: 1.0, self.policy: 0.01}
        residual = any(isinstance(module, ResidualBlock) for module in self.modules())
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and residual:
                nn.init.xavier_uniform_(module.weight, generator=generator)
            elif isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.orthogonal_(module.weight, gains.get(module, math.sqrt(2)), generator=generator)
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        if self.log_std is not None:
            nn.init.zeros_(self.log_std)
