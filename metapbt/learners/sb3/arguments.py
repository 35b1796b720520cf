"""An algorithm's arguments: from what people write in YAML to what Stable-Baselines3 takes."""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from operator import mul
from typing import Any

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from stable_baselines3 import A2C
from stable_baselines3.common import buffers
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import ActionNoise, NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch import nn

from metapbt.errors import MetapbtError, unknown_name

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}
OPTIMISERS: dict[str, type[torch.optim.Optimizer]] = {
    "adadelta": torch.optim.Adadelta,
    "adagrad": torch.optim.Adagrad,
    "adam": torch.optim.Adam,
    "adamax": torch.optim.Adamax,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rmsprop": torch.optim.RMSprop,
    "rmsprop_tf_like": RMSpropTFLike,
    "sgd": torch.optim.SGD,
}
#: Units of the hidden layers, by the names that RL Baselines3 Zoo gives them.
NETWORKS = {
    "tiny": [64],
    "small": [64, 64],
    "medium": [256, 256],
    "big": [400, 300],
    "large": [256, 256, 256],
    "verybig": [512, 512, 512],
}
NOISES: dict[str, type[ActionNoise]] = {"normal": NormalActionNoise, "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise}
#: HerReplayBuffer is none of them: which episodes its goals come from is not in a state.
REPLAY_BUFFERS: dict[str, Any] = {
    name: getattr(buffers, name)
    for name in ("ReplayBuffer", "NStepReplayBuffer", "DictReplayBuffer")
    if hasattr(buffers, name)  # n-step returns came with Stable-Baselines3 2.7
}

_OF_SEVERAL_STEPS = [made for name, made in REPLAY_BUFFERS.items() if name.startswith("NStep")]

#: The standard deviation of action noise, relative to half the range of actions; no argument of the algorithms.
NOISE_STD = "noise_std"
_USUAL_STD = 0.1
_LINEAR = "lin_"
#: What the learner says.
_NOT_TUNED = {"policy", "env", "seed", "device", "verbose", "_init_setup_model"}
_SAID_BY_THE_ALGORITHM = {"self", "observation_space", "action_space", "lr_schedule"}


def algorithm_called(name: str) -> type[BaseAlgorithm]:
    """The algorithm of that name.

    Raises:
        MetapbtError: there is none.
    """
    known = {
        key: value
        for key, value in vars(stable_baselines3).items()
        if inspect.isclass(value) and issubclass(value, BaseAlgorithm)
    }
    if name not in known:
        raise unknown_name("learner.algorithm", name, known)
    return known[name]


def argument_names(algorithm: type[BaseAlgorithm]) -> set[str]:
    """Names of all that may be tuned."""
    names = set(inspect.signature(algorithm).parameters) - _NOT_TUNED
    return names | {NOISE_STD} if "action_noise" in names else names


def check_names(algorithm: type[BaseAlgorithm], policy: str, fixed: Mapping[str, Any], tuned: Iterable[str]) -> None:
    """Check that an algorithm and its policy have all arguments, and that none is without an effect.

    Args:
        algorithm: the algorithm.
        policy: the policy's name.
        fixed: values that are the same for all members; names may be dotted.
        tuned: names of the search space.

    Raises:
        MetapbtError: one is unknown (with the nearest known one), or does nothing.
    """
    who, known = algorithm.__name__, argument_names(algorithm)
    policy_class: Any = algorithm.policy_aliases[policy]
    of_policy = set(inspect.signature(policy_class).parameters) - _SAID_BY_THE_ALGORITHM
    names = [*fixed, *tuned]
    inner = fixed.get("policy_kwargs")
    for name in names + [f"policy_kwargs.{key}" for key in (inner if isinstance(inner, Mapping) else ())]:
        first, _, rest = name.partition(".")
        if first not in known:
            unknown = unknown_name(f"hyperparameter of {who}", name, known)
            hint = "" if name in fixed else "; the search space tunes it: space=NAME chooses another"
            raise MetapbtError(f"{unknown}{hint}")
        if first == "policy_kwargs" and rest and rest.partition(".")[0] not in of_policy:
            raise unknown_name(f"key of {who}'s policy_kwargs", rest, of_policy)
    if NOISE_STD in names and "action_noise" not in names:
        raise MetapbtError(f"{NOISE_STD} has no effect without action_noise: {' or '.join(NOISES)}")


def arguments_of(
    algorithm: type[BaseAlgorithm], written: Mapping[str, Any], action_space: spaces.Space[Any]
) -> dict[str, Any]:
    """What an algorithm is built with.

    Text stands for what YAML has no word for: activations, optimisers, networks, action noise, replay buffers, tuples
    and schedules (``lin_3e-4`` falls from 3e-4 to 0 over the whole budget). Anything else is handed on as it is.

    Args:
        algorithm: the algorithm.
        written: a value for each name; dotted names reach into mappings.
        action_space: of one environment.

    Raises:
        MetapbtError: a text means nothing, or a dotted name reaches into what is no mapping.
    """
    arguments = _nested(written)
    parameters = inspect.signature(algorithm).parameters
    for name, value in arguments.items():
        if name in parameters and isinstance(value, str):
            arguments[name] = _schedule(algorithm, name, value)
    if arguments.get("train_freq") is not None:
        arguments["train_freq"] = _frequency(arguments["train_freq"])
    if "action_noise" in parameters:
        std = arguments.pop(NOISE_STD, _USUAL_STD)
        arguments["action_noise"] = _noise(arguments.get("action_noise"), std, action_space)
    if isinstance(arguments.get("replay_buffer_class"), str):
        arguments["replay_buffer_class"] = _named(
            "replay_buffer_class", arguments["replay_buffer_class"], REPLAY_BUFFERS
        )
    for name in ("policy_kwargs", "replay_buffer_kwargs", "rollout_buffer_kwargs"):
        if arguments.get(name) is not None and not isinstance(arguments[name], dict):
            raise MetapbtError(f"{name} must be a mapping, got {arguments[name]!r}")
    if arguments.get("policy_kwargs"):
        arguments["policy_kwargs"] = _policy(arguments["policy_kwargs"])
    of_buffer: dict[str, Any] = {}
    if arguments.get("optimize_memory_usage"):
        # Such a buffer has no room for the observations that time limits cut off.
        of_buffer["handle_timeout_termination"] = False
    if arguments.get("replay_buffer_class") in _OF_SEVERAL_STEPS:
        # An algorithm tells it neither its discount nor its number of steps, and learns by those of the buffer.
        of_buffer["gamma"] = arguments.get("gamma", parameters["gamma"].default)
        of_buffer |= {"n_steps": arguments["n_steps"]} if "n_steps" in arguments else {}
    if of_buffer:
        arguments["replay_buffer_kwargs"] = of_buffer | (arguments.get("replay_buffer_kwargs") or {})
    if issubclass(algorithm, A2C):
        _keep_what_was_asked_of_the_optimiser(arguments)
    return arguments


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``, in copies: action noise has a state, and algorithms add to mappings."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        place = nested
        for key in path:
            inner = place.setdefault(key, {})
            if inner is None:
                inner = place[key] = {}
            if not isinstance(inner, dict):
                raise MetapbtError(f"{name} reaches into {key}, which is {inner!r} and no mapping")
            place = inner
        place[last] = dict(copy.deepcopy(value)) if isinstance(value, Mapping) else copy.deepcopy(value)
    return nested


def _policy(written: Mapping[str, Any]) -> dict[str, Any]:
    tables: dict[str, Mapping[str, Any]] = {
        "activation_fn": ACTIVATIONS,
        "net_arch": NETWORKS,
        "optimizer_class": OPTIMISERS,
    }
    return {
        name: _named(f"policy_kwargs.{name}", value, tables[name])
        if name in tables and isinstance(value, str)
        else value
        for name, value in written.items()
    }


def _named(kind: str, name: str, table: Mapping[str, Any]) -> Any:
    """The entry of a table, also as its own library spells it: ``nn.LeakyReLU``."""
    spelled = {_plainly(key): value for key, value in table.items()}
    plain = _plainly(name.rpartition(".")[2])
    if plain not in spelled:
        raise unknown_name(kind, name, table)
    return copy.copy(spelled[plain])


def _plainly(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _schedule(algorithm: type[BaseAlgorithm], name: str, text: str) -> Any:
    """A text as a schedule, where it is or must be one."""
    parameters = inspect.signature(algorithm).parameters
    takes_schedules = [key for key in parameters if "Callable" in str(parameters[key].annotation)]
    if name not in takes_schedules and text.startswith(_LINEAR):
        raise MetapbtError(f"{name} of {algorithm.__name__} can be no schedule; {', '.join(takes_schedules)} can")
    if name not in takes_schedules:
        return text
    try:
        if not text.startswith(_LINEAR):
            raise ValueError
        return partial(mul, float(text.removeprefix(_LINEAR)))  # of the progress that remains
    except ValueError as error:
        raise MetapbtError(
            f"{name} must be a number, or {_LINEAR} and the number that it falls from, got {text!r}"
        ) from error


def _frequency(written: Any) -> Any:
    """``[1, episode]`` and ``"(1, 'episode')"`` as a tuple."""
    if isinstance(written, str):
        try:
            written = ast.literal_eval(written)
        except (ValueError, SyntaxError) as error:
            raise MetapbtError(f"train_freq must be a number or [number, step or episode], got {written!r}") from error
    return tuple(written) if isinstance(written, list) else written


def _noise(written: Any, std: Any, action_space: spaces.Space[Any]) -> Any:
    if not isinstance(written, str):
        return written
    make: Callable[..., ActionNoise] = _named("action_noise", written, NOISES)
    if isinstance(std, bool) or not isinstance(std, int | float) or not 0 <= std < np.inf:
        raise MetapbtError(f"{NOISE_STD} must be a number >= 0, got {std!r}")
    mean = np.zeros(action_space.shape or ())
    return make(mean, np.full_like(mean, std))


def _keep_what_was_asked_of_the_optimiser(arguments: dict[str, Any]) -> None:
    """Let A2C's RMSProp have the settings that were asked for, which it would silently replace by its own."""
    policy = arguments.get("policy_kwargs") or {}
    usual = inspect.signature(A2C).parameters
    if "optimizer_kwargs" not in policy or "optimizer_class" in policy:
        return
    if arguments.get("use_rms_prop", usual["use_rms_prop"].default):
        eps = arguments.get("rms_prop_eps", usual["rms_prop_eps"].default)
        policy["optimizer_class"] = torch.optim.RMSprop
        policy["optimizer_kwargs"] = {"alpha": 0.99, "eps": eps, "weight_decay": 0, **policy["optimizer_kwargs"]}
