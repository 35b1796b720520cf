"""``engine=jax``: intervals of one or of many members, by as few compiled calls as there are different programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from gymnasium import spaces

from metapbt.envs.jax import make_jax_env
from metapbt.jax_backend import device_for, jax
from metapbt.learners.base import Assigned, State, Training
from metapbt.learners.normalise import ObservationNormaliser, RunningMoments
from metapbt.learners.ppo.acting import AnyPolicy
from metapbt.learners.ppo.compiled import Ended, Member, Plan, Program, Taught, advance
from metapbt.learners.ppo.compiled_evaluation import evaluate, width_for
from metapbt.learners.ppo.compiled_runner import CompiledRunner
from metapbt.learners.ppo.hyperparameters import COMPILED_IN, searches_network
from metapbt.learners.ppo.jax_state import (
    episodes_from,
    moments_from,
    new_episodes,
    state_of_episodes,
    state_of_moments,
)
from metapbt.learners.ppo.learned import initial, restored, state_of
from metapbt.learners.ppo.moments import Moments
from metapbt.learners.ppo.network import Network
from metapbt.learners.ppo.padding import PaddedNetwork, with_room
from metapbt.learners.ppo.update import Coefficients, Sizes

if TYPE_CHECKING:
    from metapbt.history import Interval
    from metapbt.space import Hyperparameters

#: Environment steps of a member in one call, about: returns of so many are kept until it ends.
_STEPS_OF_A_CALL, _MOST_ROLLOUTS = 2**16, 32

#: Members of a call on a GPU, where networks of a search share a program: their count is compiled in, and rungs differ
#: in it; empty places cost next to nothing.
_TOGETHER = 8

#: Numbers in the state of an environment that compiles quickly.
_MOST_NUMBERS = 64


@dataclass(frozen=True)
class Tutor:
    """Who teaches a member.

    Attributes:
        state: of the teacher.
        network: its own.
        unit: what it made of a reward of 1.
        weights: of its policy and of its values in the student's loss, after so many steps of the interval.
        offer_moments: whether a new student begins with its running moments.
    """

    state: State
    network: Network
    unit: float
    weights: Callable[[int], tuple[float, float]]
    offer_moments: bool


@dataclass(frozen=True)
class Task:
    """An interval of one member, with what follows from its hyperparameters.

    Attributes:
        interval: what to train.
        start: of the member or of the one that it copies; None for a new agent.
        network: its network.
        sizes: of a rollout and of a minibatch.
        places: that are compiled for these.
        n_epochs: over each rollout.
        coefficients: the other hyperparameters, at an environment step of the line of descent.
        reward_scale: of the rewards that are learned from.
        searched: whether the network is one of many that are tried.
        tutor: whom it learns from; None without.
    """

    interval: Interval
    start: State | None
    network: Network
    sizes: Sizes
    places: Sizes
    n_epochs: int
    coefficients: Callable[[int], Coefficients]
    reward_scale: float = 1.0
    searched: bool = False
    tutor: Tutor | None = None


class Spaces(NamedTuple):
    """Of one environment."""

    observation_space: spaces.Box
    action_space: spaces.Discrete | spaces.Box


class JaxEngine:
    """Trains members in compiled calls.

    Args:
        env: the environment's name.
        context: its features.
        device: ``auto``, ``cpu`` or ``gpu``.
        n_envs: environments stepped side by side.
        normalise_advantages: within each minibatch.
        normalise_observations: by running moments.
        normalise_returns: rewards, by those of the discounted returns.
        sampled_evaluation: evaluate actions drawn from the policy instead of the most likely ones.

    Raises:
        MetapbtError: JAX cannot step the environment, or there is no such device.
    """

    def __init__(
        self,
        env: str,
        context: Mapping[str, Any],
        device: str,
        *,
        n_envs: int,
        normalise_advantages: bool,
        normalise_observations: bool,
        normalise_returns: bool,
        sampled_evaluation: bool = False,
    ) -> None:
        self._device = device_for(device)
        self.env = make_jax_env(env, context)
        self._n_envs = n_envs
        self._normalise_advantages = normalise_advantages
        self._normalise_observations, self._normalise_returns = normalise_observations, normalise_returns
        self._sampled_evaluation = sampled_evaluation
        self._context = {name: np.float32(value) for name, value in self.env.context.items()}
        self._new_episodes = new_episodes(self.env, n_envs)
        self._side_by_side = self._device.platform != "cpu"  # as ``compiled`` says
        numbers = sum(leaf[0].size for leaf in jax.tree.leaves(self._new_episodes.state))
        self._slow = numbers > _MOST_NUMBERS

    @property
    def spaces(self) -> Spaces:
        """The environment's."""
        box = spaces.Box(-np.inf, np.inf, (self.env.observation_size,), np.float32)
        return Spaces(box, self.env.action_space)

    def train(self, jobs: Sequence[Assigned], task_of: Callable[[Assigned], Task]) -> list[Training | Exception]:
        """Train members, those that share a program in as few calls as powers of two make up their number.

        Args:
            jobs: their intervals.
            task_of: what is to be done in each.

        Returns:
            For each what its interval brought, or what it raised. A member that cannot be trained leaves the others
            alone.
        """
        results: dict[int, Training | Exception] = {}
        groups: dict[Program, dict[int, Task]] = {}
        members: dict[int, Member] = {}
        for place, job in enumerate(jobs):
            try:
                task = task_of(job)
                members[place] = self._member(task)
            except Exception as error:
                results[place] = error
            else:
                groups.setdefault(self._program(task), {})[place] = task
        for program, whole in groups.items():
            for group in self._calls(program, whole):
                results |= self._train_group(program, group, members)
        return [results[place] for place in range(len(jobs))]

    def apart(self, hyperparameters: Hyperparameters) -> bool:
        """Whether members of a search learn one by one, from a ``runner`` that all of them share.

        So it is where an environment takes long to compile, as Brax's take a CPU, and what is compiled in is tuned: a
        program of everything for each network and size would take longer to compile than to run.
        """
        return self._slow and not self._side_by_side and not COMPILED_IN.isdisjoint(hyperparameters)

    def runner(
        self,
        interval: Interval,
        start: State | None,
        observations: ObservationNormaliser | None,
        returns: RunningMoments | None,
        chosen: Mapping[str, Any],
    ) -> CompiledRunner:
        """Steps the environments of one member, going on from a state."""
        episodes = episodes_from(start, self._new_episodes)
        gamma, scale = chosen["gamma"], chosen["reward_scale"]
        return CompiledRunner(self.env, self._device, episodes, interval.seed, observations, returns, gamma, scale)

    def evaluate(
        self, network: Network, hyperparameters: Hyperparameters, state: State, seed: int, episodes: int
    ) -> float:
        """The mean return of the deterministic policy of a state, over episodes from ``seed`` on."""
        moments = self._moments(state, network)[0]
        compiled, lanes, parameters = network, 1, cast(Any, restored(network, state).parameters)
        if self.apart(hyperparameters):
            room = AnyPolicy.around(network)
            compiled, parameters = room, room.filled(network, network.split(parameters))
        elif (roomy := self._roomy(network, searches_network(hyperparameters))) is not None:
            compiled, parameters, lanes = roomy, roomy.pad(network, parameters), _TOGETHER
        return self._evaluate(compiled, [(parameters, moments)], [seed], [episodes], lanes)[0]

    def _calls(self, program: Program, group: Mapping[int, Task]) -> Iterator[dict[int, Task]]:
        """Who is trained by one call: ..., 8, 4, 2 or 1 where networks are as they are.

        Each number of members is compiled by itself, for seconds, and in a search of networks or sizes groups are of
        other numbers in each generation.
        """
        rest = list(group)
        while rest:
            size = 2 ** (len(rest).bit_length() - 1)
            if isinstance(program.network, PaddedNetwork):
                size = _TOGETHER
            yield {place: group[place] for place in rest[:size]}
            rest = rest[size:]

    def _lanes(self, program: Program, count: int) -> int:
        """For how many members a call for ``count`` is compiled."""
        return _TOGETHER if isinstance(program.network, PaddedNetwork) else count

    def _train_group(
        self, program: Program, group: Mapping[int, Task], members: Mapping[int, Member]
    ) -> dict[int, Training | Exception]:
        try:
            trained = self._trained(program, list(group.values()), [members[place] for place in group])
            return dict(zip(group, trained, strict=True))
        except Exception as error:
            if len(group) == 1:
                return dict.fromkeys(group, error)
        each: dict[int, Training | Exception] = {}
        for place, task in group.items():  # too many for the device's memory, perhaps
            each |= self._train_group(program, {place: task}, members)
        return each

    def _trained(self, program: Program, tasks: Sequence[Task], members: Sequence[Member]) -> list[Training]:
        most = max(1, min(_MOST_ROLLOUTS, _STEPS_OF_A_CALL // (program.time * program.n_envs)))
        rollouts = [_rollouts(task, self._n_envs) for task in tasks]
        returns: list[list[float]] = [[] for _ in tasks]
        lanes = self._lanes(program, len(tasks))
        carried = self._put(_stacked(members, lanes))
        for first in range(0, max(rollouts), most):
            plans = [
                self._plan(task, first, min(max(count - first, 0), most), most)
                for task, count in zip(tasks, rollouts, strict=True)
            ]
            idle = plans[-1]._replace(rollouts=np.int32(0))
            carried, ended = advance(program, most, carried, self._put(_stacked([*plans, idle], lanes)))
            _add(returns, jax.tree.map(np.asarray, ended), [int(plan.rollouts) for plan in plans])
        members = _apart(carried, len(tasks))
        intervals = [task.interval for task in tasks]
        evaluations = self._evaluate(
            program.network,
            [(member.learned.parameters, member.observations) for member in members],
            [interval.evaluation_seed for interval in intervals],
            [interval.evaluation_episodes for interval in intervals],
            lanes,
        )
        return [
            Training(
                self._state(task, member),
                task.interval.start_steps + count * task.sizes.n_steps * self._n_envs,
                tuple(ended),
                evaluation,
            )
            for task, member, count, ended, evaluation in zip(
                tasks, members, rollouts, returns, evaluations, strict=True
            )
        ]

    def _evaluate(
        self,
        network: Network,
        agents: Sequence[tuple[Any, Moments | None]],
        seeds: Sequence[int],
        episodes: Sequence[int],
        lanes: int,
    ) -> list[float]:
        parameters, moments = self._put(_stacked(agents, lanes))
        contexts = self._put(_stacked([self._context], lanes))
        firsts = _stacked([np.uint32(seed % 2**32) for seed in seeds], lanes)
        width = width_for(max(episodes))
        found = [
            evaluate(
                self.env,
                network,
                width,
                parameters,
                moments,
                contexts,
                firsts + np.uint32(first),
                sampled=self._sampled_evaluation,
            )
            for first in range(0, max(episodes), width)
        ]
        returns = np.concatenate([np.asarray(each, np.float64) for each in found], axis=1)
        return [float(np.mean(each[:count])) for each, count in zip(returns, episodes, strict=False)]

    def _program(self, task: Task) -> Program:
        full = task.sizes == task.places and task.sizes.n_steps * self._n_envs % task.sizes.batch_size == 0
        return Program(
            self.env,
            self._roomy(task.network, task.searched) or task.network,
            self._n_envs,
            task.places.n_steps,
            task.places.batch_size,
            full,
            self._normalise_advantages,
            self._side_by_side,
            None if task.tutor is None else self._roomy(task.tutor.network, task.searched) or task.tutor.network,
        )

    def _member(self, task: Task) -> Member:
        network, start = task.network, task.start
        rng = np.random.default_rng(task.interval.seed)
        learned = initial(network, rng) if start is None else restored(network, start)
        if (roomy := self._roomy(network, task.searched)) is not None:
            learned = roomy.pad_learned(network, learned)
        offered = task.tutor.state if start is None and task.tutor and task.tutor.offer_moments else start
        return Member(learned, *self._moments(offered, network), episodes_from(start, self._new_episodes))

    def _moments(self, state: State | None, network: Network) -> tuple[Moments | None, Moments | None]:
        return (
            moments_from(state, "observations", (network.inputs,)) if self._normalise_observations else None,
            moments_from(state, "returns", ()) if self._normalise_returns else None,
        )

    def _roomy(self, network: Network, searched: bool) -> PaddedNetwork | None:
        """The network that one is compiled as on a GPU, where many are tried and each would take long; else None."""
        return with_room(network) if searched and self._side_by_side and not network.shared else None

    def _plan(self, task: Task, first: int, rollouts: int, most: int) -> Plan:
        interval, of_rollout = task.interval, task.sizes.n_steps * self._n_envs
        steps = [interval.start_steps + (first + index) * of_rollout for index in range(most)]
        coefficients = [task.coefficients(step) for step in steps]
        taught = None
        if (tutor := task.tutor) is not None:
            weights = np.array([tutor.weights(step - interval.start_steps) for step in steps], np.float32)
            vector, roomy = restored(tutor.network, tutor.state).parameters, self._roomy(tutor.network, task.searched)
            vector = vector if roomy is None else roomy.pad(tutor.network, vector)
            moments, _ = self._moments(tutor.state, tutor.network)
            taught = Taught(vector, moments, np.float32(tutor.unit), weights[:, 0], weights[:, 1])
        rates = np.array([each.learning_rate for each in coefficients], np.float32)
        return Plan(
            self._context,
            np.int32(interval.seed),
            np.int32(first),
            np.int32(rollouts),
            np.int32(task.n_epochs),
            Sizes(*map(np.int32, task.sizes)),
            coefficients[0]._replace(learning_rate=rates),
            np.float32(task.reward_scale),
            taught,
        )

    def _state(self, task: Task, member: Member) -> State:
        roomy = self._roomy(task.network, task.searched)
        learned = member.learned if roomy is None else roomy.unpad_learned(task.network, member.learned)
        state = state_of(task.network, learned)
        if member.observations is not None:
            state |= state_of_moments("observations", member.observations)
        if member.returns is not None:
            state |= state_of_moments("returns", member.returns)
        return state | state_of_episodes(member.episodes)

    def _put(self, tree: Any) -> Any:
        return jax.device_put(tree, self._device)


def _rollouts(task: Task, n_envs: int) -> int:
    """How many it takes to come to the interval's end."""
    steps = task.interval.until_steps - task.interval.start_steps
    return max(-(-steps // (task.sizes.n_steps * n_envs)), 1)


def _add(returns: Sequence[list[float]], ended: Ended, rollouts: Sequence[int]) -> None:
    """Add the returns of the episodes that ended in a call, in the order in which they did."""
    for member, count in enumerate(rollouts):
        done = ended.done[:count, :, member]
        returns[member] += ended.returns[:count, :, member][done].tolist()


def _stacked(trees: Sequence[Any], lanes: int) -> Any:
    """Trees of arrays as one, (lanes, ...) each; the last fills what is left over."""
    filled = [*trees[:lanes], *[trees[-1]] * (lanes - len(trees))]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *filled)


def _apart(tree: Any, count: int) -> list[Any]:
    arrays = jax.tree.map(np.asarray, tree)
    return [jax.tree.map(lambda leaf, place=place: leaf[place], arrays) for place in range(count)]
