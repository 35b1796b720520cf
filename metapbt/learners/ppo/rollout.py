"""Steps in environments: rollouts to learn from, and how a trained agent acts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs.batches import EnvBatch, Episodes, Observations, Seeds
from metapbt.errors import MetapbtError
from metapbt.learners.evaluation import BatchPolicy
from metapbt.learners.intervals import environment_actions
from metapbt.learners.normalise import ObservationNormaliser, RewardNormaliser, RunningMoments
from metapbt.learners.ppo.network import Actor, Floats
from metapbt.learners.ppo.update import Rollout

if TYPE_CHECKING:
    from metapbt.learners.portable import Portable


class Runner:
    """Steps a batch of environments for as many rollouts as one asks for; episodes go on from one to the next.

    Args:
        envs: the environments, which are reset.
        seeds: of the episodes that begin from now on.
        rng: of the actions.
        observations: normalises observations and learns from them; None leaves them as they are.
        rewards: the moments that normalise rewards and learn from them; None leaves these as they are.
        gamma: the discount.
        under_way: the episodes to go on with, from ``under_way``; None to begin new ones.
        reward_scale: what rewards are multiplied with to learn from, after normalisation.

    Attributes:
        returns: of the episodes that have ended, in the environments' own rewards.
        raw: (n_steps, num_envs, inputs), the observations of the last rollout as the environments gave them.
    """

    def __init__(
        self,
        envs: EnvBatch,
        seeds: Seeds,
        rng: np.random.Generator,
        observations: ObservationNormaliser | None,
        rewards: RunningMoments | None,
        gamma: float,
        under_way: Episodes | None,
        reward_scale: float = 1.0,
    ) -> None:
        self.returns: list[float] = []
        self.raw: Floats
        self._scale = reward_scale
        self._envs, self._rng, self._gamma = envs, rng, gamma
        self._normalise_observations = observations
        self._to_env = environment_actions(envs.action_space)
        first = flat(envs.reset(seeds, under_way))
        new = np.zeros(envs.num_envs)
        if under_way is None:
            self._returns = new
            self._last = self._seen(first)
        else:
            self._returns = np.array(under_way["return"])
            self._last = first if observations is None else observations(first)  # seen when it came
            self._last_raw = first
        discounted = new if under_way is None else under_way.get("discounted", new)
        self._normalise_rewards = None if rewards is None else RewardNormaliser(rewards, discounted, gamma)

    def under_way(self) -> dict[str, NDArray[Any]]:
        """The episodes under way: what the environments say, and their returns so far, (num_envs,)."""
        normalise = self._normalise_rewards
        discounted = {} if normalise is None else {"discounted": normalise.discounted}
        return self._envs.under_way() | {"return": self._returns} | discounted

    def collect(self, actor: Actor, n_steps: int, places: int | None = None) -> Rollout:
        """Take ``n_steps`` steps in every environment.

        Args:
            actor: who acts.
            n_steps: how many.
            places: for how many the arrays have place; zeros where none was taken. None for ``n_steps``.
        """
        n_envs, network = self._envs.num_envs, actor.network
        time = places or n_steps
        observations = np.zeros((time, n_envs, network.inputs), np.float32)
        actions = (
            np.zeros((time, n_envs, network.outputs), np.float32)
            if network.continuous
            else np.zeros((time, n_envs), np.int32)
        )
        rewards = np.zeros((time, n_envs), np.float32)
        dones = np.zeros((time, n_envs), np.bool_)
        noise = actor.noise(self._rng, n_steps, n_envs)
        self.raw = (
            observations[:n_steps] if self._normalise_observations is None else np.empty_like(observations[:n_steps])
        )
        for t in range(n_steps):
            observations[t] = self._last
            if self._normalise_observations is not None:
                self.raw[t] = self._last_raw
            chosen = actor.act(observations[t], noise[t])
            actions[t] = chosen
            step = self._envs.step(self._to_env(chosen))
            self._last = self._seen(step.observations)
            self._returns += step.rewards
            done = np.logical_or(step.terminated, step.truncated, out=dones[t])
            normalise = self._normalise_rewards
            rewards[t] = step.rewards if normalise is None else normalise.see(step.rewards, done)
            if self._scale != 1:
                rewards[t] *= self._scale
            if done.any():
                self.returns += self._returns[done].tolist()
                self._returns[done] = 0
                # An episode cut short by the clock would have gone on: its last reward gets the value of the rest.
                cut = step.truncated & ~step.terminated
                if cut.any():
                    final = flat(step.final_observations[cut])
                    if self._normalise_observations is not None:
                        final = self._normalise_observations(final)
                    rewards[t, cut] += self._gamma * actor.values(final)
        return Rollout(observations, actions, rewards, dones, self._last.copy())

    def _seen(self, observations: Observations) -> Floats:
        seen = self._last_raw = flat(observations)
        return seen if self._normalise_observations is None else self._normalise_observations.see(seen)


class PPOPolicy(BatchPolicy):
    """A trained agent.

    Args:
        actor: its network.
        normalise: its observations; None leaves them as they are.
        observation_space: of the environment's observations.
        space: of its actions.
    """

    def __init__(
        self,
        actor: Actor,
        normalise: ObservationNormaliser | None,
        observation_space: spaces.Box,
        space: spaces.Discrete | spaces.Box,
    ) -> None:
        super().__init__(observation_space, space)
        self._actor, self._normalise = actor, normalise

    def outputs(self, observations: Observations, rngs: Sequence[np.random.Generator] | None) -> NDArray[Any]:
        """The policy network's."""
        noise = None if rngs is None else np.stack([self._actor.noise(rng) for rng in rngs])
        return self._actor.act(self._inputs(observations), noise)

    def portable(self) -> Portable:
        """The policy network behind its normalisation, in PyTorch; compared with NumPy's."""
        from metapbt.learners.portable import Acting, Portable
        from metapbt.learners.ppo.portable import Perceptron

        network, parameters = self._actor.network, self._actor.parameters

        def ours(inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
            observations = inputs["observation"]
            scores = network.outputs_for(np, parameters, self._inputs(observations))
            return self.actions(observations), scores

        return Portable(
            Acting(Perceptron(network, parameters, self._normalise), self.space),
            {"observation": self.observation_space},
            "mean" if network.continuous else "logits",
            ours,
        )

    def _inputs(self, observations: Observations) -> Floats:
        inputs = flat(observations)
        return inputs if self._normalise is None else self._normalise(inputs)


def check_vectors(env: str, space: spaces.Box) -> None:
    """Refuse observations that are pictures.

    Raises:
        MetapbtError: they are; the message names who learns from them.
    """
    if space.dtype == np.uint8 and len(space.shape) == 3:
        raise MetapbtError(
            f"learner=ppo learns from vectors, and env '{env}' shows pictures: choose learner=drac, or learner=sb3 "
            "learner.policy=CnnPolicy"
        )


def flat(observations: Observations) -> Floats:
    """Observations (batch, *shape) as (batch, inputs)."""
    return observations.reshape(len(observations), -1).astype(np.float32, copy=False)
