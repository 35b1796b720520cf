"""Networks of several shapes in one: agents with different architectures share one compiled program.

A hidden unit that is padding has zeros on its way in and on its way out, so with an activation that is 0 at 0 it
outputs 0, and no gradient reaches it: padding stays exactly 0 under Adam. A hidden layer that is padding is passed by.
Which layers count, and which activation is applied, are numbers in the vector of parameters, whose gradient is stopped:
so they travel with an agent through ``jit`` and ``vmap``, and one call trains agents of many shapes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.jax_backend import jax
from metapbt.learners.ppo.network import ACTIVATIONS, Floats, Network
from metapbt.learners.ppo.update import Learned


@dataclass(frozen=True)
class PaddedNetwork(Network):
    """A network that smaller ones fit into.

    It is a ``Network`` whose hidden layers all have one width, and whose vector holds two arrays more for each head:
    ``policy/layers`` (layers,), 1 for each that counts and 0 for padding, and ``policy/activations`` (activations,), 1
    for the one that is applied. ``pad_learned`` and ``unpad_learned`` lead from an agent's own network and back.

    Attributes:
        activations: those that there is a choice of, keys of ``ACTIVATIONS``; all are computed where there are several.
    """

    activations: tuple[str, ...] = ("tanh",)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        arrays = super()._shapes()
        for head, widths in (("policy", self.policy_widths), ("value", self.value_widths)):
            arrays |= {f"{head}/layers": (len(widths),), f"{head}/activations": (len(self.activations),)}
        return arrays

    def pad(self, network: Network, vector: Any) -> Floats:
        """The vector of an agent whose own network has the parameters ``vector``, (network.size,)."""
        padded = np.zeros(self.size, np.float32)
        padded[self._places(network)] = vector
        arrays = self.split(padded)  # views
        for head, widths, activation in _heads(network):
            arrays[f"{head}/layers"][: len(widths)] = 1
            arrays[f"{head}/activations"][self.activations.index(activation)] = 1
        return padded

    def pad_learned(self, network: Network, learned: Learned) -> Learned:
        """What an agent has learned on its own network, padded."""
        mean, variance = np.zeros((2, self.size), np.float32)
        places = self._places(network)
        mean[places], variance[places] = learned.mean, learned.variance
        return Learned(self.pad(network, learned.parameters), mean, variance, np.asarray(learned.steps))

    def unpad_learned(self, network: Network, learned: Learned) -> Learned:
        """What an agent has learned, on its own network."""
        places = self._places(network)
        parameters, mean, variance = (np.asarray(part)[places] for part in learned[:3])
        return Learned(parameters, mean, variance, np.asarray(learned.steps))

    def initial(self, rng: np.random.Generator) -> Floats:
        """Not drawn here: an agent starts on its own network, so that padding changes nothing.

        Raises:
            TypeError: always.
        """
        raise TypeError("draw the agent's own network, then pad it")

    def _apply(self, xp: Any, path: Sequence[str], activation: str, parameters: Mapping[str, Any], x: Any) -> Any:
        head = path[0].partition("/")[0]
        counts, chosen = (_constant(xp, parameters[f"{head}/{name}"]) for name in ("layers", "activations"))
        for place, layer in enumerate(path[:-1]):
            inner = self._activated(xp, chosen, x @ parameters[f"{layer}/kernel"] + parameters[f"{layer}/bias"])
            x = inner if place == 0 else xp.where(counts[place] > 0, inner, x)
        return x @ parameters[f"{path[-1]}/kernel"] + parameters[f"{path[-1]}/bias"]

    def _activated(self, xp: Any, chosen: Any, x: Any) -> Any:
        result = ACTIVATIONS[self.activations[0]](xp, x)
        for place, name in enumerate(self.activations[1:], 1):
            result = xp.where(chosen[place] > 0, ACTIVATIONS[name](xp, x), result)
        return result

    def _places(self, network: Network) -> NDArray[np.intp]:
        """Where each parameter of a network lies in the vector, (network.size,).

        Raises:
            ValueError: the network does not fit.
        """
        if not (len(network.policy) <= len(self.policy) and len(network.value) <= len(self.value)):
            raise ValueError(f"{network} does not fit into {self}")
        here = self.split(np.arange(self.size))
        found: dict[str, NDArray[np.intp]] = {}
        for head in ("policy", "value"):
            own, padded = getattr(network, head), getattr(self, head)
            for place, layer in enumerate(own):
                to = padded[-1] if place == len(own) - 1 else padded[place]
                found |= {f"{layer}/{name}": here[f"{to}/{name}"] for name in ("kernel", "bias")}
        if network.continuous:
            found["log_std"] = here["log_std"]
        for name, shape in network.shapes.items():
            found[name] = found[name][tuple(slice(size) for size in shape)]
            if found[name].shape != shape:
                raise ValueError(f"{network} does not fit into {self}")
        places: NDArray[np.intp] = network.join(np, found)
        return places


def with_room(network: Network) -> PaddedNetwork:
    """What a network is compiled as, so that few programs serve a whole search: one of few sizes, for both heads.

    Layers come in threes, sixes, twelves, ...; units in powers of 4 from 64 on; activations are tanh alone, or all, for
    every pair of them would be a program. It follows from the network alone: what an agent is compiled as does not
    depend on whom it trains with.
    """
    widths, used = network.policy_widths + network.value_widths, {network.policy_activation, network.value_activation}
    layers, width = 3, 64
    while layers < max(len(network.policy_widths), len(network.value_widths)):
        layers *= 2
    while width < max(widths):
        width *= 4
    return PaddedNetwork(
        network.inputs,
        network.outputs,
        network.continuous,
        (width,) * layers,
        (width,) * layers,
        activations=("tanh",) if used == {"tanh"} else tuple(ACTIVATIONS),
    )


def _heads(network: Network) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    return (
        ("policy", network.policy_widths, network.policy_activation),
        ("value", network.value_widths, network.value_activation),
    )


def _constant(xp: Any, x: Any) -> Any:
    return x if xp is np else jax.lax.stop_gradient(x)
