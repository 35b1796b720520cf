"""Episodes of any Gymnasium environment: each from a seed of its own, saved as that seed and its actions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from metapbt.envs import make_env
from metapbt.envs.batches.base import Episodes

_PLAYED = 50  # steps of the round trip


class SeededEpisodes(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Begins every episode from a seed of its own, whatever ``reset`` is told, and remembers what was done in it.

    Args:
        env: the environment.
        seed_of: the seed of an episode, from the count of those begun before it.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], seed_of: Callable[[int], int]) -> None:
        super().__init__(env)
        self.seed = 0
        self.actions: list[Any] = []
        self._seed_of = seed_of
        self._begun = 0
        self._resumed = False

    def resume(self, seed: int, actions: Iterable[Any]) -> None:
        """Let the next ``reset`` go on with an episode instead of beginning one: it plays ``actions`` again."""
        self.seed, self.actions, self._resumed = seed, list(actions), True

    def go_on(self, seed_of: Callable[[int], int]) -> None:
        """Stay in the midst of the episode; later ones get other seeds."""
        self._seed_of, self._begun = seed_of, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode, or go on with the one that was resumed; returns what to act on."""
        if self._resumed:
            self._resumed = False
            observation, info = self.env.reset(seed=self.seed, options=options)
            for action in self.actions:
                observation, _, _, _, info = self.env.step(action)
            return observation, info
        self.seed, self.actions = self._seed_of(self._begun), []
        self._begun += 1
        return self.env.reset(seed=self.seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step as the environment does."""
        self.actions.append(np.array(action))
        return self.env.step(action)


def under_way(envs: Sequence[SeededEpisodes]) -> dict[str, NDArray[Any]]:
    """The episodes that environments are in the middle of, as ``Episodes``."""
    return packed([env.seed for env in envs], [env.actions for env in envs], envs[0].action_space)


def packed(seeds: Sequence[int], actions: Sequence[Any], space: gymnasium.Space[Any]) -> dict[str, NDArray[Any]]:
    """``Episodes`` of their seeds and the actions of each, oldest first; ``space`` is what these are from."""
    ages = np.array([len(each) for each in actions], np.int64)
    # Their own type, for an environment may calculate in it.
    dtype = next((np.asarray(each[0]).dtype for each in actions if len(each)), space.dtype)
    rows = np.zeros((ages.max(), len(actions), *(space.shape or ())), dtype)
    for i, each in enumerate(actions):
        if len(each):
            rows[len(rows) - len(each) :, i] = each
    return {"seed": np.array(seeds, np.int64), "age": ages, "actions": rows}


def resume(envs: Sequence[SeededEpisodes], episodes: Episodes) -> None:
    """Let the next reset of each environment go on with its episode."""
    for i, env in enumerate(envs):
        env.resume(int(episodes["seed"][i]), played(episodes, i))


def same_episodes(some: Episodes, others: Episodes) -> bool:
    """Whether they are the same, as far as seeds and actions tell; what else they hold follows from these."""
    return all(np.array_equal(some[name], others[name]) for name in ("seed", "age", "actions"))


def played(episodes: Episodes, i: int) -> NDArray[Any]:
    """The actions so far, oldest first, of the episode in environment ``i``."""
    actions = episodes["actions"]
    latest: NDArray[Any] = actions[len(actions) - int(episodes["age"][i]) :, i]
    return latest


def why_anew(name: str, context: Mapping[str, Any]) -> str | None:
    """Why episodes of an environment must begin anew in each interval; None where they can go on.

    An episode goes on by being played again. So it must be bounded, and repeat bit by bit: in a new environment, and
    in one that has played another before.
    """
    used, new = make_env(name, **context), make_env(name, **context)
    try:
        if new.spec is None or new.spec.max_episode_steps is None:
            return "it has no time limit"
        new.action_space.seed(0)
        actions = [new.action_space.sample() for _ in range(_PLAYED)]
        _play(used, 1, actions)
        same = _play(used, 2, actions) == _play(new, 2, actions)
        return None if same else "the same seed and actions do not repeat an episode"
    finally:
        used.close()
        new.close()


def _play(env: gymnasium.Env[Any, Any], seed: int, actions: Sequence[Any]) -> list[bytes]:
    """All that an episode, or its beginning, shows."""
    observation, _ = env.reset(seed=seed)
    shown = [_bytes(observation)]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        shown += [_bytes(observation), float(reward).hex().encode(), bytes([terminated, truncated])]
        if terminated or truncated:
            break
    return shown


def _bytes(observation: Any) -> bytes:
    """An observation of any space, bit by bit."""
    if isinstance(observation, Mapping):
        return b"".join(_bytes(observation[key]) for key in sorted(observation))
    if isinstance(observation, tuple | list):
        return b"".join(map(_bytes, observation))
    return np.asarray(observation).tobytes()
