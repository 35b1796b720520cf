"""Episodes of the most likely actions, or of drawn ones, of several members in one compiled call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from metapbt.envs.jax import JaxEnv
from metapbt.jax_backend import jax, jnp
from metapbt.learners.intervals import environment_actions
from metapbt.learners.ppo.acting import AnyPolicy
from metapbt.learners.ppo.compiled import OPTIONS
from metapbt.learners.ppo.moments import Moments, normalised
from metapbt.learners.ppo.network import Network

Array = Any

#: Episodes of a member that are stepped side by side, at most.
_WIDEST = 16
_OF_ACTIONS = 2**31  # apart from keys of episodes, whose first splits are counted from 0


def width_for(episodes: int) -> int:
    """How many to step side by side: as few places as possible stay empty, for an episode costs as much on a CPU."""
    if episodes <= _WIDEST:
        return episodes
    return min(range(_WIDEST, _WIDEST // 2, -1), key=lambda width: -episodes % width)


@partial(jax.jit, static_argnames=("env", "network", "width", "sampled"), compiler_options=OPTIONS)
def evaluate(
    env: JaxEnv,
    network: Network,
    width: int,
    parameters: Any,
    moments: Moments | None,
    contexts: Any,
    seeds: Array,
    *,
    sampled: bool,
) -> Array:
    """The return of an episode from each of ``width`` seeds, for every member: (members, width).

    Nothing is kept of an episode but its state and its return so far.

    Args:
        env: the environment.
        network: the network.
        width: how many episodes of each member.
        parameters: (members, size), or what ``network.split`` takes, with the members as first dimension.
        moments: that normalise observations, with the members as first dimension; None where they are not normalised.
        contexts: numbers of the context, (members,) each.
        seeds: (members,), of each member's first episode; the others are counted up from it.
        sampled: whether actions are drawn from the policy; else the most likely ones are taken.
    """

    def begin(seed: Array, context: Any) -> tuple[Any, Array]:
        keys = jax.vmap(jax.random.key)(seed + jnp.arange(width, dtype=jnp.uint32))
        return jax.vmap(env.reset, (0, None))(keys, context)

    def drawn(arrays: Any, outputs: Array, seed: Array, t: Array) -> Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _OF_ACTIONS), t)
        if network.continuous:
            return outputs + jnp.exp(arrays["log_std"]) * jax.random.normal(key, outputs.shape)
        return outputs + jax.random.gumbel(key, outputs.shape)

    def step(
        arrays: Any, moments: Moments | None, context: Any, seed: Array, state: Any, seen: Array, t: Array
    ) -> tuple[Any, ...]:
        inputs = seen if moments is None else normalised(moments, seen)
        outputs = network.outputs_for(jnp, arrays, inputs)
        if sampled:
            outputs = drawn(arrays, outputs, seed, t)
        actions = to_env(outputs if network.continuous else outputs.argmax(axis=1))
        return jax.vmap(env.step, (0, 0, None))(state, actions, context)

    def once(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        t, state, seen, returns, running = carry
        times = jnp.full(len(seeds), t)
        state, seen, reward, terminated = each(arrays, moments, contexts, seeds, state, seen, times)
        return t + 1, state, seen, jnp.where(running, returns + reward, returns), running & ~terminated

    to_env = environment_actions(env.action_space, jnp)
    # Of other networks a member has the same bits alone as beside others.
    alone = len(seeds) == 1 and isinstance(network, AnyPolicy)
    each = partial(_alone, step) if alone else jax.vmap(step)
    arrays = jax.vmap(network.split)(parameters)
    state, seen = jax.vmap(begin)(seeds, contexts)
    shape = len(seeds), width
    start = jnp.int32(0), state, seen, jnp.zeros(shape), jnp.ones(shape, jnp.bool_)
    end = jax.lax.while_loop(lambda carry: (carry[0] < env.max_episode_steps) & carry[-1].any(), once, start)
    return end[3]


def _alone(step: Callable[..., Any], *arguments: Any) -> Any:
    """``jax.vmap(step)`` for one member, of whose branches only those that it takes are computed."""
    found = step(*jax.tree.map(lambda leaf: leaf[0], arguments))
    return jax.tree.map(lambda leaf: leaf[None], found)
