"""What an environment inside compiled JAX is: two pure functions, a context of traced numbers, and a state to carry.

Importing this module imports neither JAX nor Gymnasium.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import gymnasium
    import jax

#: All that an episode remembers: a pytree of arrays of fixed shapes and types, of one environment. Random keys in it
#: are raw (``jax.random.key_data``), so that every leaf can be written to a file and read again bit by bit.
State = Any

#: The numbers that tell one context from another, float32 scalars by name.
Numbers = Any


class JaxEnv(Protocol):
    """One environment, without batch: who steps many puts ``jax.vmap`` around its functions.

    Both functions are pure: the same arguments give the same result, and all randomness comes from ``reset``'s key.
    What differs between contexts lies in ``context`` and is handed to them, so that every context, and a batch of
    different ones, runs the same compiled program.

    Objects are equal, and have one hash, exactly where their compiled programs are the same: they are static arguments
    of ``jax.jit``. So ``context`` does not count, unless the shape of something follows from it.

    Time limits are not the environment's: who steps it counts, truncates after ``max_episode_steps``, and begins the
    next episode.
    """

    #: Numbers of an observation, which is flat: (observation_size,), float32.
    observation_size: int
    #: As Gymnasium describes it.
    action_space: gymnasium.spaces.Discrete | gymnasium.spaces.Box
    #: After which an episode is truncated.
    max_episode_steps: int
    #: Of this context; to be handed to ``reset`` and ``step``.
    context: dict[str, float]

    def reset(self, key: jax.Array, context: Numbers) -> tuple[State, jax.Array]:
        """Begin an episode.

        Args:
            key: of everything random in it, from ``jax.random.key``.
            context: like ``self.context``, as traced numbers.

        Returns:
            The first state, and the observation (observation_size,) of it.
        """
        ...

    def step(self, state: State, action: jax.Array, context: Numbers) -> tuple[State, jax.Array, jax.Array, jax.Array]:
        """Step once.

        Args:
            state: from ``reset`` or ``step``.
            action: an int32 of the discrete space, or float32 (*action_space.shape) within the bounds of the box.
            context: like ``self.context``, as traced numbers.

        Returns:
            The next state with the same shapes and types; the observation of it, (observation_size,) float32; the
            reward, a float32; and whether the episode ended by the environment's own rules, a bool.
        """
        ...
