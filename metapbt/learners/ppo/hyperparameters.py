"""What a search space may set, what each is when nobody sets it, and which values are legal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metapbt.errors import MetapbtError, unknown_name
from metapbt.learners import settings
from metapbt.learners.ppo.network import ACTIVATIONS
from metapbt.learners.settings import Legal, Range

if TYPE_CHECKING:
    from metapbt.space import Hyperparameters, Parameter, Space


@dataclass(frozen=True)
class Activation:
    """A key of ``ACTIVATIONS``."""

    default: str = "tanh"

    def check(self, name: str, value: Any) -> None:
        """Refuse an unknown activation.

        Raises:
            MetapbtError: it is unknown.
        """
        if not isinstance(value, str) or value not in ACTIVATIONS:
            raise unknown_name(name, value, ACTIVATIONS)


#: Names, meanings and most defaults are Stable-Baselines3's.
HYPERPARAMETERS = {
    "learning_rate": Range(3e-4, 0),
    "n_steps": Range(125, 1, whole=True),
    "batch_size": Range(64, 1, whole=True),
    "n_epochs": Range(10, 1, whole=True),
    "gamma": Range(0.99, 0, 1),
    "gae_lambda": Range(0.95, 0, 1),
    "clip_range": Range(0.2, 0, open=True),
    "clip_range_vf": Range(None, 0, open=True),
    "ent_coef": Range(0.0, 0),
    "vf_coef": Range(0.5, 0),
    "max_grad_norm": Range(0.5, 0, open=True),
    "target_kl": Range(None, 0, open=True),
    "reward_scale": Range(1.0, 0, open=True),  # Brax's: rewards are multiplied with it, after any normalisation
}

#: What there is of each of the two perceptrons.
PERCEPTRON: dict[str, Range | Activation] = {
    "layers": Range(2, 1, 32, whole=True),
    "width": Range(64, 1, 65_536, whole=True),
    "activation": Activation(),
}

#: What changes the network: ``network.policy.layers`` and so on. A space must give them ``role: architecture``.
ARCHITECTURE = {f"network.{head}.{name}": legal for head in ("policy", "value") for name, legal in PERCEPTRON.items()}

#: What programs are compiled for, where these step the environment too.
COMPILED_IN = {*ARCHITECTURE, "n_steps", "batch_size"}

LEGAL: Mapping[str, Legal] = {**HYPERPARAMETERS, **ARCHITECTURE}


def searches_network(hyperparameters: Hyperparameters) -> bool:
    """Whether a member's network is one of many that a search tries."""
    return not ARCHITECTURE.keys().isdisjoint(hyperparameters)


def check_values(hyperparameters: Hyperparameters) -> None:
    """Check one configuration.

    Raises:
        MetapbtError: a name is unknown or a value is illegal.
    """
    settings.check_values("ppo", LEGAL, hyperparameters)


def check_space(space: Space, shared: bool) -> None:
    """Check that all values of a space are legal, and that what changes the network says so.

    Args:
        space: the search space.
        shared: whether policy and value function share their hidden layers.

    Raises:
        MetapbtError: the message names the hyperparameter.
    """
    settings.check_ranges("ppo", LEGAL, space)
    for parameter in space.parameters:
        if parameter.name in ARCHITECTURE:
            _check_architecture(parameter, f"space.{parameter.name}", shared)


def bounds(space: Space, name: str, fixed: Mapping[str, Any]) -> tuple[int, int]:
    """The smallest and the largest value of a whole number: of the space, or the fixed one where that has none."""
    values = [fixed[name]]
    for parameter in space.parameters:
        if parameter.name == name:  # where a condition takes it away, it is the fixed one
            values = [
                *(parameter.choices or (parameter.low, parameter.high)),
                *(values if space.conditions[name] else ()),
            ]
    return int(min(values)), int(max(values))


def _check_architecture(parameter: Parameter, where: str, shared: bool) -> None:
    if parameter.role != "architecture":
        raise MetapbtError(
            f"{where} changes the network, so that a copy could not go on with what was learned: "
            "it needs `role: architecture`"
        )
    if shared and parameter.name.startswith("network.value."):
        raise changes_nothing(where)


def changes_nothing(where: str) -> MetapbtError:
    """The error for a value function's layers where it has none of its own."""
    return MetapbtError(
        f"{where} changes nothing where learner.network.shared=true: policy and value function then share the "
        "hidden layers, which network.policy describes"
    )
