"""What learners that act in environments share: how long rollouts may be, which episodes go on, what an action is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs.batches import Episodes
from metapbt.errors import MetapbtError
from metapbt.learners.base import State
from metapbt.log import LOGGER

if TYPE_CHECKING:
    from metapbt.history import Budget

#: Of names in a state.
_PREFIX = "episodes/"


def longest_rollout(budget: Budget, n_envs: int) -> int:
    """The most steps of each environment in a rollout: those of the shortest usual interval.

    Intervals are whole rollouts. Were these longer, members that tune ``n_steps`` would train for unequal times.
    """
    return max(1, budget.shortest // n_envs)


def warn_if_cut(n_steps: int, budget: Budget, n_envs: int) -> None:
    """Say that the largest ``n_steps`` of a space is too long for an interval."""
    longest = longest_rollout(budget, n_envs)
    if n_steps > longest:
        at_most = "interval" if budget.shortest == budget.interval else "interval_end"
        LOGGER.warning(
            "n_steps=%d is cut to %d: a rollout is at most budget.%s=%d steps of learner.n_envs=%d environments",
            n_steps,
            longest,
            at_most,
            budget.shortest,
            n_envs,
        )


def warn_if_anew(env: str, why: str | None) -> None:
    """Say that episodes do not go on over intervals, where there is a reason."""
    if why is not None:
        LOGGER.warning(
            "env=%s: each interval begins new episodes, because the old ones cannot be continued: %s", env, why
        )


def episodes_state(episodes: Episodes) -> State:
    """Episodes under way as part of a state."""
    return {f"{_PREFIX}{name}": array for name, array in episodes.items()}


def episodes_in(state: State | None, n_envs: int) -> dict[str, NDArray[Any]] | None:
    """The episodes that were under way in a state; None for a new agent, or where they could not go on.

    Raises:
        MetapbtError: they are of another number of environments.
    """
    names = [name for name in state or () if name.startswith(_PREFIX)]
    if state is None or not names:
        return None
    episodes = {name.removeprefix(_PREFIX): state[name] for name in names}
    if len(episodes["age"]) != n_envs:
        raise MetapbtError(
            f"the checkpoint has episodes of {len(episodes['age'])} environments, but learner.n_envs={n_envs}"
        )
    return episodes


def environment_actions(space: spaces.Discrete | spaces.Box, xp: Any = np) -> Callable[[Any], Any]:
    """How the network's actions, (batch,) or (batch, outputs), become those of the environment.

    Args:
        space: of the environment's actions.
        xp: ``numpy`` or ``jax.numpy``.
    """
    if isinstance(space, spaces.Discrete):
        start = int(space.start)
        return (lambda actions: actions + start) if start else (lambda actions: actions)
    low, high, shape = space.low.ravel(), space.high.ravel(), space.shape
    return lambda actions: xp.clip(actions, low, high).reshape(len(actions), *shape)
