"""The learner: settings, hyperparameters, states, and one interval from its first step to its evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs.batches import BATCHES, ENGINES, EnvBatch, make_batch, why_anew
from metapbt.envs.batches.kept import KeptBatches
from metapbt.envs.jax import JAX_ENVIRONMENTS
from metapbt.errors import MetapbtError, unknown_name
from metapbt.jax_backend import drop_programs
from metapbt.learners.base import Assigned, State, Teacher, Training
from metapbt.learners.evaluation import mean_return
from metapbt.learners.intervals import episodes_in, episodes_state, longest_rollout, warn_if_anew, warn_if_cut
from metapbt.learners.normalise import ObservationNormaliser, RunningMoments
from metapbt.learners.ppo.compiled_runner import CompiledRunner
from metapbt.learners.ppo.hyperparameters import (
    HYPERPARAMETERS,
    PERCEPTRON,
    bounds,
    changes_nothing,
    check_space,
    check_values,
    searches_network,
)
from metapbt.learners.ppo.jax_engine import JaxEngine, Spaces, Task, Tutor
from metapbt.learners.ppo.learned import actor_of, initial, restored, shrunk, state_of
from metapbt.learners.ppo.network import Network
from metapbt.learners.ppo.rollout import PPOPolicy, Runner, check_vectors
from metapbt.learners.ppo.settings import NETWORK, SETTINGS
from metapbt.learners.ppo.teaching import Distillation, Teaching, reward_unit
from metapbt.learners.ppo.update import Coefficients, Sizes, update
from metapbt.learners.settings import complete, flag
from metapbt.plain import whole_number
from metapbt.seeding import episode_seed

if TYPE_CHECKING:
    from metapbt.history import Budget, Context, Interval
    from metapbt.space import Hyperparameters, Space

#: Orders of samples come in stacks of so many: another number of epochs up to here compiles nothing.
_EPOCHS_COMPILED = 32
#: Between a power of two and the next, so many sizes of rollouts and of minibatches are compiled, and padding fills
#: what is left of them: the fewer sizes, the more padding, which in a rollout costs next to nothing.
_STEPS_COMPILED, _BATCHES_COMPILED = 1, 4


class PPOLearner:
    """Trains with PPO, the whole of an update compiled into one call.

    Algorithm, defaults and network are those of Stable-Baselines3's PPO, but for the shape of a rollout. Every
    hyperparameter but those of the network may change from interval to interval. A new network compiles the update
    anew, once for all processes and runs of a machine; so does an ``n_steps`` beyond the next power of two, a
    ``batch_size`` beyond the next quarter of the way to one, or 32 more ``n_epochs``. All others cost nothing.

    Seeds of new episodes derive from the interval's, as do the draws of actions and of minibatches. What goes on is in
    the state: parameters, Adam's moments, the running moments of observations and returns where these are normalised,
    and the episodes under way with their returns so far, as ``episodes/<name>`` (see ``metapbt.envs.batches``). A
    rollout is at most as long as an interval, whatever ``n_steps``.

    Settings:
        n_envs: environments stepped side by side.
        engine: of the environments: ``python``; ``jax``, which compiles them together with the updates, where JAX can
            step them; ``envpool`` for the default context; or ``auto``: ``jax`` for Brax's bodies, else ``python``.
        device: of ``engine=jax``: ``auto`` (a GPU where there is one), ``cpu`` or ``gpu``.
        normalise_advantages: within each minibatch.
        normalise_observations: by running moments, as ``VecNormalize`` does; ``auto``: those of Brax's bodies.
        normalise_returns: the same of rewards, by the deviation of discounted returns.
        anneal_learning_rate: from its value at the first step of the budget to 0 at the last.
        sampled_evaluation: evaluate actions drawn from the policy instead of the most likely ones.
        network: ``policy`` and ``value``, each with ``layers`` (hidden ones), their ``width`` and ``activation`` (a key
            of ``ACTIVATIONS``); and ``shared``, whether the value function shares the policy's layers.
        distillation: see ``Distillation``.
        hyperparameters: fixed for the whole run; those of the search space win over them.
    """

    teachable = True

    def __init__(self, env: str, context: Context, budget: Budget, settings: Mapping[str, Any]) -> None:
        chosen = complete("setting of learner ppo", "learner", SETTINGS, settings)
        network = complete("key of learner.network", "learner.network", NETWORK, chosen["network"])
        self.env = env
        self.context = context
        self.budget = budget
        self.n_envs = whole_number("learner.n_envs", chosen["n_envs"], 1)
        self.engine: str = chosen["engine"]
        body = env in JAX_ENVIRONMENTS.keys() - BATCHES.keys()
        if self.engine == "auto":  # what has no other batch than a compiled one would be stepped one by one
            self.engine = "jax" if body else "python"
        self.normalise_advantages = flag("learner.normalise_advantages", chosen["normalise_advantages"])
        asked = chosen["normalise_observations"]
        self.normalise_observations = body if asked == "auto" else flag("learner.normalise_observations", asked)
        self.normalise_returns = flag("learner.normalise_returns", chosen["normalise_returns"])
        self.anneal_learning_rate = flag("learner.anneal_learning_rate", chosen["anneal_learning_rate"])
        self.sampled_evaluation = flag("learner.sampled_evaluation", chosen["sampled_evaluation"])
        self.shared = flag("learner.network.shared", network["shared"])
        self.distillation = Distillation(
            **complete(
                "key of learner.distillation",
                "learner.distillation",
                asdict(Distillation()),
                chosen["distillation"],
            )
        )
        self._kept = KeptBatches()
        defaults = {name: legal.default for name, legal in HYPERPARAMETERS.items()}
        #: Hyperparameters that the search space need not set, those of the network included.
        self.fixed = complete(
            "hyperparameter of learner ppo", "learner.hyperparameters", defaults, chosen["hyperparameters"]
        )
        for name, value in self.fixed.items():
            HYPERPARAMETERS[name].check(f"learner.hyperparameters.{name}", value)
        usual = {name: legal.default for name, legal in PERCEPTRON.items()}
        for head in ("policy", "value"):
            where = f"learner.network.{head}"
            for name, value in complete(f"key of {where}", where, usual, network[head]).items():
                PERCEPTRON[name].check(f"{where}.{name}", value)
                self.fixed[f"network.{head}.{name}"] = value
        for name, value in usual.items():
            asked = self.fixed[f"network.value.{name}"]
            if self.shared and asked not in (value, self.fixed[f"network.policy.{name}"]):
                raise changes_nothing(f"learner.network.value.{name}")
        self._jax = self._jax_engine(chosen["device"])

    def check(self, space: Space) -> None:
        """Check that every hyperparameter and its range are known and legal, and that all sizes fit."""
        check_space(space, self.shared)
        fewest, most = bounds(space, "n_steps", self.fixed)
        longest = longest_rollout(self.budget, self.n_envs)
        _check_batch(bounds(space, "batch_size", self.fixed)[1], self.n_envs * min(fewest, longest))
        _ = self._spaces  # finds environments, contexts and engines that do not exist
        warn_if_cut(most, self.budget, self.n_envs)
        warn_if_anew(self.env, self._why_anew)

    def train(self, interval: Interval, start: State | None, teacher: Teacher | None = None) -> Training:
        """Train whole rollouts until the interval's end, then evaluate the deterministic policy.

        With a teacher, the student acts, and what it learns from its own returns is joined by what the teacher says of
        each observation that it meets (``distillation``).
        """
        drop_programs()
        if self._jax is not None and not self._jax.apart(interval.hyperparameters):
            (trained,) = self._jax.train([Assigned(interval, start, teacher)], self._task)
            if isinstance(trained, Exception):
                raise trained
            return trained
        chosen = self._chosen(interval.hyperparameters)
        n_steps, batch_size, n_epochs = self._sizes(chosen)
        rollout_steps = self.n_envs * n_steps
        network = self._network(chosen)
        rng = np.random.default_rng(interval.seed)
        learned = initial(network, rng) if start is None else restored(network, start)
        observations, returns = self._moments(network, self._offered(teacher) if start is None else start)
        teaching = None if teacher is None else self._teaching(teacher)

        runner: Runner | CompiledRunner
        if self._jax is not None:
            runner = self._jax.runner(interval, start, observations, returns, chosen)
        else:
            under_way = None if self._why_anew else episodes_in(start, self.n_envs)
            envs = (self._kept.take(under_way) if under_way else None) or self._envs(self.n_envs)
            seeds, gamma = partial(episode_seed, interval.seed), chosen["gamma"]
            runner = Runner(envs, seeds, rng, observations, returns, gamma, under_way, chosen["reward_scale"])
        env_steps = interval.start_steps
        while True:
            rollout = runner.collect(actor_of(network, learned), n_steps, _places(n_steps, _STEPS_COMPILED))
            places, taught = len(rollout.rewards), env_steps - interval.start_steps
            lesson = teaching and teaching.lesson(runner.raw, places, reward_unit(chosen, returns), taught)
            learned, _ = update(
                learned,
                rollout,
                _orders(rng, n_epochs, rollout_steps, rollout.rewards.size),
                np.int32(n_epochs),
                self._coefficients(chosen, env_steps),
                Sizes(np.int32(n_steps), np.int32(batch_size)),
                lesson,
                network=network,
                batch_size=_places(batch_size, _BATCHES_COMPILED),
                normalise_advantages=self.normalise_advantages,
            )
            env_steps += rollout_steps
            if env_steps >= interval.until_steps:
                break

        state = state_of(network, learned)
        if observations is not None:
            state |= observations.moments.state("observations")
        if returns is not None:
            state |= returns.state("returns")
        if self._jax is None and self._why_anew:
            envs.close()
        else:
            episodes = runner.under_way()
            state |= episodes_state(episodes)
            if self._jax is None:
                self._kept.keep(envs, episodes)
        seed, count = interval.evaluation_seed, interval.evaluation_episodes
        eval_return = self.evaluate(state, interval.hyperparameters, seed, count)
        return Training(state, env_steps, tuple(runner.returns), eval_return)

    def train_many(self, jobs: Sequence[Assigned]) -> list[Training | Exception] | None:
        """Train several members with ``engine=jax`` by few calls for each program; None where there is no such program.

        That is so in a search whose environment takes long to compile, too.
        """
        if self._jax is None or any(self._jax.apart(job.interval.hyperparameters) for job in jobs):
            return None
        drop_programs()
        return self._jax.train(jobs, self._task)

    def shrunk(self, state: State, hyperparameters: Hyperparameters, shrink: float, perturb: float, seed: int) -> State:
        """Blend the network's parameters with new ones; Adam begins anew, running moments go on."""
        return shrunk(self._network(self._chosen(hyperparameters)), state, shrink, perturb, np.random.default_rng(seed))

    def evaluate(self, state: State, hyperparameters: Hyperparameters, seed: int, episodes: int) -> float:
        """The mean return of the deterministic policy, several episodes side by side."""
        if self._jax is not None:
            network = self._network(self._chosen(hyperparameters))
            return self._jax.evaluate(network, hyperparameters, state, seed, episodes)
        return mean_return(self._envs, self.policy(state, hyperparameters), seed, episodes, self.sampled_evaluation)

    def policy(self, state: State, hyperparameters: Hyperparameters) -> PPOPolicy:
        """The trained agent, which normalises observations where the learner does."""
        network, observations = self._trained(state, hyperparameters)
        return PPOPolicy(actor_of(network, restored(network, state)), observations, *self._spaces)

    def _offered(self, teacher: Teacher | None) -> State | None:
        return teacher.state if teacher is not None and self.distillation.offer_moments else None

    def _teaching(self, teacher: Teacher) -> Teaching:
        chosen = self._chosen(teacher.hyperparameters)
        network = self._network(chosen)
        observations, returns = self._moments(network, teacher.state)
        actor = actor_of(network, restored(network, teacher.state))
        return Teaching(teacher, self.distillation, actor, observations, reward_unit(chosen, returns))

    def _trained(self, state: State, hyperparameters: Hyperparameters) -> tuple[Network, ObservationNormaliser | None]:
        network = self._network(self._chosen(hyperparameters))
        return network, self._moments(network, state)[0]

    @cached_property
    def _why_anew(self) -> str | None:
        return None if self._jax else why_anew(self.env, self.context, self.engine)

    def _chosen(self, hyperparameters: Hyperparameters) -> dict[str, Any]:
        check_values(hyperparameters)
        return {**self.fixed, **hyperparameters}

    def _coefficients(self, chosen: Mapping[str, Any], env_steps: int) -> Coefficients:
        values = {name: np.float32(math.inf if chosen[name] is None else chosen[name]) for name in Coefficients._fields}
        if self.anneal_learning_rate:
            values["learning_rate"] *= np.float32(max(1 - env_steps / self.budget.steps, 0))
        return Coefficients(**values)

    def _sizes(self, chosen: Mapping[str, Any]) -> tuple[int, int, int]:
        """Steps of each environment in a rollout, samples of a minibatch, and epochs."""
        n_steps, batch_size, n_epochs = (int(chosen[name]) for name in ("n_steps", "batch_size", "n_epochs"))
        n_steps = min(n_steps, longest_rollout(self.budget, self.n_envs))
        _check_batch(batch_size, self.n_envs * n_steps)
        return n_steps, batch_size, n_epochs

    def _task(self, job: Assigned) -> Task:
        chosen = self._chosen(job.interval.hyperparameters)
        n_steps, batch_size, n_epochs = self._sizes(chosen)
        return Task(
            job.interval,
            job.start,
            self._network(chosen),
            Sizes(n_steps, batch_size),
            Sizes(_places(n_steps, _STEPS_COMPILED), _places(batch_size, _BATCHES_COMPILED)),
            n_epochs,
            partial(self._coefficients, chosen),
            chosen["reward_scale"],
            searches_network(job.interval.hyperparameters),
            None if job.teacher is None else self._tutor(job.teacher),
        )

    def _tutor(self, teacher: Teacher) -> Tutor:
        chosen, given = self._chosen(teacher.hyperparameters), self.distillation
        network = self._network(chosen)
        unit = reward_unit(chosen, self._moments(network, teacher.state)[1])
        return Tutor(teacher.state, network, unit, partial(given.weights, teacher), given.offer_moments)

    def _jax_engine(self, device: str) -> JaxEngine | None:
        if self.engine not in (*ENGINES, "jax"):
            raise unknown_name("learner.engine", self.engine, ("auto", *ENGINES, "jax"))
        if self.engine != "jax":
            if device not in ("auto", "cpu"):
                raise MetapbtError(f"learner.device={device} needs learner.engine=jax: {self.engine} trains on the CPU")
            return None
        return JaxEngine(
            self.env,
            self.context,
            device,
            n_envs=self.n_envs,
            normalise_advantages=self.normalise_advantages,
            normalise_observations=self.normalise_observations,
            normalise_returns=self.normalise_returns,
            sampled_evaluation=self.sampled_evaluation,
        )

    def _envs(self, count: int) -> EnvBatch:
        return make_batch(self.env, self.context, count, self.engine)

    @cached_property
    def _spaces(self) -> Spaces:
        """Of one environment."""
        if self._jax is not None:
            return self._jax.spaces
        envs = self._envs(1)
        envs.close()
        check_vectors(self.env, envs.observation_space)
        return Spaces(envs.observation_space, envs.action_space)

    def _network(self, chosen: Mapping[str, Any]) -> Network:
        observations, space = self._spaces
        discrete = isinstance(space, spaces.Discrete)
        outputs = int(space.n) if isinstance(space, spaces.Discrete) else math.prod(space.shape)
        inputs = math.prod(observations.shape)
        policy, value = (
            {name: chosen[f"network.{head}.{name}"] for name in PERCEPTRON}
            for head in ("policy", "policy" if self.shared else "value")
        )
        return Network(
            inputs,
            outputs,
            not discrete,
            (int(policy["width"]),) * int(policy["layers"]),
            (int(value["width"]),) * int(value["layers"]),
            policy["activation"],
            value["activation"],
            self.shared,
        )

    def _moments(
        self, network: Network, state: State | None
    ) -> tuple[ObservationNormaliser | None, RunningMoments | None]:
        observations = ObservationNormaliser(network.inputs) if self.normalise_observations else None
        returns = RunningMoments(()) if self.normalise_returns else None
        if state is not None and observations is not None:
            observations.moments.restore("observations", state)
        if state is not None and returns is not None:
            returns.restore("returns", state)
        return observations, returns


def _orders(rng: np.random.Generator, n_epochs: int, size: int, places: int) -> NDArray[np.int32]:
    """A permutation of ``size`` for each epoch, in an array whose shape does not depend on their number, as far as
    possible, nor on ``size``.
    """
    orders = np.zeros((-(-n_epochs // _EPOCHS_COMPILED) * _EPOCHS_COMPILED, places), np.int32)
    for epoch in range(n_epochs):
        orders[epoch, :size] = rng.permutation(size)
    return orders


def _places(number: int, per_octave: int) -> int:
    """The least number of places for at least ``number``, so that few differ."""
    step = max(2 ** (number - 1).bit_length() // (2 * per_octave), 1)
    return -(-number // step) * step


def _check_batch(batch_size: int, rollout_steps: int) -> None:
    if batch_size > rollout_steps:
        raise MetapbtError(
            f"batch_size must be at most a rollout (n_envs * n_steps = {rollout_steps} samples), got {batch_size}"
        )
