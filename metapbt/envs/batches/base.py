"""What a batch of environments is: many episodes stepped by one call, in arrays made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import gymnasium


class BatchStep(NamedTuple):
    """What one step of every environment led to.

    The arrays belong to the batch and are valid until its next ``step`` or ``reset``: copy what must last.
    """

    #: (num_envs, *observation), float32: to act on next; where an episode ended, the first of the next one.
    observations: NDArray[np.float32]
    #: (num_envs,)
    rewards: NDArray[np.floating[Any]]
    #: (num_envs,): the episode ended by the environment's own rules.
    terminated: NDArray[np.bool_]
    #: (num_envs,): the time limit was reached; as in Gymnasium, both may hold at once.
    truncated: NDArray[np.bool_]
    #: (num_envs, *observation), float32: what the step led to, before any new episode began. May be the very
    #: same array as ``observations`` where no episode ended.
    final_observations: NDArray[np.float32]


class EnvBatch(Protocol):
    """Environments that are stepped together and begin a new episode in the step that ended the last.

    A new episode goes on with its environment's own generator, as Gymnasium's vector environments do with
    ``AutoresetMode.SAME_STEP``.
    """

    num_envs: int
    #: Of one environment.
    observation_space: gymnasium.spaces.Box
    #: Of one environment.
    action_space: gymnasium.spaces.Discrete | gymnasium.spaces.Box

    def reset(self, seeds: Sequence[int]) -> NDArray[np.float32]:
        """Begin an episode in every environment, each from its own seed.

        Returns:
            The first observations, (num_envs, *observation), valid until the next ``step`` or ``reset``.
        """

    def step(self, actions: NDArray[Any]) -> BatchStep:
        """Step every environment once.

        Args:
            actions: (num_envs,) integers, or (num_envs, *action) float32 within the bounds of the box. They
                are not checked.
        """

    def rest(self, which: NDArray[np.bool_]) -> None:
        """Let environments rest until the next ``reset``: nobody looks at their rows any more.

        They need not be stepped then; where that saves nothing they go on.

        Args:
            which: (num_envs,).
        """

    def close(self) -> None:
        """Let go of what the environments hold."""
