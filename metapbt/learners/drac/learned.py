"""What an agent has learned, as named arrays of its state and back: the network's parameters and Adam's moments."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from metapbt.errors import MetapbtError
from metapbt.learners.base import State
from metapbt.learners.drac.network import ActorCritic, Architecture

#: Of Adam's state, by the names of ours.
_MOMENTS = {"adam/mean": "exp_avg", "adam/variance": "exp_avg_sq"}


def restored(architecture: Architecture, state: State) -> ActorCritic:
    """The network of a state.

    Raises:
        MetapbtError: it is of another network.
    """
    network = architecture.build()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            found = state.get(f"network/{name}", np.empty(0))
            if found.shape != tuple(parameter.shape):
                raise MetapbtError(
                    f"the checkpoint does not fit learner.network={architecture.name}: {name} has the shape "
                    f"{found.shape} instead of {tuple(parameter.shape)}"
                )
            parameter.copy_(_tensor(found))
    return network


def adam(network: ActorCritic, learning_rate: float, state: State | None) -> torch.optim.Adam:
    """The optimiser of a network, with the moments of a state: the learning rate is what is asked for.

    (The published code puts back the optimiser of the interval before with its learning rate, so that a tuned one never
    takes effect.)
    """
    optimiser = torch.optim.Adam(network.parameters(), learning_rate, eps=1e-5, fused=True)
    if state is None or "adam/steps" not in state:
        return optimiser
    for name, parameter in network.named_parameters():
        of_one: dict[str, Any] = {"step": torch.tensor(float(state["adam/steps"]), device=parameter.device)}
        for prefix, moment in _MOMENTS.items():
            # In the parameter's layout, which the fused kernel takes for granted.
            of_one[moment] = torch.empty_like(parameter).copy_(_tensor(state[f"{prefix}/{name}"]))
        optimiser.state[parameter] = of_one
    return optimiser


def state_of(network: ActorCritic, optimiser: torch.optim.Adam) -> State:
    """An agent as named arrays."""
    state: State = {}
    for name, parameter in network.named_parameters():
        of_one = optimiser.state[parameter]
        state["adam/steps"] = np.array(int(of_one["step"]))
        state[f"network/{name}"] = _array(parameter)
        state |= {f"{prefix}/{name}": _array(of_one[moment]) for prefix, moment in _MOMENTS.items()}
    return state


def shrunk(architecture: Architecture, state: State, shrink: float, perturb: float, rng: np.random.Generator) -> State:
    """What is left of an agent that begins anew: a blend of its parameters and new ones, and all that was observed.

    Adam has no moments in it, so that it begins anew, too.
    """
    restored(architecture, state)  # refuses what does not fit
    left: State = {name: array for name, array in state.items() if name.startswith("returns/")}
    for name, new in architecture.build(rng).named_parameters():
        blend = shrink * np.asarray(state[f"network/{name}"], np.float64) + perturb * _array(new)
        left[f"network/{name}"] = blend.astype(np.float32)
    return left


def _array(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().cpu().contiguous().numpy().copy()


def _tensor(array: np.ndarray[Any, Any]) -> torch.Tensor:
    return torch.tensor(array)  # a copy: a state is not to be written into
