"""Classic control as batches: every environment's state in one array, stepped by a few NumPy calls.

Identical to ``make_env``, bit by bit: operations come in Gymnasium's order, in float64. That takes a NumPy whose
sine and cosine of an array are those of its numbers one by one, as with NumPy 2 on the machines seen so far.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from numpy.typing import NDArray

from metapbt.envs import get_environment, make_env
from metapbt.envs.batches.base import BatchStep, Episodes, Seeds

Array = NDArray[np.float64]


class _ClassicControlBatch(ABC):
    """What cart-pole and mountain car share: episodes that begin and end within arrays.

    Args:
        name: of the environment.
        contexts: the changed features of each environment.
        reward: of every step.
    """

    def __init__(self, name: str, contexts: Sequence[Mapping[str, Any]], reward: float) -> None:
        self.num_envs = len(contexts)
        self._originals: list[Any] = [make_env(name, render_mode=None, **context).unwrapped for context in contexts]
        self.observation_space: spaces.Box = self._originals[0].observation_space
        self.action_space: spaces.Discrete = self._originals[0].action_space
        shape = self.num_envs, *self.observation_space.shape
        self._observations = np.empty(shape, np.float32)
        self._final_observations = np.empty(shape, np.float32)
        self._rewards = np.full(self.num_envs, reward, np.float32)
        self._terminated = np.empty(self.num_envs, np.bool_)
        self._truncated = np.zeros(self.num_envs, np.bool_)
        self._max_episode_steps = get_environment(name).max_episode_steps or math.inf
        # Time is counted once for all; an episode is as old as the time since it began.
        self._time = 0
        self._began = np.zeros(self.num_envs, np.int64)
        self._first_limit: float = 0  # when the oldest episode reaches its limit
        self._seeds = [0] * self.num_envs

    #: (numbers, num_envs), float64: all that the environments remember.
    _state: Array

    @abstractmethod
    def _first_state(self, random: np.random.Generator) -> Array:
        """Draw the first state of an episode, (numbers,), as Gymnasium does."""

    @abstractmethod
    def _observe(self) -> None:
        """Fill ``_observations`` from ``_state``."""

    @abstractmethod
    def _advance(self, actions: NDArray[Any]) -> None:
        """Step every state; fill ``_observations`` and ``_terminated``."""

    def _of_each(self, attribute: str) -> Array:
        """A number of Gymnasium's, (num_envs,)."""
        return np.array([getattr(original, attribute) for original in self._originals], np.float64)

    def reset(self, seeds: Seeds, under_way: Episodes | None = None) -> NDArray[np.float32]:
        """Begin an episode in every environment, or put those under way back."""
        self._seed_of, self._count = seeds, [0] * self.num_envs
        self._time, self._began[:] = 0, 0
        if under_way is None:
            for i in range(self.num_envs):
                self._begin(i)
        else:
            self._seeds = under_way["seed"].tolist()
            self._began -= under_way["age"]
            self._state[:] = under_way["state"]
        self._observe()
        self._first_limit = self._began.min() + self._max_episode_steps
        return self._observations

    def _begin(self, i: int) -> None:
        seed = self._seeds[i] = self._seed_of(i, self._count[i])
        self._count[i] += 1
        self._began[i] = self._time
        random, _ = seeding.np_random(seed)
        self._state[:, i] = self._first_state(random)

    def step(self, actions: NDArray[Any]) -> BatchStep:
        """Step every environment once."""
        self._time += 1
        self._advance(actions)
        truncated = self._truncated
        ended = self._terminated
        if self._time >= self._first_limit:
            truncated = self._time - self._began >= self._max_episode_steps
            ended = ended | truncated
        final_observations = self._observations
        indices = ended.nonzero()[0].tolist()
        if indices:
            final_observations = self._final_observations
            final_observations[:] = self._observations
            for i in indices:
                self._begin(i)
            self._observe()
            self._first_limit = self._began.min() + self._max_episode_steps
        return BatchStep(self._observations, self._rewards, self._terminated, truncated, final_observations)

    def under_way(self) -> dict[str, NDArray[Any]]:
        """The episodes under way: their seeds and the environments' states."""
        return {"seed": np.array(self._seeds), "age": self._time - self._began, "state": self._state.copy()}

    def rest(self, which: NDArray[np.bool_]) -> None:  # noqa: B027 - nothing to do, for all of them
        """Go on: stepping all costs no more than stepping some."""

    def close(self) -> None:  # noqa: B027 - nothing to do, for all of them
        """Nothing is held."""


class CartPoleBatch(_ClassicControlBatch):
    """Cart-poles, one for each of ``contexts``."""

    def __init__(self, contexts: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("cart_pole", contexts, reward=1.0)
        n = self.num_envs
        # Rows: position and angle, their velocities, their accelerations. So a step of Euler's is one addition.
        self._motion = np.zeros((6, n))
        self._state, self._rates = self._motion[:4], self._motion[2:]
        self._increments = np.empty((4, n))
        self._places = self._motion[:2]
        self._limits = np.stack([self._of_each("x_threshold"), self._of_each("theta_threshold_radians")])
        self._distances = np.empty((2, n))
        self._beyond = np.empty((2, n), np.bool_)
        # (what, of which, environment), as in ``_state``; Gymnasium observes (of which, what).
        self._observed = self._observations.reshape(n, 2, 2).transpose(2, 1, 0)
        self._state_observed = self._state.reshape(2, 2, n)
        self._work = np.empty((5, n))
        self._taus = np.broadcast_to(self._of_each("tau"), (4, n)).copy()
        self._forces = np.stack([-self._of_each("force_mag"), self._of_each("force_mag")])
        self._four_thirds = np.full(n, 4.0 / 3.0)
        self._gravity, self._length = self._of_each("gravity"), self._of_each("length")
        self._pole_mass, self._mass = self._of_each("masspole"), self._of_each("total_mass")
        self._pole_mass_length = self._of_each("polemass_length")

    def _first_state(self, random: np.random.Generator) -> Array:
        x, speed, angle, angle_speed = random.uniform(-0.05, 0.05, 4)
        return np.array([x, angle, speed, angle_speed])

    def _observe(self) -> None:
        np.copyto(self._observed, self._state_observed, casting="same_kind")

    def _advance(self, actions: NDArray[Any]) -> None:
        _, angle, _, angle_speed, acceleration, angle_acceleration = self._motion
        cos, sin, push, denominator, work = self._work
        mass, pole_mass_length = self._mass, self._pole_mass_length
        np.cos(angle, out=cos)
        np.sin(angle, out=sin)
        # push = (force + pole_mass_length * angle_speed² * sin) / mass
        np.multiply(angle_speed, angle_speed, out=push)
        np.multiply(pole_mass_length, push, out=push)
        np.multiply(push, sin, out=push)
        np.add(np.where(actions, self._forces[1], self._forces[0]), push, out=push)
        np.divide(push, mass, out=push)
        # denominator = length * (4/3 - pole_mass * cos² / mass)
        np.multiply(cos, cos, out=denominator)
        np.multiply(self._pole_mass, denominator, out=denominator)
        np.divide(denominator, mass, out=denominator)
        np.subtract(self._four_thirds, denominator, out=denominator)
        np.multiply(self._length, denominator, out=denominator)
        # angle_acceleration = (gravity * sin - cos * push) / denominator
        np.multiply(cos, push, out=work)
        np.multiply(self._gravity, sin, out=sin)
        np.subtract(sin, work, out=sin)
        np.divide(sin, denominator, out=angle_acceleration)
        # acceleration = push - pole_mass_length * angle_acceleration * cos / mass
        np.multiply(pole_mass_length, angle_acceleration, out=work)
        np.multiply(work, cos, out=work)
        np.divide(work, mass, out=work)
        np.subtract(push, work, out=acceleration)

        np.multiply(self._taus, self._rates, out=self._increments)
        np.add(self._state, self._increments, out=self._state)
        self._observe()
        np.absolute(self._places, out=self._distances)
        np.greater(self._distances, self._limits, out=self._beyond)
        np.logical_or(self._beyond[0], self._beyond[1], out=self._terminated)


class MountainCarBatch(_ClassicControlBatch):
    """Mountain cars, one for each of ``contexts``."""

    def __init__(self, contexts: Sequence[Mapping[str, Any]]) -> None:
        super().__init__("mountain_car", contexts, reward=-1.0)
        self._state = np.zeros((2, self.num_envs))
        self._position, self._velocity = self._state
        self._minus_gravity, self._force = -self._of_each("gravity"), self._of_each("force")
        self._max_speed = self._of_each("max_speed")
        self._min_position, self._max_position = self._of_each("min_position"), self._of_each("max_position")
        self._goal_position, self._goal_velocity = self._of_each("goal_position"), self._of_each("goal_velocity")

    def _first_state(self, random: np.random.Generator) -> Array:
        return np.array([random.uniform(-0.6, -0.4), 0.0])

    def _observe(self) -> None:
        self._observations[:, 0], self._observations[:, 1] = self._state

    def _advance(self, actions: NDArray[Any]) -> None:
        position, velocity = self._position, self._velocity
        # Gymnasium takes Python's cosine here, which may differ from NumPy's in the last bit.
        cos = np.array([math.cos(3 * p) for p in position.tolist()])
        velocity += (actions - 1) * self._force + cos * self._minus_gravity
        np.minimum(np.maximum(velocity, -self._max_speed, out=velocity), self._max_speed, out=velocity)
        position += velocity
        np.minimum(np.maximum(position, self._min_position, out=position), self._max_position, out=position)
        velocity[(position == self._min_position) & (velocity < 0)] = 0.0  # the wall on the left
        np.logical_and(position >= self._goal_position, velocity >= self._goal_velocity, out=self._terminated)
        self._observe()
