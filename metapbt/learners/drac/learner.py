"""The learner: settings, hyperparameters, and one interval from its first step to its evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces

from metapbt.envs.batches import EnvBatch, make_batch, why_anew
from metapbt.envs.batches.kept import KeptBatches
from metapbt.errors import MetapbtError
from metapbt.learners.base import Policy, State, Teacher, Training, no_teacher
from metapbt.learners.devices import torch_device
from metapbt.learners.drac.actions import actions_of
from metapbt.learners.drac.augmentations import augmentation_called
from metapbt.learners.drac.hyperparameters import HYPERPARAMETERS
from metapbt.learners.drac.learned import adam, restored, shrunk, state_of
from metapbt.learners.drac.loss import Coefficients
from metapbt.learners.drac.network import NETWORKS, RESIDUALS, Architecture
from metapbt.learners.drac.rollout import DrACPolicy, Runner, Seer
from metapbt.learners.drac.update import Draws, Settings, samples_of, update
from metapbt.learners.evaluation import mean_return
from metapbt.learners.intervals import episodes_in, episodes_state, longest_rollout, warn_if_anew, warn_if_cut
from metapbt.learners.normalise import RewardNormaliser, RunningMoments
from metapbt.learners.settings import check_ranges, check_values, complete, flag, word
from metapbt.plain import whole_number
from metapbt.seeding import episode_seed

if TYPE_CHECKING:
    from metapbt.history import Budget, Context, Interval
    from metapbt.space import Hyperparameters, Space

#: Settings and their defaults.
SETTINGS: dict[str, Any] = {
    "n_envs": 64,
    "n_steps": 256,
    "minibatches": 8,
    "network": "auto",
    "residual": "textbook",
    "kl": "sampled",
    "normalise_rewards": True,
    "normalise_advantages": "rollout",
    "sampled_evaluation": False,
    "device": "auto",
    "hyperparameters": {},
}
KL = ("sampled", "exact")
ADVANTAGES = ("rollout", "minibatch", "none")

#: The discount of the returns whose deviation scales rewards: not the tuned one, but the published wrapper's.
REWARD_GAMMA = 0.99


class DrACLearner:
    """Trains with DrAC: PPO whose policy and value are to stay the same when the observation is augmented.

    Formulas and constants are the published ones (docs/drac.md says what differs). Every hyperparameter, the learning
    rate and the augmentation included, takes effect in the very next update, and none of them builds anything anew.

    Seeds of new episodes derive from the interval's, as do the draws of actions, of minibatches, of augmentations and
    of the loss, each from a generator of its own. What goes on is in the state: parameters, Adam's moments, the running
    moments of returns, and, where the environment lets them, the episodes under way. Frames stay bytes until the
    network sees them. A rollout is at most as long as an interval, whatever ``n_steps``.

    Settings:
        n_envs: environments stepped side by side.
        n_steps: of each of them in a rollout.
        minibatches: of an epoch.
        network: ``impala``, ``nature``, ``nature_small`` or ``mlp``; ``auto`` is impala for pictures, mlp for vectors.
        residual: of impala's blocks, ``textbook`` or ``published`` (see ``ResidualBlock``).
        kl: of the policy's augmentation term, one sample (``sampled``) or ``exact``.
        normalise_rewards: by the deviation of discounted returns, as ``VecNormalize`` does.
        normalise_advantages: over the ``rollout`` or each ``minibatch``, or ``none``.
        sampled_evaluation: whether evaluation draws actions instead of taking the most likely ones.
        device: ``cpu``, ``cuda``, ``cuda:1``, ... or ``auto``, a GPU where there is one.
        hyperparameters: fixed for the whole run; those of the search space win over them.
    """

    teachable = False

    def __init__(self, env: str, context: Context, budget: Budget, settings: Mapping[str, Any]) -> None:
        chosen = complete("setting of learner drac", "learner", SETTINGS, settings)
        self.env, self.context, self.budget = env, context, budget
        self.n_envs, self.n_steps, self.minibatches = (
            whole_number(f"learner.{name}", chosen[name], 1) for name in ("n_envs", "n_steps", "minibatches")
        )
        self.network_name = word("learner.network", chosen["network"], ("auto", *NETWORKS))
        self.published_residual = word("learner.residual", chosen["residual"], RESIDUALS) == "published"
        self.exact = word("learner.kl", chosen["kl"], KL) == "exact"
        self.normalise_rewards = flag("learner.normalise_rewards", chosen["normalise_rewards"])
        self.normalise_advantages = word("learner.normalise_advantages", chosen["normalise_advantages"], ADVANTAGES)
        self.sampled_evaluation = flag("learner.sampled_evaluation", chosen["sampled_evaluation"])
        self.device = chosen["device"]
        defaults = {name: legal.default for name, legal in HYPERPARAMETERS.items()}
        #: Hyperparameters that the search space need not set.
        self.fixed = complete(
            "hyperparameter of learner drac", "learner.hyperparameters", defaults, chosen["hyperparameters"]
        )
        for name, value in self.fixed.items():
            HYPERPARAMETERS[name].check(f"learner.hyperparameters.{name}", value)
        self._kept = KeptBatches()

    def check(self, space: Space) -> None:
        """Check that every hyperparameter and its range are known and legal, and that all fits the observations."""
        check_ranges("drac", HYPERPARAMETERS, space)
        shape = self._architecture.shape
        types = {parameter.name: parameter.choices for parameter in space.parameters}.get("aug_type")
        for where, name in [("space", each) for each in types or ()] or [
            ("learner.hyperparameters", self.fixed["aug_type"])
        ]:
            augmentation_called(name).check(f"{where}.aug_type={name}", shape)
        self._architecture.build()
        longest = longest_rollout(self.budget, self.n_envs)
        size = min(self.n_steps, longest) * self.n_envs
        if self.minibatches > size:
            raise MetapbtError(f"learner.minibatches must be at most a rollout, {size} samples, got {self.minibatches}")
        _ = self._device
        warn_if_cut(self.n_steps, self.budget, self.n_envs)
        warn_if_anew(self.env, self._why_anew)

    def train(self, interval: Interval, start: State | None, teacher: Teacher | None = None) -> Training:
        """Train whole rollouts until the interval's end, then evaluate."""
        no_teacher("drac", teacher)
        chosen = self._chosen(interval.hyperparameters)
        weights, acting, minibatches, drawn, augmented = np.random.default_rng(interval.seed).spawn(5)
        generator = torch.Generator().manual_seed(int(augmented.integers(2**63)))
        draws = Draws(minibatches, drawn, generator)
        architecture, device = self._architecture, self._device
        network = (architecture.build(weights) if start is None else restored(architecture, start)).to(device)
        optimiser = adam(network, chosen["learning_rate"], start)
        settings = self._update_settings(chosen)

        under_way = None if self._why_anew else episodes_in(start, self.n_envs)
        envs = (self._kept.take(under_way) if under_way else None) or self._envs(self.n_envs)
        rewards = self._rewards(start, under_way)
        n_steps = min(self.n_steps, longest_rollout(self.budget, self.n_envs))
        seeds = partial(episode_seed, interval.seed)
        runner = Runner(envs, seeds, acting, rewards, chosen["gamma"], n_steps, under_way)
        seer, env_steps = Seer(network, architecture.actions), interval.start_steps
        while True:
            rollout = runner.collect(seer)
            over_rollout = self.normalise_advantages == "rollout"
            samples = samples_of(rollout, chosen["gamma"], chosen["gae_lambda"], over_rollout, device)
            observations = torch.from_numpy(rollout.observations).flatten(0, 1).to(device)
            update(network, optimiser, observations, samples, settings, draws)
            env_steps += len(observations)
            if env_steps >= interval.until_steps:
                break

        state = state_of(network, optimiser)
        if rewards is not None:
            state |= rewards.moments.state("returns")
        if self._why_anew:
            envs.close()
        else:
            episodes = runner.under_way()
            state |= episodes_state(episodes)
            self._kept.keep(envs, episodes)
        evaluation = self._evaluate(seer, interval.evaluation_seed, interval.evaluation_episodes)
        return Training(state, env_steps, tuple(runner.returns), evaluation)

    def shrunk(self, state: State, hyperparameters: Hyperparameters, shrink: float, perturb: float, seed: int) -> State:
        """Blend the network's parameters with new ones; Adam begins anew, running moments of returns go on."""
        weights, *_ = np.random.default_rng(seed).spawn(1)
        return shrunk(self._architecture, state, shrink, perturb, weights)

    def evaluate(self, state: State, hyperparameters: Hyperparameters, seed: int, episodes: int) -> float:
        """The mean return, several episodes side by side."""
        return self._evaluate(self._trained(state), seed, episodes)

    def policy(self, state: State, hyperparameters: Hyperparameters) -> Policy:
        """The trained agent."""
        return DrACPolicy(self._trained(state), *self._spaces)

    def _evaluate(self, seer: Seer, seed: int, episodes: int) -> float:
        return mean_return(self._envs, DrACPolicy(seer, *self._spaces), seed, episodes, self.sampled_evaluation)

    def _trained(self, state: State) -> Seer:
        return Seer(restored(self._architecture, state).to(self._device), self._architecture.actions)

    def _chosen(self, hyperparameters: Hyperparameters) -> dict[str, Any]:
        check_values("drac", HYPERPARAMETERS, hyperparameters)
        return {**self.fixed, **hyperparameters}

    def _update_settings(self, chosen: Mapping[str, Any]) -> Settings:
        name = chosen["aug_type"]
        augmentation = augmentation_called(name)
        augmentation.check(f"aug_type={name}", self._architecture.shape)
        # Identity's terms are 0, or but noise where the KL divergence is sampled.
        nothing = name == "identity" or chosen["aug_coef"] == 0
        return Settings(
            self._architecture.actions,
            self.minibatches,
            int(chosen["n_epochs"]),
            Coefficients(*(float(chosen[name]) for name in Coefficients._fields)),
            float(chosen["max_grad_norm"]),
            None if nothing else augmentation,
            self.exact,
            self.normalise_advantages,
        )

    def _rewards(self, start: State | None, under_way: Mapping[str, Any] | None) -> RewardNormaliser | None:
        if not self.normalise_rewards:
            return None
        moments = RunningMoments(())
        if start is not None:
            moments.restore("returns", start)
        zeros = np.zeros(self.n_envs)
        return RewardNormaliser(moments, (under_way or {}).get("discounted", zeros), REWARD_GAMMA)

    def _envs(self, count: int) -> EnvBatch:
        return make_batch(self.env, self.context, count)

    @cached_property
    def _why_anew(self) -> str | None:
        return why_anew(self.env, self.context)

    @cached_property
    def _device(self) -> torch.device:
        return torch_device(self.device)

    @cached_property
    def _spaces(self) -> tuple[spaces.Box, spaces.Discrete | spaces.Box]:
        """Of one environment: observations and actions."""
        envs = self._envs(1)
        envs.close()
        return envs.observation_space, envs.action_space

    @cached_property
    def _architecture(self) -> Architecture:
        observations, actions = self._spaces
        shape = observations.shape
        pictures = len(shape) == 3
        name = self.network_name if self.network_name != "auto" else "impala" if pictures else "mlp"
        seen = (shape[2], *shape[:2]) if pictures else shape
        return Architecture(name, seen, actions_of(actions), self.published_residual)
