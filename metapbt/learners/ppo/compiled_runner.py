"""Rollouts in compiled blocks of steps, in which agents of any network act.

Where an environment takes long to compile and many networks or sizes of rollouts are tried, this is compiled once for
all of them, and each network's update by itself, as with ``engine=python``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.envs.jax import JaxEnv
from metapbt.jax_backend import jax
from metapbt.learners.normalise import ObservationNormaliser, RunningMoments
from metapbt.learners.ppo.acting import AnyPolicy
from metapbt.learners.ppo.compiled import Episodes, Member, Plan, Program, Step, take_steps
from metapbt.learners.ppo.jax_state import arrays_of_episodes
from metapbt.learners.ppo.moments import Moments
from metapbt.learners.ppo.network import Actor, Floats
from metapbt.learners.ppo.update import Coefficients, Learned, Rollout, Sizes

#: Steps of a block, at most.
_BLOCK = 32


class CompiledRunner:
    """Steps environments of JAX as ``Runner`` does others; attributes and methods are those.

    Args:
        env: the environment.
        device: that steps it.
        episodes: those under way, or that are to begin.
        seed: of everything random.
        observations: normalises observations and learns from them; None leaves them as they are.
        rewards: the moments that normalise rewards and learn from them; None leaves these as they are.
        gamma: the discount.
        reward_scale: what rewards are multiplied with to learn from, after normalisation.
    """

    def __init__(
        self,
        env: JaxEnv,
        device: jax.Device,
        episodes: Episodes,
        seed: int,
        observations: ObservationNormaliser | None,
        rewards: RunningMoments | None,
        gamma: float,
        reward_scale: float,
    ) -> None:
        self.returns: list[float] = []
        self.raw: Floats
        self._env, self._device, self._episodes = env, device, episodes
        self._context = {name: np.float32(value) for name, value in env.context.items()}
        self._seed, self._blocks = np.int32(seed), 0
        self._moments = None if observations is None else observations.moments, rewards
        self._gamma, self._scale = np.float32(gamma), np.float32(reward_scale)

    def under_way(self) -> dict[str, NDArray[Any]]:
        """The episodes under way, as named arrays."""
        return arrays_of_episodes(self._episodes)

    def collect(self, actor: Actor, n_steps: int, places: int | None = None) -> Rollout:
        """Take ``n_steps`` steps in every environment; arguments as of ``Runner.collect``."""
        network, n_envs = actor.network, len(self._episodes.age)
        room = AnyPolicy.around(network)
        program = Program(self._env, room, n_envs, _BLOCK, 1, False, False, False, learns=False)
        policy: Any = room.filled(network, actor.parameters)
        acting = Learned(policy, *np.zeros((3, 1), np.float32))
        shape = places or n_steps, n_envs
        observations = np.zeros((*shape, network.inputs), np.float32)
        actions = np.zeros((*shape, network.outputs), np.float32) if network.continuous else np.zeros(shape, np.int32)
        rewards, dones, self.raw = np.zeros(shape, np.float32), np.zeros(shape, np.bool_), np.empty_like(observations)
        of_observations, of_returns = map(_in_single_precision, self._moments)
        member = jax.device_put(Member(acting, of_observations, of_returns, self._episodes), self._device)
        for first in range(0, n_steps, _BLOCK):
            count = min(_BLOCK, n_steps - first)
            walk, kept = take_steps(program, member, self._plan(count))
            member = Member(member.learned, walk.observations, walk.returns, walk.episodes)
            block, steps = slice(first, first + count), Step(*(np.asarray(part)[:count] for part in kept))
            observations[block], actions[block], self.raw[block] = steps.observations, steps.actions, steps.raw
            rewards[block], dones[block] = steps.rewards, steps.done
            self.returns += steps.returns[steps.done].tolist()
            # An episode cut short by the clock would have gone on: its last reward gets the value of the rest.
            times, places_cut = np.nonzero(steps.cut)
            if len(times):
                finals = np.asarray(walk.cut)[times // self._env.max_episode_steps, places_cut]
                rewards[first + times, places_cut] += self._gamma * actor.values(finals)
        self._episodes = member.episodes
        for moments, now in zip(self._moments, (member.observations, member.returns), strict=True):
            if moments is not None and now is not None:
                moments.mean, moments.variance = (np.array(part, np.float64) for part in (now.mean, now.variance))
                moments.count = float(now.count)
        self.raw = self.raw[:n_steps]
        return Rollout(observations, actions, rewards, dones, np.array(walk.last))

    def _plan(self, n_steps: int) -> Plan:
        """For the next block; what is not looked at is 0."""
        zero, number, self._blocks = np.float32(0), np.int32(self._blocks), self._blocks + 1
        coefficients = Coefficients(*[zero] * len(Coefficients._fields))._replace(gamma=self._gamma)
        sizes = Sizes(np.int32(n_steps), np.int32(0))
        return Plan(self._context, self._seed, number, number, number, sizes, coefficients, self._scale, None)


def _in_single_precision(moments: RunningMoments | None) -> Moments | None:
    if moments is None:
        return None
    return Moments(*(np.asarray(part, np.float32) for part in (moments.mean, moments.variance, moments.count)))
