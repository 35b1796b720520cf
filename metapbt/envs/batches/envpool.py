"""EnvPool's environments in C++ as batches (extra ``metapbt[envpool]``), in their default contexts only.

The same tasks as Gymnasium's, but not the same trajectories: EnvPool draws from another generator and calculates
partly in float32. One thread steps them all, so that members of a population may share out the cores.

EnvPool spends the step after an episode's end on its reset. Here that reset is asked for at once, for the
environments that ended, so final and first observations come in the same step, as everywhere in metapbt.

EnvPool takes a seed when it is made and none at a reset. So its episodes cannot be played again, nor go on in another
process: each interval begins new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from metapbt.envs import make_context, make_env
from metapbt.envs.batches.base import BatchStep, Episodes, Seeds
from metapbt.envs.envpool import load_envpool
from metapbt.errors import MetapbtError, shown

IDS = {
    "bipedal_walker": "BipedalWalker-v3",
    "cart_pole": "CartPole-v1",
    "lunar_lander": "LunarLander-v3",
    "mountain_car": "MountainCar-v0",
}


_ANEW = "engine=envpool cannot go on with an episode"


class EnvPoolBatch:
    """Steps one of EnvPool's environments.

    Args:
        name: a key of ``IDS``.
        contexts: of each environment; none may change a feature.

    Raises:
        MetapbtError: EnvPool has no such environment or context, or is not installed.
    """

    def __init__(self, name: str, contexts: Sequence[Mapping[str, Any]]) -> None:
        if name not in IDS:
            raise MetapbtError(f"engine=envpool has no env '{name}' (known: {', '.join(IDS)}); take engine=python")
        for context in contexts:
            for feature, value in make_context(name, context).changed.items():
                raise MetapbtError(
                    f"engine=envpool cannot change {name}.{feature} to {shown(value)}; take engine=python"
                )
        self._make: Any = load_envpool("engine=envpool", "envpool").make
        env = make_env(name)
        assert isinstance(env.observation_space, spaces.Box)
        assert isinstance(env.action_space, spaces.Discrete | spaces.Box)
        self.num_envs = len(contexts)
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self._id = IDS[name]
        self._pool: Any = None

    def reset(self, seeds: Seeds, under_way: Episodes | None = None) -> NDArray[np.float32]:
        """Begin an episode in every environment, each from its own seed; those after it go on with its generator."""
        if under_way is not None:
            raise MetapbtError(_ANEW)
        self.close()
        self._pool = self._make(
            self._id,
            env_type="gymnasium",
            num_envs=self.num_envs,
            num_threads=1,
            seed=[seeds(place, 0) for place in range(self.num_envs)],
        )
        observations: NDArray[np.float32] = self._pool.reset()[0]
        return observations

    def step(self, actions: NDArray[Any]) -> BatchStep:
        """Step every environment once."""
        final_observations, rewards, terminated, truncated, _ = self._pool.step(actions)
        observations = final_observations
        ended = (terminated | truncated).nonzero()[0]
        if len(ended):
            first, info = self._pool.reset(ended.astype(np.int32))
            observations = final_observations.copy()
            observations[info["env_id"]] = first
        return BatchStep(observations, rewards, terminated, truncated, final_observations)

    def under_way(self) -> dict[str, NDArray[Any]]:
        """EnvPool cannot seed an episode, so that none can be played again."""
        raise MetapbtError(_ANEW)

    def rest(self, which: NDArray[np.bool_]) -> None:
        """Go on: stepping all costs no more than stepping some."""

    def close(self) -> None:
        """Let go of EnvPool's threads and environments."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None
