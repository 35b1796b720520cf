"""The policy of a trained agent in PyTorch, to be exported."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from metapbt.learners.normalise import LARGEST, ObservationNormaliser
from metapbt.learners.ppo.network import Floats, Network

#: Those of ``ppo.network``, by the same names.
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "silu": functional.silu,
}


class Perceptron(nn.Module):
    """The policy's layers, with the normalisation of observations before them.

    Args:
        network: whose policy.
        parameters: of the network, from its ``split``.
        normalise: observations, counted in float64 as it does; None leaves them as they are.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, network: Network, parameters: Mapping[str, Floats], normalise: ObservationNormaliser | None
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for name in network.policy:
            kernel, bias = (torch.from_numpy(np.array(parameters[f"{name}/{part}"])) for part in ("kernel", "bias"))
            layer = nn.Linear(*kernel.shape)
            layer.weight.data, layer.bias.data = kernel.T.contiguous(), bias
            self.layers.append(layer)
        self.activation = _ACTIVATIONS[network.policy_activation]
        self.normalises = normalise is not None
        if normalise is not None:
            self.register_buffer("mean", torch.from_numpy(normalise.moments.mean.copy()))
            self.register_buffer("deviation", torch.from_numpy(normalise.moments.deviation.copy()))

    def forward(self, observation: Tensor) -> Tensor:
        """The policy's outputs, (batch, outputs), for observations (batch, *shape)."""
        x = observation.flatten(1).to(torch.float32)
        if self.normalises:
            x = ((x.to(torch.float64) - self.mean) / self.deviation).clamp(-LARGEST, LARGEST).to(torch.float32)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        outputs: Tensor = self.layers[-1](x)
        return outputs
