"""Steps in environments: rollouts to learn from, and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs.batches import EnvBatch
from metapbt.learners.ppo.network import Actor, Floats
from metapbt.learners.ppo.normalise import ObservationNormaliser, RewardNormaliser
from metapbt.learners.ppo.update import Rollout


class Runner:
    """Steps a batch of environments for as many rollouts as one asks for; episodes go on from one to the next.

    Args:
        envs: the environments, which are reset.
        seed: of the environments; each has its own, counted up from here.
        rng: of the actions.
        observations: normalises observations and learns from them; None leaves them as they are.
        rewards: the same for rewards.

    Attributes:
        returns: of the episodes that have ended, in the environments' own rewards.
    """

    def __init__(
        self,
        envs: EnvBatch,
        seed: int,
        rng: np.random.Generator,
        observations: ObservationNormaliser | None,
        rewards: RewardNormaliser | None,
    ) -> None:
        self.returns: list[float] = []
        self._envs, self._rng = envs, rng
        self._normalise_observations, self._normalise_rewards = observations, rewards
        self._to_env = environment_actions(envs)
        self._last = self._seen(envs.reset(range(seed, seed + envs.num_envs)))
        self._returns = np.zeros(envs.num_envs)

    def collect(self, actor: Actor, n_steps: int, gamma: float) -> Rollout:
        """Take ``n_steps`` steps in every environment."""
        n_envs, network = self._envs.num_envs, actor.network
        observations = np.empty((n_steps, n_envs, network.inputs), np.float32)
        actions = (
            np.empty((n_steps, n_envs, network.outputs), np.float32)
            if network.continuous
            else np.empty((n_steps, n_envs), np.int32)
        )
        rewards = np.empty((n_steps, n_envs), np.float32)
        dones = np.empty((n_steps, n_envs), np.bool_)
        noise = actor.noise(self._rng, n_steps, n_envs)
        for t in range(n_steps):
            observations[t] = self._last
            chosen = actor.act(observations[t], noise[t])
            actions[t] = chosen
            step = self._envs.step(self._to_env(chosen))
            self._last = self._seen(step.observations)
            self._returns += step.rewards
            done = np.logical_or(step.terminated, step.truncated, out=dones[t])
            normalise = self._normalise_rewards
            rewards[t] = step.rewards if normalise is None else normalise.see(step.rewards, done)
            if done.any():
                self.returns += self._returns[done].tolist()
                self._returns[done] = 0
                # An episode cut short by the clock would have gone on: its last reward gets the value of the rest.
                cut = step.truncated & ~step.terminated
                if cut.any():
                    final = flat(step.final_observations[cut])
                    if self._normalise_observations is not None:
                        final = self._normalise_observations(final)
                    rewards[t, cut] += gamma * actor.values(final)
        return Rollout(observations, actions, rewards, dones, self._last.copy())

    def _seen(self, observations: Floats) -> Floats:
        observations = flat(observations)
        return observations if self._normalise_observations is None else self._normalise_observations.see(observations)


def evaluate(envs: EnvBatch, actor: Actor, seed: int, normalise: ObservationNormaliser | None) -> float:
    """The mean return of one episode in each environment under the most likely actions."""
    to_env = environment_actions(envs)
    observations = envs.reset(range(seed, seed + envs.num_envs))
    returns, running = np.zeros(envs.num_envs), np.ones(envs.num_envs, np.bool_)
    while running.any():
        inputs = flat(observations)
        step = envs.step(to_env(actor.act(inputs if normalise is None else normalise(inputs))))
        observations = step.observations
        returns += step.rewards * running
        ended = running & (step.terminated | step.truncated)
        if ended.any():
            running &= ~ended
            envs.rest(ended)
    return float(returns.mean())


def environment_actions(envs: EnvBatch) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """How the network's actions become those of the environment."""
    space = envs.action_space
    if isinstance(space, spaces.Discrete):
        start = space.start
        return (lambda actions: actions + start) if start else (lambda actions: actions)
    low, high, shape = space.low.ravel(), space.high.ravel(), (envs.num_envs, *space.shape)
    return lambda actions: np.clip(actions, low, high).reshape(shape)


def flat(observations: Floats) -> Floats:
    """Observations (batch, *shape) as (batch, inputs)."""
    return observations.reshape(len(observations), -1)
