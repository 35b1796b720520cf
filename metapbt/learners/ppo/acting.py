"""A policy whose layers, widths and activation are data: agents of all networks act in one compiled program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.jax_backend import jax, jnp
from metapbt.learners.ppo.network import ACTIVATIONS, Network

#: Places for hidden layers and for their units, at least; a hidden layer is computed as wide as one of powers of two
#: from the least width on.
_LAYERS, _LEAST_WIDTH, _WIDTH = 8, 64, 256


@dataclass(frozen=True)
class AnyPolicy(Network):
    """The policy of any network that fits: only acting, so that nothing of learning is padded.

    Its parameters are a dict of arrays, not a vector: of the layers from the observation (``first``), between hidden
    ones (``hidden``, stacked) and to the output (``last``), how many hidden layers there are, and which of
    ``ACTIVATIONS``. Layers are looped over and the activation and the width branched on, so an agent's steps cost
    about what its own network does; under ``vmap`` branches would all be computed.
    """

    @classmethod
    def around(cls, network: Network) -> AnyPolicy:
        """The room for a network: the same for nearly all of a search."""
        layers, width = _LAYERS, _WIDTH
        while layers < len(network.policy_widths):
            layers *= 2
        while width < max(network.policy_widths):
            width *= 2
        return cls(network.inputs, network.outputs, network.continuous, (width,) * layers, ())

    def filled(self, network: Network, parameters: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
        """The parameters of a network's policy, from its ``split``, in the places that are here."""
        width, places = self.policy_widths[0], len(self.policy_widths)
        arrays: dict[str, NDArray[Any]] = {
            "first/kernel": np.zeros((self.inputs, width), np.float32),
            "first/bias": np.zeros(width, np.float32),
            "hidden/kernel": np.zeros((places - 1, width, width), np.float32),
            "hidden/bias": np.zeros((places - 1, width), np.float32),
            "last/kernel": np.zeros((width, self.outputs), np.float32),
            "last/bias": np.zeros(self.outputs, np.float32),
            "layers": np.array(len(network.policy_widths), np.int32),
            "width": np.array(np.searchsorted(self._computed, max(network.policy_widths)), np.int32),
            "activation": np.array(list(ACTIVATIONS).index(network.policy_activation), np.int32),
        }
        if self.continuous:
            arrays["log_std"] = parameters["log_std"]
        first, *hidden, last = network.policy
        for name, layer in (("first", first), ("last", last)):
            kernel, bias = (parameters[f"{layer}/{part}"] for part in ("kernel", "bias"))
            arrays[f"{name}/kernel"][: kernel.shape[0], : kernel.shape[1]] = kernel
            arrays[f"{name}/bias"][: len(bias)] = bias
        for place, layer in enumerate(hidden):
            kernel, bias = (parameters[f"{layer}/{part}"] for part in ("kernel", "bias"))
            arrays["hidden/kernel"][place, : kernel.shape[0], : kernel.shape[1]] = kernel
            arrays["hidden/bias"][place, : len(bias)] = bias
        return arrays

    def split(self, vector: Any) -> dict[str, Any]:
        """The named arrays, which ``vector`` is here."""
        arrays: dict[str, Any] = vector
        return arrays

    def outputs_for(self, xp: Any, parameters: Mapping[str, Any], observations: Any) -> Any:
        """The policy's outputs, (batch, outputs), of JAX."""
        branches = [partial(_outputs, width) for width in self._computed]
        return jax.lax.switch(parameters["width"], branches, dict(parameters), observations)

    @property
    def _computed(self) -> list[int]:
        """The widths that hidden layers are computed with."""
        widths = [_LEAST_WIDTH]
        while widths[-1] < self.policy_widths[0]:
            widths.append(2 * widths[-1])
        return widths


def _outputs(width: int, parameters: Mapping[str, Any], x: Any) -> Any:
    """The outputs of a policy whose layers are at most so wide."""

    def activated(x: Any) -> Any:
        return jax.lax.switch(parameters["activation"], [partial(each, jnp) for each in ACTIVATIONS.values()], x)

    def layer(place: Any, x: Any) -> Any:
        # In one slice: all of a layer's places would be copied to take a few of them.
        kernel = jax.lax.dynamic_slice(parameters["hidden/kernel"], (place - 1, 0, 0), (1, width, width))[0]
        bias = jax.lax.dynamic_slice(parameters["hidden/bias"], (place - 1, 0), (1, width))[0]
        return activated(x @ kernel + bias)

    x = activated(x @ parameters["first/kernel"][:, :width] + parameters["first/bias"][:width])
    x = jax.lax.fori_loop(1, parameters["layers"], layer, x)
    return x @ parameters["last/kernel"][:width] + parameters["last/bias"]
