"""The network: how its parameters lie in one vector, how they start, and how it acts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Activations by name, written once for both array libraries: ``xp`` is ``numpy`` or ``jax.numpy``. All are 0 at 0, so
#: that units which are padding stay so (``PaddedNetwork``).
ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "tanh": lambda xp, x: xp.tanh(x),
    "relu": lambda xp, x: xp.where(x > 0, x, 0),
    "leaky_relu": lambda xp, x: xp.where(x > 0, x, 0.01 * x),
    "elu": lambda xp, x: xp.where(x > 0, x, xp.expm1(xp.minimum(x, 0))),
    "silu": lambda xp, x: 0.5 * x * (1 + xp.tanh(0.5 * x)),  # x times its sigmoid, whose usual form overflows
}


@dataclass(frozen=True)
class Network:
    """A policy and a value function: two perceptrons, or two linear heads on a shared one.

    The parameters are one float32 vector, for then the optimiser is a single elementwise operation. ``split`` shows it
    as named arrays: ``policy/0/kernel`` (inputs, outputs), ``policy/0/bias``, ..., ``value/...``, ``trunk/...`` where
    shared, and ``log_std`` where actions are continuous. With continuous actions the policy gives the mean of a
    Gaussian whose deviation does not depend on the observation; otherwise logits.

    Attributes:
        inputs: numbers in an observation.
        outputs: number of discrete actions, or numbers in a continuous one.
        continuous: whether actions are continuous.
        policy_widths: units of each of the policy's hidden layers.
        value_widths: units of each of the value function's.
        policy_activation: of the policy's hidden layers, a key of ``ACTIVATIONS``.
        value_activation: of the value function's.
        shared: whether policy and value function share the hidden layers, whose widths and activation must then be the
            same for both.
    """

    inputs: int
    outputs: int
    continuous: bool
    policy_widths: tuple[int, ...] = (64, 64)
    value_widths: tuple[int, ...] = (64, 64)
    policy_activation: str = "tanh"
    value_activation: str = "tanh"
    shared: bool = False

    def __post_init__(self) -> None:
        """Refuse shared layers that are not the same.

        Raises:
            ValueError: they are not.
        """
        policy, value = (self.policy_widths, self.policy_activation), (self.value_widths, self.value_activation)
        if self.shared and policy != value:
            raise ValueError(f"layers that policy and value share must be the same: {policy} is not {value}")

    @cached_property
    def policy(self) -> list[str]:
        """Names of the layers from the observation to the policy's output."""
        return self._path("policy", len(self.policy_widths))

    @cached_property
    def value(self) -> list[str]:
        """Names of the layers from the observation to the value."""
        return self._path("value", len(self.value_widths))

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every array, in the order in which they lie in the vector."""
        return self._shapes()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for path, widths, outputs in (
            (self.policy, self.policy_widths, self.outputs),
            (self.value, self.value_widths, 1),
        ):
            sizes = (self.inputs, *widths, outputs)
            for layer, (i, o) in zip(path, pairwise(sizes), strict=True):
                shapes |= {f"{layer}/kernel": (i, o), f"{layer}/bias": (o,)}
        return shapes | ({"log_std": (self.outputs,)} if self.continuous else {})

    @cached_property
    def size(self) -> int:
        """The vector's length."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def split(self, vector: Any) -> dict[str, Any]:
        """The named arrays in a vector of NumPy (then as views) or JAX."""
        arrays, start = {}, 0
        for name, shape in self.shapes.items():
            end = start + math.prod(shape)
            arrays[name] = vector[start:end].reshape(shape)
            start = end
        return arrays

    def join(self, xp: Any, arrays: Mapping[str, Any]) -> Any:
        """The vector of named arrays of ``xp``, which is ``numpy`` or ``jax.numpy``."""
        return xp.concatenate([arrays[name].ravel() for name in self.shapes])

    def initial(self, rng: np.random.Generator) -> Floats:
        """Draw parameters as Stable-Baselines3 does: orthogonal kernels, and zeros for the rest.

        The gains are the square root of 2 for hidden layers, 1 for the value, and 0.01 for the policy, so that the
        first actions hardly depend on the observation (detail 2 of "The 37 implementation details of PPO").
        """
        gains = {self.policy[-1]: 0.01, self.value[-1]: 1.0}
        arrays = {name: np.zeros(shape) for name, shape in self.shapes.items()}
        for name, shape in self.shapes.items():
            layer, _, kind = name.rpartition("/")
            if kind == "kernel":
                arrays[name] = gains.get(layer, math.sqrt(2)) * _orthogonal(rng, shape)
        vector: Floats = self.join(np, arrays).astype(np.float32)
        return vector

    def outputs_for(self, xp: Any, parameters: Mapping[str, Any], observations: Any) -> Any:
        """The policy's outputs, (batch, outputs).

        Args:
            xp: ``numpy`` or ``jax.numpy``.
            parameters: from ``split``.
            observations: (batch, inputs).
        """
        return self._apply(xp, self.policy, self.policy_activation, parameters, observations)

    def values_for(self, xp: Any, parameters: Mapping[str, Any], observations: Any) -> Any:
        """The values, (batch,); arguments as those of ``outputs_for``."""
        return self._apply(xp, self.value, self.value_activation, parameters, observations)[:, 0]

    def _apply(self, xp: Any, path: Sequence[str], activation: str, parameters: Mapping[str, Any], x: Any) -> Any:
        for layer in path[:-1]:
            x = ACTIVATIONS[activation](xp, x @ parameters[f"{layer}/kernel"] + parameters[f"{layer}/bias"])
        return x @ parameters[f"{path[-1]}/kernel"] + parameters[f"{path[-1]}/bias"]

    def _path(self, head: str, depth: int) -> list[str]:
        if self.shared:
            return [*(f"trunk/{i}" for i in range(depth)), f"{head}/0"]
        return [f"{head}/{i}" for i in range(depth + 1)]


class Actor:
    """The network in NumPy, for the few observations of one step.

    A call of a compiled JAX function costs about 17 us whatever it does; NumPy takes 8 us for 16 observations and two
    layers of 64 units.

    Args:
        network: the network.
        vector: its parameters.
    """

    def __init__(self, network: Network, vector: Floats) -> None:
        self.network = network
        self.parameters = network.split(vector)
        if network.continuous:
            self.std = np.exp(self.parameters["log_std"])

    def noise(self, rng: np.random.Generator, *shape: int) -> Floats:
        """Draw what ``act`` needs for ``shape`` actions: (*shape, outputs)."""
        draw = rng.standard_normal if self.network.continuous else rng.gumbel
        return draw(size=(*shape, self.network.outputs)).astype(np.float32)

    def act(self, observations: Floats, noise: Floats | None = None) -> NDArray[Any]:
        """Choose actions for observations (batch, inputs): the most likely ones, or with noise a draw.

        Returns:
            (batch,) integers, by the Gumbel-max trick; or (batch, outputs) floats, not clipped to any bounds.
        """
        outputs = self.network.outputs_for(np, self.parameters, observations)
        if self.network.continuous:
            return outputs if noise is None else outputs + self.std * noise
        return (outputs if noise is None else outputs + noise).argmax(axis=1)

    def values(self, observations: Floats) -> Floats:
        """The values, (batch,), of observations (batch, inputs)."""
        values: Floats = self.network.values_for(np, self.parameters, observations)
        return values


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Orthonormal columns or rows, uniformly distributed (Saxe et al. 2014)."""
    rows, columns = shape
    q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q *= np.sign(np.diag(r))  # else some orthogonal matrices are likelier than others
    return q if rows >= columns else q.T
