"""How a trained model acts for people, and as a module to be exported."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from metapbt.learners.observed import in_a_batch
from metapbt.learners.portable import Portable, in_numpy


def draw_noise(model: BaseAlgorithm, count: int) -> None:
    """Draw the noise of actions anew where it lasts (gSDE): a model that was built was given some by untrained weights.

    Args:
        model: whose actions are to be drawn.
        count: environments, each with noise of its own.
    """
    if getattr(model, "use_sde", False):
        policy: Any = model.policy
        policy.reset_noise(count)


class SB3Policy:
    """A trained agent.

    Args:
        model: which knows its environments.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self._model = model
        envs: Any = model.get_env()
        #: Of the environment's observations, which the model may see in another arrangement.
        self.observation_space: spaces.Space[Any] = envs.unwrapped.observation_space

    def act(self, observation: Any, rng: np.random.Generator | None = None) -> Any:
        """The most likely action, or one drawn by ``rng``; see ``metapbt.learners.base.Policy``.

        DQN has no distribution to draw from.
        """
        batch, alone = in_a_batch(self.observation_space, observation)
        if rng is None or isinstance(self._model, DQN):
            actions = self._model.predict(batch, deterministic=True)[0]
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int(rng.integers(2**31)))
                draw_noise(self._model, len(next(iter(batch.values())) if isinstance(batch, Mapping) else batch))
                actions = self._model.predict(batch, deterministic=False)[0]
        if not alone:
            return actions
        return actions[0] if actions.ndim > 1 else int(actions[0])

    def portable(self) -> Portable:
        """The actor behind what prepares its observations, and before what makes its outputs actions."""
        module, space = _Acting(self._model.policy, self.observation_space).to("cpu"), self.observation_space
        parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {"observation": space}

        def ours(inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[Any]]:
            seen = dict(inputs) if isinstance(space, spaces.Dict) else inputs["observation"]
            return self._model.predict(seen, deterministic=True)[0], in_numpy(module, inputs)[1]

        return Portable(module, parts, module.kind, ours)


class _Acting(nn.Module):
    """What ``predict(deterministic=True)`` does, without leaving PyTorch.

    Args:
        policy: of any of Stable-Baselines3's algorithms; copies of its layers from observations to actions are taken.
        observation_space: the environment's.

    Attributes:
        kind: what the second output is: of a Gaussian the mean before it is squashed, and what TD3's and DDPG's actors
            say, between -1 and 1; of DQN the values; else logits.
    """

    low: Tensor
    high: Tensor

    def __init__(self, policy: Any, observation_space: spaces.Space[Any]) -> None:
        super().__init__()
        self.space, self.seen = policy.action_space, policy.observation_space
        self.normalises_pictures = policy.normalize_images
        extractor, *layers = _layers(policy)
        self.extractor, self.layers = copy.deepcopy(extractor), copy.deepcopy(nn.Sequential(*layers))
        self.scaled = bool(policy.squash_output)
        self.squashed = self.scaled and not isinstance(policy, TD3Policy)  # whose last layer does it
        box = isinstance(self.space, spaces.Box)
        self.kind = "q_values" if isinstance(policy, DQNPolicy) else "mean" if box else "logits"
        self.names = list(observation_space.spaces) if isinstance(observation_space, spaces.Dict) else None
        given, seen = (
            list(space.spaces.values()) if isinstance(space, spaces.Dict) else [space]
            for space in (observation_space, self.seen)
        )
        #: Of each part of an observation, whether it is a picture whose channels come last.
        self.turned = [one.shape != other.shape for one, other in zip(given, seen, strict=True)]
        if box:
            self.register_buffer("low", torch.from_numpy(self.space.low.copy()))
            self.register_buffer("high", torch.from_numpy(self.space.high.copy()))

    def forward(self, *observations: Tensor) -> tuple[Tensor, Tensor]:
        """One tensor for each part of an observation, (batch, *part), to actions and what they follow from."""
        parts = [
            each.permute(0, 3, 1, 2) if turned else each for each, turned in zip(observations, self.turned, strict=True)
        ]
        observation: Any = parts[0] if self.names is None else dict(zip(self.names, parts, strict=True))
        prepared = preprocess_obs(observation, self.seen, normalize_images=self.normalises_pictures)
        scores: Tensor = self.layers(self.extractor(prepared))
        space = self.space
        if isinstance(space, spaces.MultiDiscrete):
            choices = [logits.argmax(dim=1) for logits in scores.split([int(n) for n in space.nvec], dim=1)]
            return torch.stack(choices, dim=1), scores
        if isinstance(space, spaces.MultiBinary):
            return (scores > 0).to(torch.int8), scores
        if not isinstance(space, spaces.Box):
            return scores.argmax(dim=1), scores
        action = (torch.tanh(scores) if self.squashed else scores).reshape(-1, *space.shape)
        if self.scaled:
            return self.low + 0.5 * (action + 1.0) * (self.high - self.low), scores
        return action.clamp(self.low, self.high), scores


def _layers(policy: Any) -> tuple[nn.Module, ...]:
    """What leads from prepared observations to the scores, one after another."""
    if isinstance(policy, ActorCriticPolicy):
        return policy.pi_features_extractor, policy.mlp_extractor.policy_net, policy.action_net
    if isinstance(policy, DQNPolicy):
        return policy.q_net.features_extractor, policy.q_net.q_net
    actor = policy.actor
    if isinstance(policy, SACPolicy):
        return actor.features_extractor, actor.latent_pi, actor.mu
    return actor.features_extractor, actor.mu
