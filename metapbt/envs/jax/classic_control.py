"""Cart-pole and mountain car in JAX: Gymnasium's equations in single precision.

One step from the same state differs from Gymnasium's by roundings, about 1e-7. Over an episode these grow as the pole
falls, by a factor of e in each quarter of a second with the default pole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gymnasium import spaces

from metapbt.jax_backend import jax, jnp


class CartPoleState(NamedTuple):
    """Position (m) and angle (rad, from upright) with their velocities (per s)."""

    position: Any
    speed: Any
    angle: Any
    angle_speed: Any


@dataclass(frozen=True)
class CartPole:
    """The cart-pole of ``metapbt.envs.cart_pole``.

    Attributes:
        context: its features, which do not count in comparisons: they are handed to the functions.
    """

    context: dict[str, float] = field(compare=False)
    observation_size = 4
    action_space = spaces.Discrete(2)
    max_episode_steps = 500

    def reset(self, key: jax.Array, context: Any) -> tuple[CartPoleState, jax.Array]:
        """Begin an episode near the upright rest."""
        state = CartPoleState(*jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05))
        return state, jnp.stack(state)

    def step(
        self, state: CartPoleState, action: jax.Array, context: Any
    ) -> tuple[CartPoleState, jax.Array, jax.Array, jax.Array]:
        """One of Euler's steps, after a push to the left (0) or to the right (1)."""
        length, pole_mass = context["pole_length"], context["pole_mass"]
        mass = pole_mass + context["cart_mass"]
        cos, sin = jnp.cos(state.angle), jnp.sin(state.angle)
        force = jnp.where(action == 1, context["force"], -context["force"])
        push = (force + pole_mass * length * state.angle_speed**2 * sin) / mass
        angle_acceleration = (context["gravity"] * sin - cos * push) / (length * (4 / 3 - pole_mass * cos**2 / mass))
        acceleration = push - pole_mass * length * angle_acceleration * cos / mass
        tau = context["time_step"]
        after = CartPoleState(
            state.position + tau * state.speed,
            state.speed + tau * acceleration,
            state.angle + tau * state.angle_speed,
            state.angle_speed + tau * angle_acceleration,
        )
        terminated = (jnp.abs(after.position) > 2.4) | (jnp.abs(after.angle) > 12 * 2 * math.pi / 360)
        return after, jnp.stack(after), jnp.float32(1), terminated


class MountainCarState(NamedTuple):
    """Position along the valley, and velocity (per step)."""

    position: Any
    velocity: Any


@dataclass(frozen=True)
class MountainCar:
    """The mountain car of ``metapbt.envs.mountain_car``.

    Attributes:
        context: its features, which do not count in comparisons: they are handed to the functions.
    """

    context: dict[str, float] = field(compare=False)
    observation_size = 2
    action_space = spaces.Discrete(3)
    max_episode_steps = 200

    def reset(self, key: jax.Array, context: Any) -> tuple[MountainCarState, jax.Array]:
        """Begin an episode at rest near the valley's floor."""
        position = jax.random.uniform(key, (), minval=-0.6, maxval=-0.4)
        state = MountainCarState(position, jnp.zeros_like(position))
        return state, jnp.stack(state)

    def step(
        self, state: MountainCarState, action: jax.Array, context: Any
    ) -> tuple[MountainCarState, jax.Array, jax.Array, jax.Array]:
        """One step, with the engine pushing to the left (0), off (1) or pushing to the right (2)."""
        fastest = context["max_speed"]
        push = (action - 1) * context["force"] - jnp.cos(3 * state.position) * context["gravity"]
        velocity = jnp.clip(state.velocity + push, -fastest, fastest)
        position = jnp.clip(state.position + velocity, -1.2, 0.6)
        velocity = jnp.where((position == jnp.float32(-1.2)) & (velocity < 0), 0, velocity)
        after = MountainCarState(position, velocity)
        terminated = (position >= context["goal_position"]) & (velocity >= 0)
        return after, jnp.stack(after), jnp.float32(-1), terminated


def cart_pole(name: str, context: Mapping[str, Any]) -> CartPole:
    """The cart-pole in a complete context."""
    return CartPole({feature: float(value) for feature, value in context.items()})


def mountain_car(name: str, context: Mapping[str, Any]) -> MountainCar:
    """The mountain car in a complete context."""
    return MountainCar({feature: float(value) for feature, value in context.items()})
