"""What a model has learned, as arrays, and put into one that was built with other hyperparameters."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise, VectorizedActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from metapbt.errors import one_line
from metapbt.learners.base import State
from metapbt.learners.corners import DoesNotFit
from metapbt.learners.sb3.replay import replay_state

#: Attributes of an algorithm that count; in a state without the underscore, which is for names of ours.
_COUNTERS = {"n_updates": "_n_updates", "n_calls": "_n_calls", "episode_num": "_episode_num"}
_NOISE = "noise"


def state_of(model: Any) -> State:
    """All that goes on in the next interval, but for the episodes under way: on the CPU, whatever trained it."""
    state: State = {
        name: np.array(getattr(model, counter)) for name, counter in _COUNTERS.items() if hasattr(model, counter)
    }
    for name, tensors in _parameters(model):
        state |= {f"{name}/{key}": _array(value) for key, value in tensors.items() if value is not None}
    for name in _variables(model):
        state[name] = _array(_attribute(model, name))
    if isinstance(model, OffPolicyAlgorithm):
        state |= replay_state(model.replay_buffer)
        if noises := _noises(model):
            state[_NOISE] = np.array([noise.noise_prev for noise in noises])
    return state


def restore(model: Any, state: State) -> None:
    """Put back what was learned. What the model was built with stays: no hyperparameter is in a state.

    An optimiser of another kind, which remembers other things, begins anew. A coefficient of entropy that is learned
    (``auto``) goes on from the one that was learned, or else from the one that was fixed, unless it was told where to
    begin (``auto_0.1``).

    Raises:
        DoesNotFit: the network was another.
    """
    for name, counter in _COUNTERS.items():
        if name in state:
            setattr(model, counter, int(state[name]))
    parameters = model.get_parameters()
    for name, own in parameters.items():
        saved = {key.removeprefix(f"{name}/"): value for key, value in state.items() if key.startswith(f"{name}/")}
        # Copies: optimisers keep the tensors they are handed, and would train in the caller's state.
        tensors = {key: torch.tensor(value) for key, value in saved.items()}
        if "param_groups" in own:  # an optimiser's settings are the interval's
            slots = _slots(_attribute(model, name), tensors)
            parameters[name] = {"state": slots, "param_groups": own["param_groups"]}
        else:
            parameters[name] = tensors
    try:
        model.set_parameters(parameters, exact_match=True)
    except (RuntimeError, ValueError) as error:
        raise DoesNotFit(
            f"the checkpoint does not fit the network, whose shape only changes with `role: architecture` "
            f"({one_line(error)})"
        ) from error
    for name in _variables(model):
        variable = _attribute(model, name)
        if variable.requires_grad and name in state:
            variable.data.copy_(torch.as_tensor(state[name]))
    fixed = float(state.get("ent_coef_tensor", np.zeros(())))
    if getattr(model, "ent_coef", None) == "auto" and fixed > 0:
        model.log_ent_coef.data.fill_(math.log(fixed))


def restore_noise(model: Any, state: State) -> None:
    """Let action noise that depends on what it was before go on, where it was of that kind."""
    noises = _noises(model)
    if noises and len(state.get(_NOISE, ())) == len(noises):
        for noise, previous in zip(noises, state[_NOISE], strict=True):
            noise.noise_prev = previous.copy()


def _parameters(model: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each module's tensors and each optimiser's state, flat."""
    for name, own in model.get_parameters().items():
        if "param_groups" in own:
            yield name, {f"{i}/{slot}": v for i, slots in own["state"].items() for slot, v in slots.items()}
        else:
            yield name, own


def _slots(optimiser: torch.optim.Optimizer, saved: dict[str, torch.Tensor]) -> dict[int, dict[str, torch.Tensor]]:
    """What an optimiser remembers of each tensor, from ``{"0/exp_avg": ...}``; nothing where something is missing."""
    found: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in saved.items():
        index, slot = key.split("/")
        found.setdefault(int(index), {})[slot] = value
    if not found:
        return {}
    # What it will look for is what it has after a step.
    fresh = copy.deepcopy(optimiser)
    for group in fresh.param_groups:
        for tensor in group["params"]:
            tensor.grad = torch.zeros_like(tensor)
    fresh.step()
    wanted = {
        index: [name for name, value in slots.items() if value is not None]
        for index, slots in fresh.state_dict()["state"].items()
    }
    return {
        index: {name: slots[name] for name in wanted[index]}
        for index, slots in found.items()
        if index in wanted and slots.keys() >= set(wanted[index])
    }


def _variables(model: Any) -> list[str]:
    """Names of tensors that belong to no module: SAC's coefficient of entropy, or its logarithm where it is learned."""
    names: list[str] = model._get_torch_save_params()[1]
    return names


def _noises(model: Any) -> list[OrnsteinUhlenbeckActionNoise]:
    """The action noise of each environment, where it depends on what it was before."""
    noise = getattr(model, "action_noise", None)
    each = noise.noises if isinstance(noise, VectorizedActionNoise) else [noise]
    return [one for one in each if isinstance(one, OrnsteinUhlenbeckActionNoise)]


def _attribute(model: Any, name: str) -> Any:
    for part in name.split("."):
        model = getattr(model, part)
    return model


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else np.asarray(value)
