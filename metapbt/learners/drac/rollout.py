"""Steps in environments: rollouts to learn from, and how a trained agent acts."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor, nn

from metapbt.envs.batches import EnvBatch, Episodes, Observations, Seeds
from metapbt.learners.drac.actions import Actions
from metapbt.learners.drac.network import ActorCritic
from metapbt.learners.evaluation import BatchPolicy
from metapbt.learners.intervals import environment_actions
from metapbt.learners.normalise import RewardNormaliser
from metapbt.learners.portable import Acting, Portable

Floats = NDArray[np.float32]


class Rollout(NamedTuple):
    """What ``time`` steps of ``envs`` environments brought."""

    observations: Observations  # (time, envs, *observation), as the environments gave them
    actions: NDArray[Any]  # (time, envs) integers, or (time, envs, outputs) as drawn, not clipped
    log_probs: Floats  # (time, envs)
    values: Floats  # (time, envs)
    rewards: Floats  # (time, envs): at a time limit with the discounted value of the final observation
    dones: NDArray[np.bool_]  # (time, envs): whether the episode ended in the step
    last_values: Floats  # (envs,): of the observations after the last step


class Seer:
    """The network as it sees what environments show.

    Args:
        network: it.
        actions: what its outputs are.
    """

    def __init__(self, network: ActorCritic, actions: Actions) -> None:
        self.network, self.actions = network, actions
        self.device = next(network.parameters()).device

    @torch.inference_mode()
    def __call__(self, observations: Observations) -> tuple[Tensor, Tensor]:
        """The policy's outputs and the values (batch,) for observations (batch, *observation), on the CPU."""
        outputs, values = self.network(seen(torch.from_numpy(observations).to(self.device)))
        return outputs.cpu(), values.cpu()


def seen(observations: Tensor) -> Tensor:
    """Observations of environments as the network takes them.

    Args:
        observations: (batch, height, width, channels) of pictures, whose bytes become numbers from 0 to 1; or vectors
            (batch, ...). Nothing else is copied: pictures lie in memory as ``channels_last`` already.
    """
    if observations.ndim == 4:
        observations = observations.permute(0, 3, 1, 2)
    if observations.dtype == torch.uint8:
        return observations.float().div_(255)
    return observations.float()


class Runner:
    """Steps a batch of environments for as many rollouts as one asks for; episodes go on from one to the next.

    Args:
        envs: the environments, which are reset.
        seeds: of the episodes that begin from now on.
        rng: of the actions.
        rewards: normalises rewards to learn from, and learns from them; None leaves them as they are.
        gamma: the discount.
        n_steps: of each environment in a rollout.
        under_way: the episodes to go on with, from ``under_way``; None to begin new ones.

    Attributes:
        returns: of the episodes that have ended, in the environments' own rewards.
    """

    def __init__(
        self,
        envs: EnvBatch,
        seeds: Seeds,
        rng: np.random.Generator,
        rewards: RewardNormaliser | None,
        gamma: float,
        n_steps: int,
        under_way: Episodes | None,
    ) -> None:
        self.returns: list[float] = []
        self._envs, self._rng, self._rewards, self._gamma = envs, rng, rewards, gamma
        self._to_env = environment_actions(envs.action_space)
        self._last = envs.reset(seeds, under_way)
        self._returns = np.zeros(envs.num_envs) if under_way is None else np.array(under_way["return"])
        # Made once: of pictures it is most of what an interval needs.
        self._observations: Observations = np.empty((n_steps, *self._last.shape), self._last.dtype)

    def under_way(self) -> dict[str, NDArray[Any]]:
        """The episodes under way: what the environments say, and their returns so far, (num_envs,)."""
        discounted = {} if self._rewards is None else {"discounted": self._rewards.discounted}
        return self._envs.under_way() | {"return": self._returns} | discounted

    def collect(self, seer: Seer) -> Rollout:
        """Take ``n_steps`` steps in every environment. The next rollout takes the place of this one's observations."""
        n_steps, n_envs = len(self._observations), self._envs.num_envs
        noise = seer.actions.noise(self._rng, n_steps, n_envs)
        log_probs, values, rewards = (np.empty((n_steps, n_envs), np.float32) for _ in range(3))
        dones = np.empty((n_steps, n_envs), np.bool_)
        actions: list[NDArray[Any]] = []
        for t in range(n_steps):
            self._observations[t] = self._last
            outputs, of_states = seer(self._observations[t])
            chosen = seer.actions.draw(outputs, noise[t])
            log_probs[t] = seer.actions.distribution(outputs).log_prob(chosen).numpy()
            values[t] = of_states.numpy()
            actions.append(chosen.numpy())
            step = self._envs.step(self._to_env(actions[t]))
            self._last = step.observations
            self._returns += step.rewards
            done = np.logical_or(step.terminated, step.truncated, out=dones[t])
            rewards[t] = step.rewards if self._rewards is None else self._rewards.see(step.rewards, done)
            if done.any():
                self.returns += self._returns[done].tolist()
                self._returns[done] = 0
                # An episode cut short by the clock would have gone on: its last reward gets the value of the rest.
                cut = step.truncated & ~step.terminated
                if cut.any():
                    rewards[t, cut] += self._gamma * seer(step.final_observations[cut])[1].numpy()
        last_values = seer(self._last)[1].numpy()
        return Rollout(self._observations, np.stack(actions), log_probs, values, rewards, dones, last_values)


class DrACPolicy(BatchPolicy):
    """A trained agent.

    Args:
        seer: its network.
        observation_space: of the environment's observations.
        space: of its actions.
    """

    def __init__(self, seer: Seer, observation_space: spaces.Box, space: spaces.Discrete | spaces.Box) -> None:
        super().__init__(observation_space, space)
        self._seer = seer

    def outputs(self, observations: Observations, rngs: Sequence[np.random.Generator] | None) -> NDArray[Any]:
        """The actor-critic's."""
        (outputs, _), actions = self._seer(observations), self._seer.actions
        noise = None if rngs is None else torch.stack([actions.noise(rng) for rng in rngs])
        drawn: NDArray[Any] = actions.draw(outputs, noise).numpy()
        return drawn

    def portable(self) -> Portable:
        """The encoder with the policy's head, from bytes where observations are pictures."""
        seer = self._seer
        scores = _PolicyAlone(copy.deepcopy(seer.network).to("cpu"))

        def ours(inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
            observations = inputs["observation"]
            return self.actions(observations), seer(observations)[0].numpy()[:, : seer.actions.heads]

        return Portable(
            Acting(scores, self.space),
            {"observation": self.observation_space},
            "mean" if seer.actions.deviations else "logits",
            ours,
        )


class _PolicyAlone(nn.Module):
    """A network without its value and without deviations."""

    def __init__(self, network: ActorCritic) -> None:
        super().__init__()
        self.encoder, self.policy = network.encoder, network.policy

    def forward(self, observation: Tensor) -> Tensor:
        """(batch, *observation) as environments give it to (batch, heads)."""
        outputs: Tensor = self.policy(self.encoder(seen(observation)))
        return outputs
