"""What an agent has learned, as a new one has it and as named arrays of its state."""

from __future__ import annotations

import numpy as np

from metapbt.errors import MetapbtError
from metapbt.learners.base import State
from metapbt.learners.ppo.network import Actor, Network
from metapbt.learners.ppo.update import Learned

#: Of names in a state: the parameters themselves, and Adam's two moments of each.
_PREFIXES = ("", "adam/mean/", "adam/variance/")


def initial(network: Network, rng: np.random.Generator) -> Learned:
    """A new agent."""
    zeros = np.zeros(network.size, np.float32)
    return Learned(network.initial(rng), zeros, zeros, np.array(0, np.int32))


def restored(network: Network, state: State) -> Learned:
    """The agent of a state.

    Raises:
        MetapbtError: it is of another network.
    """
    vectors = []
    for prefix in _PREFIXES:
        arrays = {name: state.get(f"{prefix}{name}", np.empty(0)) for name in network.shapes}
        for name, shape in network.shapes.items():
            if arrays[name].shape != shape:
                raise MetapbtError(
                    f"the checkpoint does not fit the network of its hyperparameters: {prefix}{name} has the shape "
                    f"{arrays[name].shape} instead of {shape}"
                )
        vectors.append(network.join(np, arrays))
    parameters, mean, variance = vectors
    return Learned(parameters, mean, variance, np.asarray(state["adam/steps"]))


def state_of(network: Network, learned: Learned) -> State:
    """An agent as named arrays."""
    state: State = {"adam/steps": np.array(learned.steps)}
    for prefix, vector in zip(_PREFIXES, (learned.parameters, learned.mean, learned.variance), strict=True):
        # Copies: a view would keep JAX's memory alive.
        state |= {f"{prefix}{name}": array.copy() for name, array in network.split(np.asarray(vector)).items()}
    return state


def shrunk(network: Network, state: State, shrink: float, perturb: float, rng: np.random.Generator) -> State:
    """What is left of an agent that begins anew: a blend of its parameters and new ones, and all that was observed."""
    new = initial(network, rng)
    blend = shrink * np.asarray(restored(network, state).parameters) + perturb * np.asarray(new.parameters)
    observed = {name: array for name, array in state.items() if name.startswith(("observations/", "returns/"))}
    return observed | state_of(network, new._replace(parameters=blend.astype(np.float32)))


def actor_of(network: Network, learned: Learned) -> Actor:
    """The agent as it acts."""
    return Actor(network, np.asarray(learned.parameters))
