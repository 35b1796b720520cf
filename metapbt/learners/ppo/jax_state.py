"""A member of compiled training as named arrays, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metapbt.envs.jax import JaxEnv
from metapbt.errors import MetapbtError
from metapbt.jax_backend import jax
from metapbt.learners.base import State
from metapbt.learners.intervals import episodes_in, episodes_state
from metapbt.learners.normalise import RunningMoments
from metapbt.learners.ppo.compiled import Episodes
from metapbt.learners.ppo.moments import Moments


def new_episodes(env: JaxEnv, n_envs: int) -> Episodes:
    """Episodes that are to begin."""

    def begin(key: Any) -> Any:
        return jax.vmap(env.reset, (0, None))(jax.random.split(key, n_envs), env.context)

    shapes = jax.eval_shape(begin, jax.random.key(0))
    state, observation = jax.tree.map(lambda array: np.zeros(array.shape, array.dtype), shapes)
    zeros = np.zeros(n_envs, np.float32)
    return Episodes(state, observation, np.full(n_envs, -1, np.int32), zeros, zeros)


def episodes_from(state: State | None, new: Episodes) -> Episodes:
    """The episodes that were under way in a state; ``new`` where none were.

    Raises:
        MetapbtError: they are of another environment, of another number of them, or of another engine.
    """
    found = episodes_in(state, len(new.age))
    if found is None:
        return new
    names = _names(new)
    for name, array in zip(names, jax.tree.leaves(new), strict=True):
        there = found.get(name)
        if there is None or (there.shape, there.dtype) != (array.shape, array.dtype):
            raise MetapbtError(
                f"the checkpoint's episodes cannot go on with learner.engine=jax: they have no {name} of "
                f"shape {array.shape} and type {array.dtype}"
            )
    return jax.tree.unflatten(jax.tree.structure(new), [found[name] for name in names])


def arrays_of_episodes(episodes: Episodes) -> dict[str, NDArray[Any]]:
    """Episodes under way as named arrays."""
    return dict(zip(_names(episodes), map(np.array, jax.tree.leaves(episodes)), strict=True))


def state_of_episodes(episodes: Episodes) -> State:
    """Episodes under way as part of a state."""
    return episodes_state(arrays_of_episodes(episodes))


def _names(episodes: Episodes) -> list[str]:
    """``age``, ``state/position`` and so on, in the order of the leaves."""
    paths, _ = jax.tree_util.tree_flatten_with_path(episodes)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in paths]


def moments_from(state: State | None, name: str, shape: tuple[int, ...]) -> Moments:
    """Running moments from a state; those of nothing for a new agent.

    Raises:
        MetapbtError: the state has none.
    """
    moments = RunningMoments(shape)
    if state is not None:
        moments.restore(name, state)
    return Moments(*(np.asarray(part, np.float32) for part in (moments.mean, moments.variance, moments.count)))


def state_of_moments(name: str, moments: Moments) -> State:
    """Running moments as part of a state."""
    # In double precision, as engine=python has them.
    return {f"{name}/{part}": np.array(value, np.float64) for part, value in moments._asdict().items()}
