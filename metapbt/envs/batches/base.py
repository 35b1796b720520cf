"""What a batch of environments is: many episodes stepped by one call, in arrays made once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from metapbt.errors import MetapbtError

if TYPE_CHECKING:
    import gymnasium


#: The seed of an episode, from its environment's place and the count, from 0, of those begun there since the reset.
Seeds = Callable[[int, int], int]

#: Episodes under way, as named arrays:
#:
#: - ``seed``: (num_envs,), that each began from;
#: - ``age``: (num_envs,), the steps since then;
#: - either ``state``: (numbers, num_envs), all that the environments remember, as the batch writes it;
#: - or ``actions``: (longest age, num_envs, *action), the last row being the latest action and each column 0 before its
#:   episode began. With their seeds, they are the episodes: playing them again leads to the same bits.
Episodes = Mapping[str, NDArray[Any]]

#: Vectors are float32; pictures stay uint8, a quarter of that, until the network takes them.
Observations = NDArray[np.float32] | NDArray[np.uint8]


class BatchStep(NamedTuple):
    """What one step of every environment led to.

    The arrays belong to the batch and are valid until its next ``step`` or ``reset``: copy what must last.
    """

    #: (num_envs, *observation), of the observation space's type: to act on next; where an episode ended, the first of
    #: the next one.
    observations: Observations
    #: (num_envs,)
    rewards: NDArray[np.floating[Any]]
    #: (num_envs,): the episode ended by the environment's own rules.
    terminated: NDArray[np.bool_]
    #: (num_envs,): the time limit was reached; as in Gymnasium, both may hold at once.
    truncated: NDArray[np.bool_]
    #: (num_envs, *observation), of the same type: what the step led to, before any new episode began. May be the very
    #: same array as ``observations`` where no episode ended; where some did, only theirs need be filled in.
    final_observations: Observations


class EnvBatch(Protocol):
    """Environments that are stepped together and begin a new episode in the step that ended the last.

    Every episode begins from a seed of its own in a world of its own: what happens in it depends on that seed and its
    actions alone. (EnvPool, which takes no seed within its life, is the exception: an environment's later episodes
    follow from the seed of its first.)
    """

    num_envs: int
    #: Of one environment.
    observation_space: gymnasium.spaces.Box
    #: Of one environment.
    action_space: gymnasium.spaces.Discrete | gymnasium.spaces.Box

    def reset(self, seeds: Seeds, under_way: Episodes | None = None) -> Observations:
        """Begin an episode in every environment, or go on with those that were under way.

        Args:
            seeds: of all episodes that begin from now on.
            under_way: from ``under_way`` of such a batch; None to begin new ones.

        Returns:
            What to act on next, (num_envs, *observation), valid until the next ``step`` or ``reset``.
        """

    def step(self, actions: NDArray[Any]) -> BatchStep:
        """Step every environment once.

        Args:
            actions: (num_envs,) integers, or (num_envs, *action) float32 within the bounds of the box. They
                are not checked.
        """

    def under_way(self) -> dict[str, NDArray[Any]]:
        """The episodes under way, from which ``reset`` goes on: copies, as ``Episodes`` says.

        Raises:
            MetapbtError: they cannot go on (``why_anew``).
        """

    def rest(self, which: NDArray[np.bool_]) -> None:
        """Let environments rest until the next ``reset``: nobody looks at their rows any more.

        They need not be stepped then; where that saves nothing they go on.

        Args:
            which: (num_envs,).
        """

    def close(self) -> None:
        """Let go of what the environments hold."""


def shared_action_space(
    name: str, envs: Sequence[gymnasium.Env[Any, Any]]
) -> gymnasium.spaces.Discrete | gymnasium.spaces.Box:
    """The action space of all of ``envs``, contexts of the environment ``name``.

    Raises:
        MetapbtError: it is neither discrete nor a box, or not the same in all of them.
    """
    from gymnasium import spaces

    shared: Any = envs[0].action_space
    if not isinstance(shared, spaces.Discrete | spaces.Box):
        raise MetapbtError(f"a batch of env '{name}' needs Discrete or Box actions, got {shared}")
    for env in envs:
        if env.action_space != shared:
            raise MetapbtError(
                f"a batch of env '{name}' needs the same actions in all contexts, got {shared} and {env.action_space}"
            )
    return shared
