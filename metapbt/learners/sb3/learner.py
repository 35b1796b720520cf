"""The learner: settings, models, and one interval from its first step to its evaluation."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv

from metapbt.envs import make_env
from metapbt.envs.batches import Seeds, why_anew
from metapbt.envs.batches.episodes import SeededEpisodes, resume, under_way
from metapbt.errors import MetapbtError, unknown_name
from metapbt.learners.base import Policy, State, Teacher, Training, no_teacher
from metapbt.learners.corners import Trial, check_corners
from metapbt.learners.devices import torch_device
from metapbt.learners.evaluation import EVALUATED_TOGETHER
from metapbt.learners.intervals import episodes_in, episodes_state, longest_rollout, warn_if_anew, warn_if_cut
from metapbt.learners.sb3.arguments import algorithm_called, arguments_of, check_names
from metapbt.learners.sb3.policy import SB3Policy, draw_noise
from metapbt.learners.sb3.replay import end_episodes, restore_replay
from metapbt.learners.sb3.state import restore, restore_noise, state_of
from metapbt.learners.sb3.trial import TRIED_STEPS, Still, for_few_steps
from metapbt.learners.settings import flag
from metapbt.plain import whole_number
from metapbt.seeding import episode_seed

if TYPE_CHECKING:
    from metapbt.history import Budget, Context, Interval
    from metapbt.space import Hyperparameters, Space

_SETTINGS = {"algorithm", "policy", "n_envs", "device", "hyperparameters", "sampled_evaluation"}


class SB3Learner:
    """Trains with an algorithm of Stable-Baselines3.

    Every interval builds the algorithm anew with the interval's hyperparameters and puts back weights, optimiser
    state, replay buffer, counters, action noise, and the episodes under way, which are played again. So any argument of
    the algorithm's constructor can be tuned, and an interval that is repeated gives the same result. Those that change
    the network need ``role: architecture``. Schedules run over the whole budget. A rollout is at most as long as an
    interval, whatever ``n_steps``.

    Settings:
        algorithm: its name, such as ``SAC``.
        policy: ``MlpPolicy``, ``CnnPolicy`` or ``MultiInputPolicy``.
        n_envs: environments stepped side by side.
        device: ``cpu``, ``cuda``, ``cuda:1``, ... or ``auto``. States are on the CPU, and fit any.
        sampled_evaluation: evaluate actions drawn from the policy instead of the most likely ones.
        hyperparameters: of each algorithm, fixed for the whole run; those of the search space win over them.
    """

    def __init__(self, env: str, context: Context, budget: Budget, settings: Mapping[str, Any]) -> None:
        for key in settings.keys() - _SETTINGS:
            raise unknown_name("setting of learner sb3", key, _SETTINGS)
        self.env = env
        self.context = context
        self.budget = budget
        self.algorithm = algorithm_called(settings["algorithm"])
        self.policy_name = settings["policy"]
        if self.policy_name not in self.algorithm.policy_aliases:
            raise unknown_name("learner.policy", self.policy_name, self.algorithm.policy_aliases)
        self.n_envs = whole_number("learner.n_envs", settings["n_envs"], 1)
        self.device = settings.get("device", "cpu")
        self.sampled_evaluation = flag("learner.sampled_evaluation", settings.get("sampled_evaluation", False))
        of_each = settings["hyperparameters"]
        if not isinstance(of_each, Mapping) or not isinstance(of_each.get(settings["algorithm"], {}), Mapping):
            raise MetapbtError(f"learner.hyperparameters must map algorithms to mappings, got {of_each!r}")
        for name in of_each:
            algorithm_called(name)
        self.fixed = dict(of_each.get(settings["algorithm"], {}))

    def check(self, space: Space) -> None:
        """Check that the algorithm has every hyperparameter, and can be trained with all that they may be.

        The space's corners are trained for a few steps, from each other's states.
        """
        check_names(self.algorithm, self.policy_name, self.fixed, space.names)
        on_policy = issubclass(self.algorithm, OnPolicyAlgorithm)
        with self._trial() as trial:
            check_corners(f"{self.algorithm.__name__} on {self.env}", space, trial)
        if on_policy:
            warn_if_cut(max(self._n_steps(corner) for corner in space.corners()), self.budget, self.n_envs)
        warn_if_anew(self.env, self._why_anew)

    def train(self, interval: Interval, start: State | None, teacher: Teacher | None = None) -> Training:
        """Train whole rollouts until the interval's end, then evaluate the deterministic policy."""
        no_teacher("sb3", teacher)
        envs = self._envs(self.n_envs, partial(episode_seed, interval.seed))
        seeded: list[Any] = envs.envs
        episodes = None if self._why_anew else episodes_in(start, self.n_envs)
        if episodes is not None:
            resume(seeded, episodes)
        model = self._build(interval.hyperparameters, interval.seed, envs)
        if start is not None:
            self._restore(model, start, interval.start_steps)
            if episodes is None and isinstance(model, OffPolicyAlgorithm):
                end_episodes(model.replay_buffer)
        # At least one step, and so one rollout. The environments' first reset plays the episodes under way again.
        going = _learn(model, max(interval.until_steps - interval.start_steps, 1), start)
        state = state_of(model)
        if not self._why_anew:
            state |= episodes_state(under_way(seeded))
        envs.close()
        evaluation = self._evaluate(model, interval.evaluation_seed, interval.evaluation_episodes)
        return Training(state, int(model.num_timesteps), tuple(going.returns), evaluation)

    def evaluate(self, state: State, hyperparameters: Hyperparameters, seed: int, episodes: int) -> float:
        """The mean return of the deterministic policy."""
        return self._evaluate(self._trained(state, hyperparameters), seed, episodes)

    def policy(self, state: State, hyperparameters: Hyperparameters) -> Policy:
        """The trained agent."""
        return SB3Policy(self._trained(state, hyperparameters))

    def _trained(self, state: State, hyperparameters: Hyperparameters) -> Any:
        model = self._build(hyperparameters)
        restore(model, state)
        return model

    def _restore(self, model: Any, state: State, steps: int) -> None:
        """Let a model go on from a state of so many steps."""
        restore(model, state)
        if isinstance(model, OffPolicyAlgorithm):
            restore_replay(model.replay_buffer, state)
        model.num_timesteps = steps
        model._update_current_progress_remaining(steps, self.budget.steps)
        if isinstance(model, DQN):
            model.exploration_rate = model.exploration_schedule(model._current_progress_remaining)

    def _build(self, hyperparameters: Hyperparameters, seed: int = 0, envs: DummyVecEnv | None = None) -> Any:
        """The algorithm, on ``envs`` or on closed ones that only show it their spaces."""
        if envs is None:
            envs = self._envs(self.n_envs, lambda place, count: count)
            envs.close()
        return self._made(self._arguments(hyperparameters, envs), seed, envs)

    def _made(self, arguments: Mapping[str, Any], seed: int, envs: DummyVecEnv) -> Any:
        with warnings.catch_warnings():
            # About a last minibatch that is smaller than the others: a population tunes the batch size as well.
            warnings.filterwarnings("ignore", message="You have specified a mini-batch size")
            model: Any = self.algorithm(self.policy_name, envs, seed=seed, device=self._device, **arguments)
        model.set_logger(Logger(None, []))  # else every training leaves a directory in the system's temporary one
        # Else a schedule would run its whole course in every interval.
        model._update_current_progress_remaining = partial(_see_progress, model, self.budget.steps)
        return model

    def _arguments(self, hyperparameters: Hyperparameters, envs: DummyVecEnv) -> dict[str, Any]:
        arguments = arguments_of(self.algorithm, {**self.fixed, **hyperparameters}, envs.action_space)
        if issubclass(self.algorithm, OnPolicyAlgorithm):
            arguments["n_steps"] = min(self._n_steps(hyperparameters), longest_rollout(self.budget, self.n_envs))
        elif "gradient_steps" not in arguments:
            # train_freq counts steps of all environments together. So a step of one of them is learned from as often as
            # where it is alone.
            usual = inspect.signature(self.algorithm).parameters["gradient_steps"].default
            arguments["gradient_steps"] = usual * self.n_envs if usual > 0 else usual
        return arguments

    def _n_steps(self, hyperparameters: Hyperparameters) -> int:
        default = inspect.signature(self.algorithm).parameters["n_steps"].default
        n_steps = {"n_steps": default, **self.fixed, **hyperparameters}["n_steps"]
        if isinstance(n_steps, bool) or not isinstance(n_steps, int | float) or n_steps != int(n_steps) or n_steps < 1:
            raise MetapbtError(f"n_steps must be a whole number >= 1, got {n_steps!r}")
        return int(n_steps)

    @contextmanager
    def _trial(self) -> Iterator[Trial]:
        """What trains a few steps."""
        features: dict[str, Any] = dict(self.context)
        env = make_env(self.env, **features)
        envs = DummyVecEnv([partial(Still, env)] * self.n_envs)
        env.close()
        steps = 1 if issubclass(self.algorithm, OnPolicyAlgorithm) else TRIED_STEPS * self.n_envs
        parameters = inspect.signature(self.algorithm).parameters

        def trial(hyperparameters: Hyperparameters, start: State | None) -> State:
            model = self._made(for_few_steps(self._arguments(hyperparameters, envs), parameters), 0, envs)
            if start is not None:
                self._restore(model, start, steps)
            _learn(model, steps, start)
            model.predict(envs.reset(), deterministic=True)
            return state_of(model)

        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # networks are small
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # training will say so
                yield trial
        finally:
            torch.set_num_threads(threads)

    def _evaluate(self, model: BaseAlgorithm, seed: int, episodes: int) -> float:
        returns: list[float] = []
        sampled = self.sampled_evaluation and not isinstance(model, DQN)  # which has no distribution to draw from
        if sampled:
            model.set_random_seed(seed % 2**32)
        for first in range(seed, seed + episodes, EVALUATED_TOGETHER):
            count = min(EVALUATED_TOGETHER, seed + episodes - first)  # one episode for each environment
            envs = self._envs(count, lambda place, count, first=first: first + place)  # type: ignore[misc]
            if sampled:
                draw_noise(model, count)
            of_each, _ = evaluate_policy(model, envs, count, deterministic=not sampled, return_episode_rewards=True)
            envs.close()
            returns += of_each  # type: ignore[arg-type]
        return float(np.mean(returns)) if returns else math.nan

    def _envs(self, count: int, seeds: Seeds) -> DummyVecEnv:
        # Episodes outside of the monitor: played again, they give it their rewards.
        features: dict[str, Any] = dict(self.context)

        def maker(place: int) -> Callable[[], SeededEpisodes]:
            return lambda: SeededEpisodes(Monitor(make_env(self.env, **features)), partial(seeds, place))

        return DummyVecEnv([maker(place) for place in range(count)])

    @cached_property
    def _why_anew(self) -> str | None:
        return why_anew(self.env, self.context)

    @cached_property
    def _device(self) -> torch.device:
        """Where to train: Stable-Baselines3 would silently take the CPU where there is no such GPU."""
        return torch_device(self.device)


class _Interval(BaseCallback):
    """Collects the returns of finished episodes, and puts noise back."""

    def __init__(self, start: State | None) -> None:
        super().__init__()
        self.start = start
        self.returns: list[float] = []

    def _on_training_start(self) -> None:
        if self.start is not None:  # Stable-Baselines3 has just reset it
            restore_noise(self.model, self.start)

    def _on_step(self) -> bool:
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True


def _learn(model: Any, steps: int, start: State | None) -> _Interval:
    """Train so many steps more, or until the end of the rollout in which they end."""
    going = _Interval(start)
    model.learn(steps, callback=going, log_interval=None, reset_num_timesteps=False)
    return going


def _see_progress(model: Any, budget: int, steps: int, _: int) -> None:
    """Let schedules see how much of the whole budget remains, instead of the interval's steps."""
    model._current_progress_remaining = max(0.0, 1.0 - steps / budget)
